"""A store of jobs in a folder of its own, and a clock that the test turns."""

from __future__ import annotations

import io
import json
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.api.durable import DurableOptions, Jobs
from emotape.delivery.api.service import Service
from emotape.errors import NotReady
from emotape.recognizer import Recognizer
from emotape.store.jobs import (
    Backing,
    Claim,
    Job,
    JobStore,
    Outcome,
    StoreOptions,
    Submission,
    Upload,
    in_folder,
    in_postgres,
)
from emotape.store.jobs.member import LocalMember
from emotape.store.postgres_session import PostgresSession
from emotape.store.sqlite import SqliteDatabase
from tests.conftest import AUDIO
from tests.jobs.postgres_server import PostgresServer, needs_postgres

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    import httpx
    from starlette.testclient import TestClient


@dataclass
class Clock:
    """Seconds since 1970, as the test wants them."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """A folder or a server with a store; what `opened` gives is like another process at it."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    options: StoreOptions = field(default_factory=StoreOptions)
    server: PostgresServer | None = None

    @contextmanager
    def opened(self) -> Iterator[JobStore]:
        store = self.open()
        try:
            yield store
        finally:
            store.close()
            store._database.close()

    def open(self) -> JobStore:
        return JobStore(self.backing(), self.options, self.clock)

    def backing(self) -> Backing:
        return in_folder(self.folder) if self.server is None else in_postgres(self.server.url)

    def uploads(self) -> list[str]:
        """Return the folders of recordings that are kept."""
        if self.server is None:
            return [path.name for path in (self.folder / "uploads").iterdir()]
        return [folder for (folder,) in self.server.ask("SELECT folder FROM uploads")]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give a server in a folder that another user may enter, which pytest's own are not."""
    with TemporaryDirectory(prefix="emotape-postgres-") as folder, closing(PostgresServer(Path(folder))) as server:
        server.start()
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresServer:
    """Give the server with empty tables, and have those that lost it come back soon."""
    for place in ("postgres_session", "history"):
        monkeypatch.setattr(f"emotape.store.{place}._AGAIN_SECONDS", 0.1)
    postgres_server.clear()
    return postgres_server


BOTH = pytest.mark.parametrize("kind", ["folder", pytest.param("postgres", marks=needs_postgres)])


@pytest.fixture
def kind() -> str:
    """Say where the store lies; a test with the mark `BOTH` runs at each place."""
    return "folder"


@pytest.fixture
def place(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> Place:
    return Place(tmp_path, server=request.getfixturevalue("postgres") if kind == "postgres" else None)


@pytest.fixture
def store(place: Place) -> Iterator[JobStore]:
    with place.opened() as opened:
        yield opened


def uploads(*contents: bytes) -> list[Upload]:
    return [Upload(f"{number}.wav", io.BytesIO(content)) for number, content in enumerate(contents)]


def accepted(store: JobStore, *contents: bytes, caller: str = "me", **more: str) -> Job:
    job, is_new = store.accept(Submission(caller, {"granularity": "utterance"}, **more), uploads(*contents or (b"a",)))
    assert is_new
    return job


def claimed(store: JobStore) -> Claim:
    claim = store.claim()
    assert claim is not None
    return claim


def finish_all(store: JobStore, answer: bytes = b"answer") -> int:
    """Run everything that waits; return how many recordings that were."""
    count = 0
    while claim := store.claim():
        store.finish([Outcome(claim, answer)])
        count += 1
    return count


def folders(place: Place) -> list[str]:
    return place.uploads()


def cut_off(place: Place, store: JobStore) -> Callable[[], None]:
    """Have a process seem dead to the others; return what brings it back from wherever it was."""
    member = store._member
    if isinstance(member, LocalMember):
        member._lock.release()
        return lambda: None
    assert isinstance(member, PostgresSession)
    assert place.server is not None
    connect, member._connect = member._connect, unreachable
    place.server.cut(member.name)

    def come_back() -> None:
        member._connect = connect
        await_reachable(store)

    return come_back


def sqlite_of(store: JobStore) -> sqlite3.Connection:
    assert isinstance(store._database, SqliteDatabase)
    return store._database._connection


def unreachable() -> Any:
    raise OSError("the way is cut")


def await_reachable(store: JobStore) -> None:
    """Wait until a process has its place among the others again."""
    while True:  # the test's own time limit ends this
        with suppress(NotReady):
            store._member.check()
            return


SPEECH = AUDIO / "thorsten_neutral.opus"


@pytest.fixture(scope="session")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer() as opened:
        yield opened


@contextmanager
def serving(recognizer: Recognizer, folder: Path, **options: Any) -> Iterator[Service]:
    """Give a service with jobs in a folder; they are stopped afterwards as by SIGTERM."""
    jobs = Jobs(DurableOptions(folder, **options), recognizer)
    service = Service(recognizer, jobs=jobs, history=jobs.history)
    jobs.start()
    service.readiness.mark_ready()
    try:
        yield service
    finally:
        service.readiness.drain()
        jobs.stop(30.0)
        jobs.close()


def form(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{number}.wav", content)) for number, content in enumerate(contents)]


def followed(client: httpx.Client | TestClient, job: str, last: str | None = None) -> list[dict[str, Any]]:
    """Follow a job to its end, and return its events, those without an id included."""
    headers = {} if last is None else {"last-event-id": last}
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers, timeout=60) as response:
        assert response.status_code == 200
        return list(events_of(response.iter_lines()))


def events_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            event[name] = json.loads(value) if name == "data" else value
        elif event:
            yield event
            event = {}
