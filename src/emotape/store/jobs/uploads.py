"""The recordings of accepted jobs: durable before their job is accepted, and gone when it has ended."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from emotape.store.database import storage_fault
from emotape.store.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from emotape.store.database import Connection, Database
    from emotape.store.jobs.member import LocalMember
    from emotape.store.jobs.values import Upload

BLOCK: Final = 1024**2
"""Bytes that are moved at once."""


@dataclass(frozen=True)
class Written:
    """One recording that is kept; `sha256` is the digest of its bytes."""

    name: str
    bytes: int
    sha256: str


class Uploads(Protocol):
    """Keeps recordings, those of a job in one folder and by their place in it; never by the name that a sender gave."""

    def folder_for(self, job: str) -> str:
        """Return the name of a new job's folder."""
        ...

    def write(self, folder: str, uploads: Iterable[Upload]) -> list[Written]:
        """Keep recordings, durably; leave nothing behind if that fails. Raises EmotapeError."""
        ...

    def confirm(self, connection: Connection, folder: str) -> None:
        """Bind recordings to their job, in the transaction that accepts it. Raises EmotapeError if they are gone."""
        ...

    def abandon(self, folder: str) -> None:
        """Forget recordings, unless a job was accepted with them."""
        ...

    def fetch(self, folder: str, place: int, size: int) -> Path:
        """Return where a recording of `size` bytes lies on this machine, brought here if need be; `discard` it after.

        There is no file where it was removed with its job meanwhile. Raises EmotapeError.
        """
        ...

    def discard(self, path: Path) -> None:
        """Forget what was brought here."""
        ...

    def remove(self, folder: str) -> None:
        """Forget the recordings of a job that has ended or is gone, or leave that to `sweep` if it does not succeed."""
        ...

    def sweep(self, *, keep_finished: bool) -> None:
        """Forget what processes that died, or a database that failed, left behind."""
        ...

    def close(self) -> None:
        """Forget all that was brought here."""
        ...


class FolderUploads:
    """Recordings as files beside the database: uploads/<member>-<job>/0, and so on."""

    def __init__(self, folder: Path, member: LocalMember, database: Database) -> None:
        self._folder = folder / "uploads"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._member = member
        self._database = database

    def folder_for(self, job: str) -> str:
        """Return a name that says who writes it."""
        return f"{self._member.name}-{job}"

    def write(self, folder: str, uploads: Iterable[Upload]) -> list[Written]:
        """Write recordings and see them onto the disk.

        Raises EngineFault "jobs_disk_full" or "jobs_store_unusable".
        """
        target = self._folder / folder
        try:
            target.mkdir(mode=0o700)
            written = [_write(target / str(place), upload) for place, upload in enumerate(uploads)]
            sync_folder(target)
            sync_folder(self._folder)
        except OSError as error:
            self.remove(folder)
            raise storage_fault(error, self._folder) from error
        except BaseException:
            self.remove(folder)
            raise
        return written

    def confirm(self, connection: Connection, folder: str) -> None:
        """Do nothing: nobody removes the folder of a member that lives."""

    def abandon(self, folder: str) -> None:
        """Delete a folder whose job was not accepted."""
        self.remove(folder)

    def fetch(self, folder: str, place: int, size: int) -> Path:  # noqa: ARG002 - it is all here
        """Return where a recording lies."""
        return self._folder / folder / str(place)

    def discard(self, path: Path) -> None:
        """Do nothing: it was here before."""

    def remove(self, folder: str) -> None:
        """Delete a job's recordings, as far as they are there."""
        shutil.rmtree(self._folder / folder, ignore_errors=True)

    def sweep(self, *, keep_finished: bool) -> None:
        """Delete folders of dead members that have no job, and those of jobs that have ended."""
        there = [path.name for path in self._folder.iterdir()]
        # First: a member that is dead by now commits no job any more.
        orphans = [folder for folder in there if self._member.is_dead(None, folder.partition("-")[0])]
        with self._database.read() as connection:
            jobs = {row["folder"]: row["finished"] for row in connection.execute("SELECT folder, finished FROM jobs")}
        over = [folder for folder in there if not keep_finished and jobs.get(folder) is not None]
        for folder in (*(orphan for orphan in orphans if orphan not in jobs), *over):
            self.remove(folder)

    def close(self) -> None:
        """Do nothing."""


def fingerprint(options: str, written: Iterable[Written]) -> str:
    """Return a digest of all that makes two submissions the same: the options, and names and bytes of the files."""
    digest = hashlib.sha256(options.encode())
    for file in written:
        digest.update(f"\0{len(file.name)}\0{file.name}\0{file.sha256}".encode())
    return digest.hexdigest()


class Reading:
    """An upload on its way in, block by block; `written` says at its end what it was."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks; none is empty."""
        while block := self._upload.content.read(BLOCK):
            self._digest.update(block)
            self._size += len(block)
            yield block

    def written(self) -> Written:
        """Return what was read."""
        name = self._upload.name.encode("utf-8", "replace").decode()  # a sender's name may hold what no text can
        return Written(name, self._size, self._digest.hexdigest())


def _write(path: Path, upload: Upload) -> Written:
    reading = Reading(upload)
    with path.open("xb") as file:
        for block in reading:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return reading.written()
