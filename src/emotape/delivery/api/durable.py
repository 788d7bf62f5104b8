"""What of the service outlives the process: jobs, the calls they owe, and the history, in a folder or a database."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emotape.delivery.api.jobs_runner import JobsRunner, places
from emotape.delivery.api.quota import LOCAL
from emotape.delivery.api.webhook import Courier, WebhookOptions, check_options
from emotape.store.history import History, HistoryOptions
from emotape.store.jobs import JobStore, StoreOptions, in_folder, in_postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emotape.delivery.api.keys import KeyRing
    from emotape.delivery.api.quota import Limits
    from emotape.delivery.recognition import Recognition
    from emotape.engine.progress import Progress
    from emotape.engine.result import Prediction
    from emotape.settings import Settings
    from emotape.store.jobs import Claim


@dataclass(frozen=True)
class DurableOptions:
    """Where everything lies, and how much of it is kept. `history` is None where none is wanted.

    With a `database_url` it lies in a PostgreSQL that several servers share, else in the folder.
    """

    folder: Path
    files: int = 1000
    store: StoreOptions = field(default_factory=StoreOptions)
    webhook: WebhookOptions = field(default_factory=WebhookOptions)
    history: HistoryOptions | None = field(default_factory=HistoryOptions)
    database_url: str | None = field(default=None, repr=False)  # it may hold a password


def durable_options(settings: Settings) -> DurableOptions:
    """Return the options that the settings ask for."""
    secret, database = settings.webhook_secret, settings.database_url
    return DurableOptions(
        folder=settings.jobs_folder or default_folder(),
        files=settings.jobs_max_files,
        store=StoreOptions(
            keep_seconds=3600 * settings.jobs_keep_hours,
            max_bytes=int(settings.jobs_max_megabytes * 1024**2),
            keep_uploads=settings.jobs_keep_audio,
        ),
        webhook=WebhookOptions(settings.webhook_hosts, None if secret is None else secret.get_secret_value()),
        history=HistoryOptions(keep_seconds=24 * 3600 * settings.history_days) if settings.history else None,
        database_url=None if database is None else database.get_secret_value(),
    )


def default_folder() -> Path:
    """Return where this user's jobs are kept, by the platform's custom."""
    import platformdirs

    return platformdirs.user_data_path("emotape", appauthor=False) / "jobs"


class Jobs:
    """The jobs of a service, and who works on them: `runner` from `start` on.

    Opening takes no work on; call `start` when the recognizer is ready, and `stop` and `close` in any case. Raises
    EngineFault "jobs_store_unusable", "jobs_store_newer" or "jobs_disk_full", and BadRequest "webhook_secret",
    "bad_database_url" or "postgres_not_installed". A database that is away is waited for, not an error here.
    """

    def __init__(
        self,
        options: DurableOptions,
        recognizer: Recognition,
        charge: Callable[[str, float], None] = lambda _, __: None,
    ) -> None:
        check_options(options.webhook)
        self.options = options
        self.runner: JobsRunner | None = None
        self._recognizer = recognizer
        self._charge = charge
        backing = in_folder(options.folder) if options.database_url is None else in_postgres(options.database_url)
        self._database = backing.database
        self.store = JobStore(backing, options.store)
        self.history = None if options.history is None else History(self._database, options.history)
        self._courier = Courier(self.store, options.webhook)
        self._lock = threading.Lock()
        self._leaving = False

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to stop; those who follow a job are let go then."""
        return self._leaving

    def start(self) -> None:
        """Go on with what is there, and with what comes; nothing once it was told to stop."""
        in_flight = places(self._recognizer.plan)
        with self._lock:
            if not self._leaving:
                self.runner = JobsRunner(self.store, self._recognizer, in_flight, self._answered)
                self.runner.start()
                self._courier.start()

    def stop(self, seconds: float) -> None:
        """Take nothing on any more; give what is running up to `seconds`. What is left is there at the next start."""
        with self._lock:
            self._leaving = True
        if self.runner is not None:
            self.runner.stop(seconds)
        self._courier.stop()

    def close(self) -> None:
        """Write what is left of the history and close the files, once nobody asks for anything any more."""
        self.stop(0.0)
        if self.history is not None:
            self.history.close()
        self.store.close()
        self._database.close()

    def progress(self, job: str) -> dict[int, Progress]:
        """Return how far the recordings of a job that are under way are, by their place in it."""
        return {} if self.runner is None else self.runner.progress(job)

    def _answered(self, claim: Claim, predictions: tuple[Prediction, ...]) -> None:
        self._charge(claim.caller, sum(prediction.seconds for prediction in predictions))
        if self.history is not None:
            for prediction in predictions:
                self.history.record(claim.job, claim.caller, claim.name, prediction)


def charging(keys: KeyRing | None, quotas: Limits) -> Callable[[str, float], None]:
    """Return what counts the audio of jobs against the limits of whoever sent them."""

    def charge(name: str, seconds: float) -> None:
        known = () if keys is None else keys.known()
        quotas.charge(next((key.caller for key in known if key.name == name), LOCAL), seconds)

    return charge
