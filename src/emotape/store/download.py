"""The files of a model arrive in a folder: which ones, whether they fit, whether they are the hub's."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from emotape.errors import HubFault
from emotape.store.hubs import PARTIAL_SUFFIX, TITLES, other_hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.store.hubs import Hub, RemoteFile, Snapshot

WEIGHTS: Final = "model.pt"
CONFIG: Final = "config.yaml"
_OPTIONAL: Final = ("tokens.txt", "configuration.json")
_KEPT_SHARE: Final = 0.6  # a third of an official file is needed, and half of that again in halves
_SPARE_BYTES: Final = 64 * 2**20


def needed_files(snapshot: Snapshot) -> tuple[RemoteFile, ...]:
    """Return the files that a model needs, weights first.

    Raises HubFault when they are not there, or when the hub tells no digest of the weights.
    """
    weights = snapshot.file(WEIGHTS) or _only_checkpoint(snapshot)
    config = snapshot.file(CONFIG)
    if config is None or weights is None:
        raise _incomplete(snapshot, WEIGHTS if config else CONFIG)
    if weights.digest is None:
        raise _incomplete(snapshot, f"SHA-256({weights.name})")
    optional = (snapshot.file(name) for name in _OPTIONAL)
    return (weights, config, *(file for file in optional if file is not None))


def check_disk(download: Path, files: tuple[RemoteFile, ...]) -> None:
    """Refuse before the first byte if the rest of the download and the converted weights do not fit."""
    rest = sum(file.size - _arrived(download, file) for file in files)
    needed = rest + int(files[0].size * _KEPT_SHARE) + _SPARE_BYTES
    free = shutil.disk_usage(download.parent).free
    if free < needed:
        raise HubFault("disk_too_small", folder=download.parent, needed_gb=needed / 1e9, free_gb=free / 1e9)


def download_files(
    hub: Hub,
    snapshot: Snapshot,
    files: tuple[RemoteFile, ...],
    download: Path,
    received: Callable[[int], None],
) -> None:
    """Bring every file into `download` and check its digest; `received` is told all bytes that are here.

    If anything fails, what arrived stays for the next time, except a file whose digest is wrong.
    """
    download.mkdir(exist_ok=True)
    before = 0
    for file in files:
        if not _is_right(download / file.name, file):
            _clear_stale(download, file)
            hub.fetch(snapshot, file, download, _Counter(before, received).add)
            _check_digest(snapshot, file, download / file.name)
        before += file.size
        received(before)


class _Counter:
    """Adds up what a client says of one file."""

    def __init__(self, before: int, received: Callable[[int], None]) -> None:
        self._total = before
        self._received = received

    def add(self, count: int) -> None:
        self._total += count
        self._received(self._total)


def file_digest(path: Path, kind: Literal["sha256", "git"]) -> str:
    """Return a file's SHA-256, or the name that Git gives its content."""
    total = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        total.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            total.update(chunk)
    return total.hexdigest()


def _only_checkpoint(snapshot: Snapshot) -> RemoteFile | None:
    """Find a checkpoint that is named after its repository, such as emotion2vec_base.pt."""
    checkpoints = [file for file in snapshot.files if file.name.endswith(".pt") and Path(file.name).name == file.name]
    return checkpoints[0] if len(checkpoints) == 1 else None


def _incomplete(snapshot: Snapshot, missing: str) -> HubFault:
    facts = {"hub": TITLES[snapshot.hub], "repository": snapshot.repository, "missing": missing}
    return HubFault("hub_incomplete", **facts)


def _arrived(download: Path, file: RemoteFile) -> int:
    for path in (download / file.name, download / f"{file.name}{PARTIAL_SUFFIX}"):
        if path.is_file():
            return min(path.stat().st_size, file.size)
    return 0


def _clear_stale(download: Path, file: RemoteFile) -> None:
    """Remove what cannot be continued: the folder is named after the digest of the weights alone."""
    (download / file.name).unlink(missing_ok=True)
    partial = download / f"{file.name}{PARTIAL_SUFFIX}"
    continues = file.name.endswith(".pt") and partial.is_file() and partial.stat().st_size <= file.size
    if not continues:
        partial.unlink(missing_ok=True)


def _check_digest(snapshot: Snapshot, file: RemoteFile, path: Path) -> None:
    if _is_right(path, file):
        return
    found = file_digest(path, file.digest_kind)
    path.unlink()
    raise HubFault(
        "hub_digest_mismatch",
        hub=TITLES[snapshot.hub],
        other=other_hub(snapshot.hub),
        file=file.name,
        expected=file.digest,
        found=found,
    )


def _is_right(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return file.digest is None or file_digest(path, file.digest_kind) == file.digest
