"""kill -9 under load, at random moments: every accepted job is finished, and finished once."""

from __future__ import annotations

import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import soundfile

from emotape.store.jobs import JobStore, in_postgres
from tests.conftest import AUDIO
from tests.jobs.conftest import followed
from tests.jobs.postgres_server import PostgresServer, needs_postgres
from tests.jobs.test_webhook import SECRET, receiving, verified

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.recognizer import Recognizer
    from tests.jobs.test_webhook import Receiver

pytestmark = pytest.mark.slow
KILLS = 3  # fewer than the attempts after which a recording counts as the cause
SENDERS = 3


@contextmanager
def served(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server process, and give it with its address once it takes work; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.jobs.serve", str(folder), SECRET, *more],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


@dataclass
class Sender:
    """Sends jobs one after another, each under a key of its own, and again under that key until it is accepted."""

    number: int
    recordings: list[bytes]
    hook: str
    heard: threading.Semaphore  # released at every acceptance
    accepted: dict[str, tuple[str, list[bytes]]] = field(default_factory=dict)  # by key: the job's id and its content
    sent: int = 0

    def send_until_the_server_dies(self, address: str) -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while True:
                try:
                    self._send(client)
                except httpx.TransportError:
                    return
                self.sent += 1

    def _send(self, client: httpx.Client) -> None:
        key = f"{self.number}-{self.sent}"
        chosen = random.Random(key).choices(self.recordings, k=1 + self.sent % 3)  # the same whenever it is sent
        files = [("file", (f"{place}.wav", content)) for place, content in enumerate(chosen)]
        headers, query = {"Idempotency-Key": key}, {"callback_url": self.hook}
        response = client.post("/v1/jobs", files=files, headers=headers, params=query)
        assert response.status_code in (200, 202), response.text
        self.accepted[key] = (response.json()["id"], chosen)
        self.heard.release()


def speech(seconds: float) -> bytes:
    samples, rate = soundfile.read(AUDIO / "thorsten_neutral.flac", dtype="float32")
    with io.BytesIO() as file:
        soundfile.write(file, samples[: int(seconds * rate)], rate, format="WAV")
        return file.getvalue()


def told_once(folder: Path) -> None:
    """Check in the file itself that every recording has one result and ended once."""
    with closing(sqlite3.connect(folder / "emotape.sqlite3")) as connection:
        (open_files,) = connection.execute("SELECT COUNT(*) FROM files WHERE finished IS NULL").fetchone()
        rows = connection.execute("SELECT number FROM files LEFT JOIN results ON file = number WHERE file IS NULL")
        assert (open_files, rows.fetchall()) == (0, [])
        ends = connection.execute(
            "SELECT job, json_extract(facts, '$.file'), json_extract(facts, '$.state') FROM events WHERE kind = 'file'"
        ).fetchall()
        (files,) = connection.execute("SELECT COUNT(*) FROM files").fetchone()
    ended = Counter((job, file) for job, file, state in ends if state in ("done", "failed"))
    assert set(ended.values()) == {1}
    assert len(ended) == files


def test_no_accepted_job_is_lost_or_done_twice(tmp_path: Path, recognizer: Recognizer) -> None:
    """Three senders, three deaths at random moments; senders repeat what they got no answer to, under the same key."""
    chance = random.Random()
    recordings = [speech(seconds) for seconds in (0.5, 1.0, 1.5, 2.0)] + [b"no audio"]
    expected = {content: recognizer.recognize(content).emotion for content in recordings[:-1]}
    with receiving() as receiver:
        heard = threading.Semaphore(0)
        senders = [Sender(number, recordings, receiver.url, heard) for number in range(SENDERS)]
        for _ in range(KILLS):
            with served(tmp_path) as (process, address):
                threads = [
                    threading.Thread(target=each.send_until_the_server_dies, args=(address,)) for each in senders
                ]
                for thread in threads:
                    thread.start()
                for _ in range(chance.randint(1, 12)):
                    assert heard.acquire(timeout=60)
                killer = threading.Timer(chance.uniform(0, 0.2), process.send_signal, (signal.SIGKILL,))
                killer.start()
                for thread in [killer, *threads]:
                    thread.join()
        with served(tmp_path) as (_, address), httpx.Client(base_url=address, timeout=60) as client:
            accepted = {job: content for sender in senders for job, content in sender.accepted.values()}
            assert sum(len(sender.accepted) for sender in senders) == len(accepted) > 0
            check_all(client, accepted, expected)
            while not set(accepted) <= {job for job, _ in told(receiver)}:
                receiver.awaited(len(receiver.got) + 1)
        told_once(tmp_path)
    assert not list((tmp_path / "uploads").iterdir())
    messages = told(receiver)
    assert len({job for job, _ in messages}) == len(messages), "a message may come twice, but with the same id"


@needs_postgres
def test_servers_that_share_a_database_lose_nothing_when_one_is_killed(
    tmp_path: Path, postgres: PostgresServer, recognizer: Recognizer
) -> None:
    """Jobs come in at both; one dies under load, and the other one answers everything, once, and calls back."""
    recordings = [speech(seconds) for seconds in (0.5, 1.0, 1.5)] + [b"no audio"]
    expected = {content: recognizer.recognize(content).emotion for content in recordings[:-1]}
    with (
        receiving() as receiver,
        served(tmp_path / "one", postgres.url) as (dying, first),
        served(tmp_path / "other", postgres.url) as (_, second),
    ):
        heard = threading.Semaphore(0)
        doomed, safe = (Sender(number, recordings, receiver.url, heard) for number in range(2))
        thread = threading.Thread(target=doomed.send_until_the_server_dies, args=(first,))
        thread.start()
        with httpx.Client(base_url=second, timeout=60) as client:
            for number in range(8):
                safe._send(client)
                safe.sent += 1
                if number == 4:
                    dying.send_signal(signal.SIGKILL)
            thread.join()
            doomed._send(client)  # what it got no answer to, again and elsewhere
            accepted = dict((*doomed.accepted.values(), *safe.accepted.values()))
            check_all(client, accepted, expected)
        while not set(accepted) <= {job for job, _ in told(receiver)}:
            receiver.awaited(len(receiver.got) + 1)
    assert not postgres.ask("SELECT 1 FROM files LEFT JOIN results ON file = number WHERE file IS NULL")
    ends = "SELECT job, facts::json ->> 'file' FROM events WHERE kind = 'file' AND facts::json ->> 'state' <> 'running'"
    ended = postgres.ask(ends)
    assert len(ended) == len(set(ended)) == postgres.ask("SELECT COUNT(*) FROM files")[0][0]
    with closing(JobStore(in_postgres(postgres.url))) as store:
        store.recover()  # the servers were killed in the end, perhaps before they had put everything away
    # What the dead one was taking in just then, and accepted no more, is deleted after an hour.
    assert postgres.ask("SELECT folder FROM uploads WHERE accepted") == []
    assert len(postgres.ask("SELECT folder FROM uploads")) <= 1


def told(receiver: Receiver) -> set[tuple[str, str]]:
    """Return which jobs the messages that arrived speak of, each with the id of its message."""
    return {(verified(*message)["data"]["id"], message[0]["webhook-id"]) for message in list(receiver.got)}


def check_all(client: httpx.Client, accepted: dict[str, list[bytes]], expected: dict[bytes, Any]) -> None:
    """Follow every accepted job to its end, and check each answer against what the recording says."""
    for job, contents in accepted.items():
        followed(client, job)
        found = client.get(f"/v1/jobs/{job}/results").json()["results"]
        assert [result["index"] for result in found] == list(range(len(contents)))
        for result, content in zip(found, contents, strict=True):
            (answer,) = result["answers"]
            if content in expected:
                assert answer["emotion"] == expected[content]
            else:
                assert answer["error"]["code"] == "text_not_audio"


def test_sigterm_ends_what_is_running_and_keeps_the_rest(tmp_path: Path) -> None:
    """A polite stop loses nothing either, and counts no attempt against a recording."""
    with served(tmp_path) as (process, address), httpx.Client(base_url=address, timeout=60) as client:
        files = [("file", (f"{place}.wav", speech(2.0))) for place in range(30)]
        job = client.post("/v1/jobs", files=files).json()["id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait() in (0, -signal.SIGTERM)
    with closing(sqlite3.connect(tmp_path / "emotape.sqlite3")) as connection:
        states = dict(connection.execute("SELECT state, COUNT(*) FROM files GROUP BY state").fetchall())
        attempts = connection.execute("SELECT MAX(attempts) FROM files WHERE state = 'queued'").fetchone()
    assert states.get("running", 0) == 0
    assert attempts in ((0,), (None,))
    with served(tmp_path) as (_, address), httpx.Client(base_url=address, timeout=60) as client:
        followed(client, job)
        assert client.get(f"/v1/jobs/{job}").json()["counts"]["done"] == 30
    told_once(tmp_path)
