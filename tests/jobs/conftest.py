"""A store of jobs in a folder of its own, and a clock that the test turns."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.api.durable import DurableOptions, Jobs
from emotape.delivery.api.service import Service
from emotape.recognizer import Recognizer
from emotape.store.database import Database
from emotape.store.jobs import Claim, Job, JobStore, Outcome, StoreOptions, Submission, Upload
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

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
    """A folder with a store; `opened` is like another process at it, `killed` like one that died."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    options: StoreOptions = field(default_factory=StoreOptions)

    @contextmanager
    def opened(self) -> Iterator[JobStore]:
        store = self.open()
        yield store
        store.close()
        store._database.close()

    def open(self) -> JobStore:
        return JobStore(Database(self.folder / "emotape.sqlite3"), self.options, self.clock)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


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
    return [path.name for path in (place.folder / "uploads").iterdir()]


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
