"""Recordings in a database that several machines share: in chunks, and brought to whoever works on them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from emotape.errors import EmotapeError, NotReady
from emotape.store.database import storage_fault
from emotape.store.jobs.uploads import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from emotape.store.database import Connection, Database
    from emotape.store.jobs.uploads import Written
    from emotape.store.jobs.values import Upload

_NEVER_ACCEPTED: Final = 3600.0  # seconds after which an upload without a job is nobody's
_COME_AGAIN: Final = 5.0
_SPOOL: Final = "emotape-jobs-"
_LOCK: Final = "in-use"  # held as long as the process lives
_YOUNG: Final = 60.0  # seconds within which a folder may not be locked yet


class ChunkUploads:
    """Recordings as rows of `chunks`; an upload counts as accepted from the transaction on that has its job."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._spool: TemporaryDirectory[str] | None = None
        self._spool_lock: FileLock | None = None

    def folder_for(self, job: str) -> str:
        """Return the job's own name."""
        return job

    def write(self, folder: str, uploads: Iterable[Upload]) -> list[Written]:
        """Write recordings in one transaction. Raises what the database does, and EngineFault "jobs_store_unusable"."""
        try:
            with self._database.change() as connection:
                connection.execute("INSERT INTO uploads (folder) VALUES (?)", (folder,))
                return [_write(connection, folder, place, upload) for place, upload in enumerate(uploads)]
        except OSError as error:
            raise storage_fault(error, Path(tempfile.gettempdir()) / "upload") from error

    def confirm(self, connection: Connection, folder: str) -> None:
        """Mark an upload as accepted, which nobody sweeps. Raises NotReady "database_unreachable" if it was swept."""
        done = connection.execute("UPDATE uploads SET accepted = TRUE WHERE folder = ?", (folder,))
        if not done.rowcount:
            reason = "the recordings waited for too long"
            raise NotReady("database_unreachable", retry_after=_COME_AGAIN, place="PostgreSQL", reason=reason)

    def abandon(self, folder: str) -> None:
        """Delete an upload that was not accepted; one whose acceptance was lost only on the way back stays."""
        with suppress(EmotapeError), self._database.change() as connection:
            connection.execute("DELETE FROM uploads WHERE folder = ? AND NOT accepted", (folder,))

    def fetch(self, folder: str, place: int, size: int) -> Path:
        """Write a recording to a file that only this user can read. Raises EngineFault "jobs_disk_full" as well."""
        try:
            descriptor, name = tempfile.mkstemp(dir=self._spool_folder())
            path = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file, self._database.read() as connection:
                    is_whole = _copy(connection, folder, place, size, file) == size
            except BaseException:
                path.unlink()
                raise
        except OSError as error:
            raise storage_fault(error, Path(tempfile.gettempdir()) / "emotape") from error
        if not is_whole:  # its job has ended meanwhile
            path.unlink()
        return path

    def discard(self, path: Path) -> None:
        """Delete the file."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def remove(self, folder: str) -> None:
        """Delete an upload."""
        with suppress(EmotapeError), self._database.change() as connection:
            connection.execute("DELETE FROM uploads WHERE folder = ?", (folder,))

    def sweep(self, *, keep_finished: bool) -> None:
        """Delete uploads that were never accepted, and those whose job has ended or is gone."""
        over = "jobs.number IS NULL" if keep_finished else "jobs.number IS NULL OR jobs.finished IS NOT NULL"
        statement = (
            "SELECT uploads.folder, accepted FROM uploads LEFT JOIN jobs ON jobs.folder = uploads.folder"  # noqa: S608
            f" WHERE accepted AND ({over}) OR NOT accepted AND uploaded < EXTRACT(EPOCH FROM clock_timestamp()) - ?"
        )
        with self._database.read() as connection:
            found = connection.execute(statement, (_NEVER_ACCEPTED,)).fetchall()
        for row in found:
            with self._database.change() as connection:
                values = (row["folder"], row["accepted"])  # it may be accepted in this moment
                connection.execute("DELETE FROM uploads WHERE folder = ? AND accepted = ?", values)

    def close(self) -> None:
        """Delete all files."""
        with self._lock:
            if self._spool is not None and self._spool_lock is not None:
                self._spool_lock.release()
                self._spool.cleanup()
                self._spool = self._spool_lock = None

    def _spool_folder(self) -> str:
        with self._lock:
            if self._spool is None:
                _remove_abandoned(Path(tempfile.gettempdir()))
                self._spool = TemporaryDirectory(prefix=_SPOOL, ignore_cleanup_errors=True)
                self._spool_lock = FileLock(Path(self._spool.name) / _LOCK, thread_local=False)
                self._spool_lock.acquire()
            return self._spool.name


def _remove_abandoned(folder: Path) -> None:
    """Delete what processes brought here that were killed since."""
    for spool in folder.glob(f"{_SPOOL}*"):
        with suppress(OSError, Timeout):  # another user's, or in use
            if time.time() - spool.stat().st_mtime > _YOUNG and (spool / _LOCK).exists():
                with FileLock(spool / _LOCK, blocking=False):
                    shutil.rmtree(spool, ignore_errors=True)


def _write(connection: Connection, folder: str, place: int, upload: Upload) -> Written:
    reading = Reading(upload)
    for part, block in enumerate(reading):
        connection.execute(
            "INSERT INTO chunks (folder, place, part, data) VALUES (?, ?, ?, ?)", (folder, place, part, block)
        )
    return reading.written()


def _copy(connection: Connection, folder: str, place: int, size: int, file: BinaryIO) -> int:
    """Copy chunk by chunk, so that one of them at most lies in memory; return how many bytes there were."""
    statement = "SELECT data FROM chunks WHERE folder = ? AND place = ? AND part = ?"
    copied = part = 0
    while copied < size and (row := connection.execute(statement, (folder, place, part)).fetchone()) is not None:
        copied += file.write(row["data"])
        part += 1
    return copied
