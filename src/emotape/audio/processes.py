"""Decoding in processes of its own: it scales with the cores in every format, and a crash costs one process.

In threads, FFmpeg's small frames hand the interpreter's lock over so often that two threads hardly do more than one.
Each worker is a process with one request at a time, so it is known which recording a dead worker held.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import replace
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final, Protocol, cast

from emotape.audio.decode import decode
from emotape.audio.reader import Reader, can_seek
from emotape.audio.worker import READY
from emotape.errors import BadAudio, EmotapeError

if TYPE_CHECKING:
    from emotape.audio.decode import AudioSource, ChannelMode, DecodeLimits, Recording
    from emotape.audio.worker import Answer, Request

log = logging.getLogger("emotape")

# What goes through the pipes: at about 1 GB a second it costs a few hundredths of what decoding it does.
MOST_BYTES: Final = 16 * 1024**2
"""Bytes of a recording in memory that are sent to a process; more is decoded in the caller's thread."""
MOST_MEMORY: Final = 64 * 1024**2
"""Bytes of samples (17 minutes of one channel) that come back; longer recordings are decoded in the caller's thread."""

# The caller's thread finds these again in a moment, or does what was too large to send.
_DECIDED_HERE: Final = frozenset({"too_much_memory", "no_such_file"})
_FAILED_STARTS: Final = 3  # in a row; then this machine does not let us start processes
_PATIENCE: Final = 10.0  # seconds for an idle worker to end by itself

# The working folder stays off the path: a pickle.py there would be imported.
_PROGRAM: Final = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from emotape.audio.worker import main; main()"
)


class Decoder(Protocol):
    """Anything that decodes as `emotape.audio.decode.decode` does: it itself, or processes that call it."""

    def __call__(self, data: AudioSource, limits: DecodeLimits, channels: ChannelMode, /) -> Recording:
        """Return the recording that `data` holds."""


class DecodingProcesses:
    """At most `most` processes that decode, started as they are needed and kept until `close`.

    `decode` gives what `emotape.audio.decode.decode` gives, to the bit, and raises what it raises. A recording whose
    process dies twice is BadAudio `decoder_died`; no other recording is touched. Streams, recordings over `MOST_BYTES`
    in memory or over `MOST_MEMORY` decoded, and everything where no process can be started, are decoded in the
    caller's thread. Safe to use from any thread.
    """

    def __init__(self, most: int) -> None:
        self._places = BoundedSemaphore(most)
        self._idle: deque[_Worker] = deque()  # the one used last is at the right: its memory is warm
        self._alive: dict[int, None] = {}
        self._failed_starts = 0
        self._closed = False
        self._finalizer = weakref.finalize(self, _end_all, self._idle, self._alive)

    @property
    def pids(self) -> tuple[int, ...]:
        """The identifiers of the processes that are ready or decoding."""
        return tuple(self._alive)

    def warm_up(self) -> None:
        """Start the first process, so that no recording waits for it."""
        with self._places, suppress(_NotStarted):
            self._give_back(self._take())

    def decode(self, data: AudioSource, limits: DecodeLimits, channels: ChannelMode) -> Recording:
        """Decode as `emotape.audio.decode.decode` does, in a process where that pays."""
        data = _in_memory(data, limits)
        parcel = _parcel(data)
        if parcel is None or self._closed or self._failed_starts >= _FAILED_STARTS:
            return decode(data, limits, channels)
        small = replace(limits, memory=min(limits.memory, MOST_MEMORY))
        try:
            with self._places:
                answer = self._answer((parcel, small, channels))
        except _NotStarted:
            return decode(data, limits, channels)
        if not isinstance(answer, EmotapeError):
            return answer
        if answer.code in _DECIDED_HERE and not (answer.code == "too_much_memory" and small == limits):
            return decode(data, limits, channels)
        raise answer

    def end_idle(self) -> None:
        """End the processes that have nothing to do; others are started when they are needed."""
        _end_all(self._idle, self._alive)

    def close(self) -> None:
        """End the processes; what is decoded from now on is decoded in the caller's thread."""
        self._closed = True
        _end_all(self._idle, self._alive)

    def _answer(self, request: Request) -> Answer:
        """Ask a worker; if it dies, ask another once more: it may have been killed for no fault of the recording."""
        try:
            return self._asked(request)
        except _Died as death:
            log.warning("a decoding process died (%s)", death.reason)
        try:
            return self._asked(request)
        except _Died as death:
            raise BadAudio("decoder_died", reason=death.reason) from death
        except _NotStarted as failure:  # in this process, what killed one is not decoded
            raise BadAudio("decoder_died", reason="no second process") from failure

    def _asked(self, request: Request) -> Answer:
        worker = self._take()
        try:
            answer = worker.ask(request)
        except BaseException:
            self._alive.pop(worker.pid, None)
            raise
        self._give_back(worker)
        return answer

    def _take(self) -> _Worker:
        """Return a living worker: the one used last, or a new one."""
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                return self._started()
            if worker.is_alive():
                return worker
            self._alive.pop(worker.pid, None)
            worker.end()

    def _started(self) -> _Worker:
        try:
            worker = _Worker()
        except _NotStarted:
            self._failed_starts += 1
            log.warning("a decoding process could not be started; the recording is decoded in a thread", exc_info=True)
            raise
        self._failed_starts = 0
        self._alive[worker.pid] = None
        return worker

    def _give_back(self, worker: _Worker) -> None:
        self._idle.append(worker)
        if self._closed:
            _end_all(self._idle, self._alive)


class _NotStarted(Exception):
    """A process could not be started, or ended before it was ready."""


class _Died(Exception):
    """A process ended while it decoded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Worker:
    """One process and the pipes to it. Raises _NotStarted."""

    def __init__(self) -> None:
        if getattr(sys, "frozen", False):  # the executable is the application, not an interpreter
            raise _NotStarted
        alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # numpy would start a team that has nothing to do
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a program of ours
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=alone,
                process_group=0,  # an interrupt at the terminal is the parent's to handle
            )
        except (OSError, ValueError, TypeError) as error:  # an interpreter inside another program has no executable
            raise _NotStarted from error
        try:
            ready = self._exchange(sys.path)
        except _Died as death:
            raise _NotStarted from death
        if ready != READY:
            self.end()
            raise _NotStarted

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Request) -> Answer:
        """Return the answer to a request. Raises _Died; any exception leaves the process ended."""
        return cast("Answer", self._exchange(request))

    def _exchange(self, sent: object) -> object:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None  # noqa: S101 - both are pipes
        assert answers is not None  # noqa: S101
        try:
            pickle.dump(sent, requests, pickle.HIGHEST_PROTOCOL)
            requests.flush()
            return pickle.load(answers)  # noqa: S301 - from a process of our own
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise _Died(self._killed()) from error
        except BaseException:
            self._killed()
            raise

    def _killed(self) -> str:
        """Make sure that the process is gone; return why it went."""
        self._process.kill()
        self.end()
        code = self._process.returncode
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def leave(self) -> None:
        """Tell the process to end: there is nothing more to read."""
        if self._process.stdin is not None:
            with suppress(OSError):  # it is gone already, with part of a request unread
                self._process.stdin.close()

    def end(self) -> None:
        """Wait for the end of the process."""
        self.leave()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _end_all(idle: deque[_Worker], alive: dict[int, None]) -> None:
    """End idle workers, all at once."""
    workers = []
    with suppress(IndexError):
        while True:
            workers.append(idle.pop())
    for worker in workers:
        worker.leave()
    for worker in workers:
        worker.end()
        alive.pop(worker.pid, None)


def _in_memory(data: AudioSource, limits: DecodeLimits) -> AudioSource:
    """Return the bytes of a short file object that can seek, and everything else as it is."""
    if isinstance(data, bytes | bytearray | memoryview | str | os.PathLike) or not hasattr(data, "read"):
        return data
    if not can_seek(data):
        return data
    reader = Reader(data, limits)
    return b"".join(reader.drain()) if (reader.size or 0) <= MOST_BYTES else data


def _parcel(data: AudioSource) -> bytes | str | None:
    """Return what a process is sent of a source, or None where it must be decoded here."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data) if memoryview(data).nbytes <= MOST_BYTES else None
    return _regular_file(data) if isinstance(data, str | os.PathLike) else None


def _regular_file(path: str | os.PathLike[str]) -> str | None:
    """Return the path of a file as any process may open it; None for pipes, devices and what is not there."""
    try:
        return os.path.realpath(path) if stat.S_ISREG(os.stat(path).st_mode) else None  # noqa: PTH116 - also ""
    except (OSError, ValueError):
        return None
