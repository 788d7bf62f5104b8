"""Clients of a benchmark against a real little server: every recording gets one reply, refusals come again."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from emotape.delivery.bench import clients, memory
from emotape.delivery.bench.clients import Reply
from emotape.delivery.bench.serve import Point, _soaked, busy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Picky(BaseHTTPRequestHandler):
    """Refuses every recording once, fails at b"bad" and hangs up on b"gone"."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[Counter[bytes]] = Counter()
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            self.seen[body] += 1
            first = self.seen[body] == 1
        if b"gone" in body:
            self.close_connection = True
            return
        self.send_response(429 if first else 500 if b"bad" in body else 200)
        self.send_header("Content-Length", "0")
        self.send_header("Retry-After", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Picky.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Picky) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_every_recording_gets_one_reply_and_the_refused_come_again(url: str) -> None:
    recordings = [b"one", b"two", b"bad", b"gone", b"three"]
    replies = clients.ask(url, clients.emotape, recordings, clients=3)
    assert [reply.status for reply in replies] == [200, 200, 500, 0, 200]
    assert [reply.refusals for reply in replies] == [1, 1, 1, 0, 1]
    assert [reply.good for reply in replies] == [True, True, False, False, True]


def test_a_laden_caller_takes_as_much_of_a_core_as_it_is_told() -> None:
    began = time.thread_time()
    busy(0.01)
    assert time.thread_time() - began >= 0.01


def test_another_process_tells_its_memory() -> None:
    own, same = memory.resident_bytes(), memory.resident_bytes(os.getpid())
    assert own is not None
    assert same == pytest.approx(own, rel=0.05)


def test_a_soak_counts_what_failed_and_what_was_refused() -> None:
    points = [
        Point(1.0, 2, 100_000_000, (Reply(200, 0.1), Reply(500, 0.3))),
        Point(2.0, 4, 104_000_000, (Reply(200, 0.2, refusals=3), Reply(200, 0.4))),
    ]
    row = _soaked(points)
    assert (row["failed"], row["refused (429)"], row["requests"]) == (1, 3, 4)
    assert row["change %"] == pytest.approx(4.0)
    assert row["longest"] == 0.4
