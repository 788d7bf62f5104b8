"""A published model comes to this machine: download (resumed), digest check, conversion, one rename.

This is the only part of emotape that uses the network, and only when asked. Half a download lies in
`.partial/` of the models folder; a model's own folder appears there whole or not at all.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from emotape.errors import BadRequest, HubFault, ModelFault, Phrase
from emotape.model.note import note
from emotape.store.catalogue import KNOWN, default_folder, find_known, resolve, tolerant_note
from emotape.store.download import CONFIG, WEIGHTS, check_disk, download_files, needed_files
from emotape.store.hubs import HUB_ORDER, open_hub
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.store.catalogue import HubName, KnownModel, ModelEntry
    from emotape.store.hubs import Hub, RemoteFile, Snapshot

PARTIAL_FOLDER: Final = ".partial"


@dataclass(frozen=True)
class PullOptions:
    """How to pull. "auto" tries one hub, then the other; an `endpoint` needs a hub that it belongs to."""

    hub: Literal["auto", "huggingface", "modelscope"] = "auto"
    revision: str | None = None
    endpoint: str | None = None
    keep_original: bool = False


@dataclass(frozen=True)
class AlreadyThere:
    """The model is installed and whole; nothing is fetched."""

    model: str


@dataclass(frozen=True)
class Waiting:
    """Somebody else pulls the same model; we wait for them."""

    model: str


@dataclass(frozen=True)
class Found:
    """A hub answered: this will be fetched, `bytes` in all."""

    hub: HubName
    repository: str
    revision: str
    bytes: int


@dataclass(frozen=True)
class Received:
    """`bytes` of `total` of all files are here."""

    bytes: int
    total: int


@dataclass(frozen=True)
class Converting:
    """Everything is here and its digests are right; the weights are being converted."""

    model: str


@dataclass(frozen=True)
class HubFailed:
    """A hub failed and the next one is tried."""

    hub: HubName
    fault: HubFault
    next_hub: HubName


PullEvent = AlreadyThere | Waiting | Found | Received | Converting | HubFailed
PullObserver = Callable[[PullEvent], None]


def ignore(event: PullEvent, /) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class _Order:
    """One pull: which model, where to, how, and who listens."""

    known: KnownModel
    folder: Path
    options: PullOptions
    observer: PullObserver

    @property
    def target(self) -> Path:
        return self.folder / self.known.name

    @property
    def partial(self) -> Path:
        return self.folder / PARTIAL_FOLDER


def pull(
    model: str,
    folder: Path | None = None,
    options: PullOptions = PullOptions(),
    observer: PullObserver = ignore,
) -> ModelEntry:
    """Download, check, convert and install a published model; return it.

    One that is there and whole is left alone. An interrupted pull continues where it stopped. Of two pulls
    of one model at once, the second waits for the first. Raises BadRequest (unknown name), HubFault (hub,
    disk, digest) or ModelFault (hostile or damaged checkpoint).
    """
    known = find_known(model)
    if known is None:
        raise BadRequest("model_not_published", model=model, names=", ".join(known.name for known in KNOWN))
    if options.endpoint and options.hub == "auto":
        raise BadRequest("endpoint_without_hub", endpoint=options.endpoint)
    order = _Order(known, folder or default_folder(), options, observer)
    with _alone(order):
        if _satisfied(order):
            observer(AlreadyThere(known.name))
        else:
            _pull_from_any(order)
    return resolve(known.name, order.folder)


@contextmanager
def _alone(order: _Order) -> Iterator[None]:
    """Hold the model's lock, also against other processes."""
    from filelock import FileLock, Timeout

    try:
        order.partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(order.folder, error) from error
    lock = FileLock(order.partial / f"{order.known.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        order.observer(Waiting(order.known.name))
        lock.acquire()
    except OSError as error:
        raise _unusable(order.folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _satisfied(order: _Order) -> bool:
    """Tell whether what is asked for is installed already, and whole."""
    from emotape.model.weights import verify

    options = order.options
    if not (order.target / CONFIG).is_file():
        return False
    if options.keep_original and not (order.target / WEIGHTS).is_file():
        return False
    if options.revision not in (None, tolerant_note(order.target).get("revision")):
        return False
    try:
        return verify(order.target).ok
    except ModelFault:  # a damaged note: what is installed cannot be trusted, so it is pulled anew
        return False


def _pull_from_any(order: _Order) -> None:
    """Try the hubs in turn; a full disk or a bad checkpoint would be the same everywhere."""
    chosen = order.options.hub
    if chosen != "auto":
        return _pull_from(open_hub(chosen, order.options.endpoint), order)
    faults = []
    for hub, next_hub in zip(HUB_ORDER, (*HUB_ORDER[1:], None), strict=True):
        try:
            return _pull_from(open_hub(hub), order)
        except HubFault as fault:
            if fault.code in ("hub_disk_full", "disk_too_small", "models_folder_unusable"):
                raise
            faults.append(fault)
            if next_hub:
                order.observer(HubFailed(hub, fault, next_hub))
    first, second = faults
    raise HubFault(
        "every_hub_failed", model=order.known.name, reasons=Phrase("pull_reasons", first=first, second=second)
    )


def _pull_from(hub: Hub, order: _Order) -> None:
    snapshot = hub.snapshot(order.known.repository(hub.name), order.options.revision)
    files = needed_files(snapshot)
    total = sum(file.size for file in files)
    order.observer(Found(hub.name, snapshot.repository, snapshot.revision, total))
    download = order.partial / f"{order.known.name}-{str(files[0].digest)[:16]}"
    check_disk(download, files)
    try:
        download_files(hub, snapshot, files, download, lambda here: order.observer(Received(here, total)))
        order.observer(Converting(order.known.name))
        _install(download, snapshot, files, order)
    except OSError as error:
        raise _unusable(order.folder, error) from error


def _install(download: Path, snapshot: Snapshot, files: tuple[RemoteFile, ...], order: _Order) -> None:
    """Convert beside the target and rename: the model is there whole or not at all."""
    weights = (download / files[0].name).replace(download / WEIGHTS)
    ready = order.partial / f"{order.known.name}-{uuid.uuid4().hex}"
    try:
        _convert(download, ready, snapshot, files)
        if order.options.keep_original:
            weights.replace(ready / WEIGHTS)
        _swap(ready, order.target)
    except ModelFault:
        shutil.rmtree(download)  # what is hostile or does not fit together does not get better by waiting
        raise
    finally:
        shutil.rmtree(ready, ignore_errors=True)
    shutil.rmtree(download)


def _convert(download: Path, ready: Path, snapshot: Snapshot, files: tuple[RemoteFile, ...]) -> None:
    from emotape.model.weights import convert

    convert(download, ready)
    note(
        ready,
        origin=f"{snapshot.hub}:{snapshot.repository}@{snapshot.revision}",
        revision=snapshot.revision,
        files={file.name: f"{file.digest_kind}:{file.digest}" for file in files},
        pulled=datetime.now(UTC).isoformat(timespec="seconds"),
        emotape=__version__,
    )


def _swap(ready: Path, target: Path) -> None:
    replaced = ready.with_name(f"{ready.name}-replaced")
    if target.exists():
        target.replace(replaced)
    ready.replace(target)
    shutil.rmtree(replaced, ignore_errors=True)


def _unusable(folder: Path, error: OSError) -> HubFault:
    return HubFault("models_folder_unusable", folder=folder, reason=error.strerror or error)
