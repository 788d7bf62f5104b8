"""A temporary folder that only this user can read. It goes with its process; or, if that was killed, with the next."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK: Final = ".lock"
_YOUNG: Final = 60.0  # seconds; its owner may be about to lock it


@contextmanager
def private_folder(prefix: str) -> Iterator[str]:
    """Give a folder of its own, and remove those of `prefix` that processes of this user left. Raises OSError."""
    with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder, FileLock(Path(folder, _LOCK)):
        _sweep(prefix)
        yield folder


def _sweep(prefix: str) -> None:
    for left in Path(gettempdir()).glob(f"{prefix}*"):
        try:
            if _is_own(left) and time.time() - left.stat().st_mtime > _YOUNG:
                with FileLock(left / _LOCK, blocking=False):
                    shutil.rmtree(left, ignore_errors=True)
        except (OSError, Timeout):  # somebody's who lives, or gone already
            continue


def _is_own(folder: Path) -> bool:
    """Whether a folder is this user's: others may put there what they like under any name."""
    return not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.getuid()
