"""What was answered, for whoever asked: one line a request, without any audio.

Noting costs the caller nothing: a line is put in a queue, and a thread writes what has gathered in one transaction.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from emotape.errors import EmotapeError, NotReady

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.engine.result import Prediction
    from emotape.store.database import Connection, Database, Row

log = logging.getLogger("emotape")

_WAITING: Final = 10_000  # lines in memory; beyond that, while the disk stalls, the oldest are lost
_AGAIN_SECONDS: Final = 1.0
_GATHER_SECONDS: Final = 0.1  # a transaction costs as much for one line as for a hundred
_TRIM_EVERY: Final = 1_000  # lines


@dataclass(frozen=True)
class HistoryOptions:
    """How much is kept: lines in all, and for how many seconds."""

    rows: int = 100_000
    keep_seconds: float = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Line:
    """One answered recording. `number` grows; it is 0 before the line is written. `seconds` is the audio's length.

    `uncertain` is None for a model without a threshold, and in lines of before there were any.
    """

    id: str
    time: float
    caller: str
    file: str
    seconds: float
    emotion: str | None
    confidence: float
    uncertain: bool | None
    granularity: str
    model: str
    number: int = 0


class History:
    """The lines of all callers. `record` may be called from any thread, the event loop's included."""

    def __init__(
        self, database: Database, options: HistoryOptions | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._options = options or HistoryOptions()
        self._clock = clock
        self._waiting: deque[Line] = deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._writing = False
        self._is_awaited = False
        self._is_stalled = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._until_trim = 0

    def record(self, request: str, caller: str, file: str, prediction: Prediction) -> None:
        """Note an answer. Never raises and never waits for the disk."""
        line = Line(
            request,
            self._clock(),
            caller,
            file.encode("utf-8", "replace").decode(),
            float(prediction.seconds),
            prediction.emotion,
            float(prediction.confidence),
            prediction.uncertain,
            prediction.granularity,
            prediction.provenance.model,
        )
        with self._changed:
            if not self._closed:
                self._waiting.append(line)
                self._start()
                if len(self._waiting) == 1:  # whoever gathers lines is not woken by each
                    self._changed.notify_all()

    def lines(self, caller: str, limit: int, before: int | None = None, emotion: str | None = None) -> list[Line]:
        """Return a caller's lines, the newest first; `before` is the number of the last one already seen."""
        self.flush()
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id, time, caller, file, seconds, emotion, confidence, uncertain, granularity, model, number"
                " FROM history"
                " WHERE caller = ? AND number < ? AND time >= ? AND (CAST(? AS TEXT) IS NULL OR emotion = ?)"
                " ORDER BY number DESC LIMIT ?",
                (caller, 2**62 if before is None else before, self._oldest(), emotion, emotion, limit),
            )
            return [_line(row) for row in rows]

    def clear(self, caller: str) -> int:
        """Forget a caller's lines; return how many there were."""
        self.flush()
        with self._database.change() as connection:
            return connection.execute("DELETE FROM history WHERE caller = ?", (caller,)).rowcount

    def flush(self) -> None:
        """Wait until everything that was noted is written, or given up, or waits for a database or a disk."""
        with self._changed:
            self._is_awaited = bool(self._waiting)
            self._changed.notify_all()
            self._changed.wait_for(lambda: (not self._waiting or self._is_stalled) and not self._writing)

    def close(self) -> None:
        """Write what is left and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="emotape-history", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while lines := self._taken():
            is_stalled = False
            try:
                self._write(lines)
            except EmotapeError as error:
                is_stalled = _passes(error) and not self._closed
                if not is_stalled:
                    log.exception("%d lines of the history are lost", len(lines))
                elif not self._is_stalled:
                    log.warning("the history waits: %s", error.code)
            finally:
                self._settle(lines if is_stalled else [])

    def _settle(self, left: list[Line]) -> None:
        """Note that a turn of writing is over; take lines back that a database did not take, and wait a little."""
        with self._changed:
            room = _WAITING - len(self._waiting)
            self._waiting.extendleft(reversed(left[max(0, len(left) - room) :]))
            self._writing, self._is_stalled = False, bool(left)
            self._changed.notify_all()
            if left:
                self._changed.wait_for(lambda: self._closed, _AGAIN_SECONDS)

    def _taken(self) -> list[Line]:
        """Wait for lines, and a little for more, and take them all; nothing once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(lambda: self._is_awaited or self._closed, _GATHER_SECONDS)
            self._is_awaited = False
            lines = list(self._waiting)
            self._waiting.clear()
            self._writing = bool(lines)
            return lines

    def _write(self, lines: list[Line]) -> None:
        with self._database.change() as connection:
            connection.executemany(
                "INSERT INTO history"
                " (id, time, caller, file, seconds, emotion, confidence, uncertain, granularity, model) VALUES"
                " (:id, :time, :caller, :file, :seconds, :emotion, :confidence, :uncertain, :granularity, :model)",
                [asdict(line) for line in lines],
            )
            self._until_trim -= len(lines)
            if self._until_trim <= 0:
                self._until_trim = min(_TRIM_EVERY, self._options.rows)
                self._trim(connection)

    def _trim(self, connection: Connection) -> None:
        connection.execute("DELETE FROM history WHERE time < ?", (self._oldest(),))
        connection.execute(
            "DELETE FROM history WHERE number <= (SELECT MAX(number) FROM history) - ?", (self._options.rows,)
        )

    def _oldest(self) -> float:
        return self._clock() - self._options.keep_seconds


def _passes(error: EmotapeError) -> bool:
    """Return whether lines that could not be written may be later: the database is away, or the disk is full."""
    return isinstance(error, NotReady) or error.code == "jobs_disk_full"


def _line(row: Row) -> Line:
    uncertain = row["uncertain"]
    return Line(**{**dict(row), "uncertain": None if uncertain is None else bool(uncertain)})
