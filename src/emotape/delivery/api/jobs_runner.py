"""Runs the recordings of jobs: a few at a time, so that those who wait at a screen are not held up.

One thread takes recordings from the store, hands them to the recognizer, and writes what comes back. It outlives
whatever a recording, a full queue or a full disk does; what it could not write it writes later.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack

from emotape.engine.flight import LARGE
from emotape.errors import EmotapeError, EngineFault, Expired, ModelFault, Overloaded, TooLong, as_fault
from emotape.store.cache.entry import pack
from emotape.store.jobs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emotape.engine.plan import Plan
    from emotape.engine.progress import Pending, Progress
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import RequestOptions
    from emotape.store.jobs import Claim, JobStore

log = logging.getLogger("emotape")

LARGEST_ANSWER: Final = 256 * 1024**2  # bytes
_MOST: Final = 8  # enough to fill a tape with short recordings
_UPKEEP_SECONDS: Final = 60.0
_AFTER_FAULT_SECONDS: Final = 5.0
_RUNS: Final = 2  # of a recording at which the engine fails


class Recognizes(Protocol):
    """What the runner needs of a recognizer."""

    def submit(self, source: Path, /, **wanted: Unpack[RequestOptions]) -> Pending[Prediction]:
        """Answer a recording."""
        ...

    def submit_channels(self, source: Path, /, **wanted: Unpack[RequestOptions]) -> Pending[tuple[Prediction, ...]]:
        """Answer each channel of a recording."""
        ...


def places(plan: Plan) -> int:
    """Return how many recordings of jobs may be under way: no more than are decoded at once, so that none waits."""
    return max(1, min(_MOST, max(plan.decode_threads, plan.decode_processes)))


class JobsRunner:
    """The thread between the store and a recognizer that is loaded.

    `answered(claim, predictions)` hears of every answer, in the runner's thread; `fault` is what keeps it from going on
    just now, or None.
    """

    def __init__(
        self,
        store: JobStore,
        recognizer: Recognizes,
        in_flight: int,
        answered: Callable[[Claim, tuple[Prediction, ...]], None] = lambda _, __: None,
    ) -> None:
        self.fault: EmotapeError | None = None
        self._store = store
        self._recognizer = recognizer
        self._in_flight = in_flight
        self._answered = answered
        self._inbox: SimpleQueue[int | None] = SimpleQueue()  # numbers of recordings that ended; None: look around
        self._running: dict[int, tuple[Claim, Pending[Any]]] = {}
        self._outcomes: list[Outcome] = []
        self._back: list[tuple[Claim, bool]] = []
        self._paused_until = 0.0  # 0: not paused
        self._upkeep_at = 0.0
        self._patience_ends = 0.0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emotape-jobs", daemon=True)
        self._stop_listening = store.listen(self._look)

    def start(self) -> None:
        """Begin: what a process that died was running comes first."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take nothing new; give what is running up to `seconds`, and the rest back to the queue."""
        self._stop_listening()
        self._patience_ends = time.monotonic() + seconds
        self._leaving.set()
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to stop."""
        return self._leaving.is_set()

    def progress(self, job: str) -> dict[int, Progress]:
        """Return how far the recordings of a job that are under way are, by their place in it."""
        running = list(self._running.values())
        return {claim.place: pending.progress() for claim, pending in running if claim.job == job}

    def _look(self, job: str) -> None:
        """Wake the thread for a change that may concern it: others' changes are many."""
        concerned = (
            len(self._running) < self._in_flight
            or not job
            or any(claim.job == job for claim, _ in list(self._running.values()))
        )
        if concerned and threading.get_ident() != self._thread.ident:
            self._inbox.put(None)

    def _run(self) -> None:
        while not self._leaving.is_set():
            self._collect(self._step())
        while self._running and time.monotonic() < self._patience_ends:
            self._collect(self._patience_ends - time.monotonic())
        for claim, pending in self._running.values():
            if pending.cancel():
                self._back.append((claim, False))
        self._collect(0.0)  # what was answered meanwhile
        self._tried(self._write)

    def _step(self) -> float:
        """Do all that can be done now; return for how many seconds nothing new is to be expected."""
        if not self._tried(self._work):
            return _AFTER_FAULT_SECONDS
        until = min(self._upkeep_at, self._paused_until or self._upkeep_at)
        return max(0.0, until - time.monotonic())

    def _work(self) -> None:
        self._write()
        self._withdraw()
        self._keep_up()
        self._feed()
        self._write()

    def _tried(self, work: Callable[[], None]) -> bool:
        """Do some work; whatever it raises is noted, and the thread lives on."""
        try:
            work()
        except Exception as error:
            fault = as_fault(error)
            if self.fault is None or self.fault.code != fault.code:
                log.exception("jobs cannot go on for the moment")
            self.fault = fault
            return False
        self.fault = None
        return True

    def _write(self) -> None:
        """Write outcomes and give back; what cannot be written stays for the next time."""
        if self._outcomes:
            self._store.finish(self._outcomes)
            self._outcomes = []
        while self._back:
            claim, were_run = self._back[0]
            self._store.release([claim], were_run=were_run)
            self._back.pop(0)

    def _withdraw(self) -> None:
        """Stop what was cancelled."""
        for gone in self._store.withdrawn([claim for claim, _ in self._running.values()]):
            self._running[gone.number][1].cancel()

    def _keep_up(self) -> None:
        if time.monotonic() >= self._upkeep_at:
            self._store.recover()
            self._store.retain()
            self._upkeep_at = time.monotonic() + _UPKEEP_SECONDS

    def _feed(self) -> None:
        if time.monotonic() < self._paused_until:
            return
        self._paused_until = 0.0
        while len(self._running) < self._in_flight and not self._paused_until:
            large = any(claim.bytes >= LARGE for claim, _ in self._running.values())
            claim = self._store.claim(LARGE if large else None)
            if claim is None:
                return
            self._begin(claim)

    def _begin(self, claim: Claim) -> None:
        try:
            pending = _submitted(self._recognizer, claim)
        except Exception as error:  # noqa: BLE001 - the recording's own end, whatever it is
            self._fail(claim, as_fault(error))
            return
        self._running[claim.number] = (claim, pending)
        pending.add_done_callback(lambda _: self._inbox.put(claim.number))

    def _collect(self, patience: float) -> None:
        """Wait for something to happen, then take in all that has."""
        ended: list[int | None] = []
        with suppress(Empty):
            ended.append(self._inbox.get(timeout=patience))
            while True:
                ended.append(self._inbox.get_nowait())
        for number in ended:
            if number is not None:
                self._end(*self._running.pop(number))

    def _end(self, claim: Claim, pending: Pending[Any]) -> None:
        if pending.cancelled():
            return
        try:
            found = pending.result()
            predictions: tuple[Prediction, ...] = found if isinstance(found, tuple) else (found,)
            self._outcomes.append(Outcome(claim, _packed(predictions)))
        except Exception as error:  # noqa: BLE001 - the recording's own end, whatever it is
            self._fail(claim, as_fault(error))
        else:
            self._tell(claim, predictions)

    def _fail(self, claim: Claim, error: EmotapeError) -> None:
        """End a recording with its error, unless another time may be better."""
        if isinstance(error, Overloaded | ModelFault) or error.code == "closed":
            self._back.append((claim, False))
            self._paused_until = time.monotonic() + getattr(error, "retry_after", _AFTER_FAULT_SECONDS)
        elif isinstance(error, EngineFault) and claim.attempt < _RUNS:
            self._back.append((claim, True))
        else:
            self._outcomes.append(Outcome(claim, error=error))

    def _tell(self, claim: Claim, predictions: tuple[Prediction, ...]) -> None:
        try:
            self._answered(claim, predictions)
        except Exception:
            log.exception("a listener to the answers of jobs failed")


def _submitted(recognizer: Recognizes, claim: Claim) -> Pending[Any]:
    wanted = claim.options
    options: RequestOptions = {
        "granularity": wanted.get("granularity", "utterance"),
        "embedding": wanted.get("embedding", False),
        "quality": wanted.get("quality", False),
    }
    if wanted.get("deadline") is not None:
        left = claim.created + wanted["deadline"] - time.time()
        if left <= 0:
            raise Expired("expired")
        options["deadline"] = left
    submit = recognizer.submit_channels if wanted.get("channels") == "split" else recognizer.submit
    return submit(claim.path, **options)


def _packed(predictions: tuple[Prediction, ...]) -> bytes:
    answer = pack(predictions)
    if len(answer) > LARGEST_ANSWER:
        raise TooLong("job_result_too_large", megabytes=LARGEST_ANSWER // 1024**2)
    return answer
