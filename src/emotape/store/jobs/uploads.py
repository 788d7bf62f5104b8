"""The folder with the recordings of accepted jobs, and how a process shows the others that it lives.

owners/<owner>.lock         held by a living process; the system lets go of it when the process dies, however it dies
uploads/<owner>-<job>/0     the recordings, by their place in the job; never by the name that a sender gave
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from emotape.store.database import storage_fault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from emotape.store.jobs.values import Upload

_BLOCK: Final = 1024**2


@dataclass(frozen=True)
class Written:
    """One recording on the disk; `sha256` is the digest of its bytes."""

    name: str
    bytes: int
    sha256: str


class Owner:
    """This process among those that share a store: a random name, and a lock that ends with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "owners"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.name = secrets.token_hex(8)
        self._lock = self._lock_of(self.name)
        self._lock.acquire()

    def is_dead(self, owner: str) -> bool:
        """Return whether another owner's process has ended."""
        if owner == self.name:
            return False
        lock = self._lock_of(owner)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        lock.release()
        self._path(owner).unlink(missing_ok=True)
        return True

    def leave(self) -> None:
        """Let go: what this process still holds is anyone's."""
        self._lock.release()
        with suppress(OSError):
            self._path(self.name).unlink(missing_ok=True)

    def _lock_of(self, owner: str) -> FileLock:
        return FileLock(self._path(owner), thread_local=False)

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"


class Uploads:
    """Writes recordings so that they are on the disk before their job is accepted, and removes them afterwards."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._folder = folder / "uploads"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner = owner

    def folder_for(self, job: str) -> str:
        """Return the name of a new job's folder."""
        return f"{self._owner.name}-{job}"

    def path(self, folder: str, place: int) -> Path:
        """Return where a recording lies."""
        return self._folder / folder / str(place)

    def write(self, folder: str, uploads: Iterable[Upload]) -> list[Written]:
        """Write recordings and see them onto the disk; leave nothing behind if that fails.

        Raises EngineFault "jobs_disk_full" or "jobs_store_unusable".
        """
        target = self._folder / folder
        try:
            target.mkdir(mode=0o700)
            written = [_write(self.path(folder, place), upload) for place, upload in enumerate(uploads)]
            _sync_folder(target)
            _sync_folder(self._folder)
        except OSError as error:
            self.remove(folder)
            raise storage_fault(error, self._folder) from error
        except BaseException:
            self.remove(folder)
            raise
        return written

    def remove(self, folder: str) -> None:
        """Delete a job's recordings, as far as they are there."""
        shutil.rmtree(self._folder / folder, ignore_errors=True)

    def folders(self) -> list[str]:
        """Return every folder that is there."""
        return [path.name for path in self._folder.iterdir()]

    def orphans(self) -> list[str]:
        """Return the folders that nobody alive is writing."""
        return [folder for folder in self.folders() if self._owner.is_dead(folder.partition("-")[0])]


def fingerprint(options: str, written: Iterable[Written]) -> str:
    """Return a digest of all that makes two submissions the same: the options, and names and bytes of the files."""
    digest = hashlib.sha256(options.encode())
    for file in written:
        digest.update(f"\0{len(file.name)}\0{file.name}\0{file.sha256}".encode())
    return digest.hexdigest()


def _write(path: Path, upload: Upload) -> Written:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        while block := upload.content.read(_BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    name = upload.name.encode("utf-8", "replace").decode()  # a sender's name may hold what no text can
    return Written(name, size, digest.hexdigest())


def _sync_folder(folder: Path) -> None:
    """See the folder's list of names onto the disk; Windows has no such call and does it by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
