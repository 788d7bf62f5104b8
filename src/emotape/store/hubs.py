"""Hugging Face and ModelScope behind one small protocol, each through its own client library.

Nothing here runs unless a pull was asked for. The clients are told to send no telemetry: Hugging Face's
neither detects who calls nor names the installed frameworks, and ModelScope's sends no lasting identifier
of this installation.
"""

from __future__ import annotations

import errno
import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self

from emotape.errors import HubFault
from emotape.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.store.catalogue import HubName

Advance = Callable[[int], None]  # told the bytes that arrived (negative: they have to be fetched anew)

TITLES: Final[dict[str, str]] = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
HUB_ORDER: Final[tuple[HubName, ...]] = ("huggingface", "modelscope")
PARTIAL_SUFFIX: Final = ".incomplete"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository. `digest` is hexadecimal; kind "git" is the SHA-1 that names it in Git."""

    name: str
    size: int
    digest: str | None
    digest_kind: Literal["sha256", "git"] = "sha256"


@dataclass(frozen=True)
class Snapshot:
    """What a repository holds at one revision."""

    hub: HubName
    repository: str
    revision: str
    files: tuple[RemoteFile, ...]

    def file(self, name: str) -> RemoteFile | None:
        """Return the file of that name."""
        return next((file for file in self.files if file.name == name), None)


class Hub(Protocol):
    """A place that serves models. Both methods raise HubFault and nothing else."""

    @property
    def name(self) -> HubName:
        """Which hub this is."""

    def snapshot(self, repository: str, revision: str | None) -> Snapshot:
        """Ask what a repository holds; `revision` None is the hub's main branch."""

    def fetch(self, snapshot: Snapshot, file: RemoteFile, directory: Path, advance: Advance) -> None:
        """Download a file into `directory`, continuing `<name>.incomplete` where an earlier try left it."""


def other_hub(name: HubName) -> HubName:
    """Return the hub to try when this one fails."""
    return "modelscope" if name == "huggingface" else "huggingface"


def open_hub(name: HubName, endpoint: str | None = None) -> Hub:
    """Return a hub's client; without `endpoint` it uses its own (HF_ENDPOINT, MODELSCOPE_ENDPOINT)."""
    return HuggingFace(endpoint) if name == "huggingface" else ModelScope(endpoint)


class HuggingFace:
    """The Hugging Face Hub, through `huggingface_hub`.

    Its `hf_hub_download` throws an interrupted file away when the process ends, so the file is fetched with
    the client's own `http_get`, which resumes; that is always plain HTTP, never Xet.
    """

    name: Final[HubName] = "huggingface"

    def __init__(self, endpoint: str | None = None) -> None:
        from huggingface_hub import HfApi, constants

        constants.HF_HUB_DISABLE_TELEMETRY = True  # for this process: the client has no switch per call
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._api = HfApi(endpoint=self._endpoint, library_name="emotape", library_version=__version__)

    def snapshot(self, repository: str, revision: str | None) -> Snapshot:
        """See `Hub.snapshot`. The revision that comes back is the commit."""
        try:
            info = self._api.model_info(repository, revision=revision or "main", files_metadata=True, timeout=15)
        except Exception as error:
            raise self._fault(error, repository) from error
        files = tuple(_huggingface_file(sibling) for sibling in info.siblings or ())
        return Snapshot(self.name, repository, info.sha or revision or "main", files)

    def fetch(self, snapshot: Snapshot, file: RemoteFile, directory: Path, advance: Advance) -> None:
        """See `Hub.fetch`."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get

        url = hf_hub_url(snapshot.repository, file.name, revision=snapshot.revision, endpoint=self._endpoint)
        partial = directory / f"{file.name}{PARTIAL_SUFFIX}"
        try:
            with partial.open("ab") as sink:
                http_get(
                    url,
                    sink,
                    resume_size=sink.tell(),
                    headers=self._headers(),
                    expected_size=file.size,
                    tqdm_class=functools.partial(_Bar, advance, file.size),  # type: ignore[arg-type]  # any callable does
                )
        except Exception as error:
            raise self._fault(error, snapshot.repository) from error
        partial.replace(directory / file.name)

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # exported lazily

        plain = {"Accept-Encoding": "identity"}  # a compressed answer cannot be resumed
        return build_hf_headers(library_name="emotape", library_version=__version__, headers=plain)

    def _fault(self, error: Exception, repository: str) -> HubFault:
        from huggingface_hub.errors import RepositoryNotFoundError

        # The hub answers 401 for a repository that does not exist, so that private names cannot be guessed.
        status = 404 if isinstance(error, RepositoryNotFoundError) else _status(error)
        return _fault(self.name, self._endpoint, repository, error, status)


class ModelScope:
    """The ModelScope hub, through `modelscope_hub`, whose own downloader resumes."""

    name: Final[HubName] = "modelscope"

    def __init__(self, endpoint: str | None = None) -> None:
        from modelscope_hub import HubApi

        _mute_modelscope_bars()
        config = _anonymous_config(endpoint)
        self._endpoint: str = config.endpoint
        self._api = HubApi(config)

    def snapshot(self, repository: str, revision: str | None) -> Snapshot:
        """See `Hub.snapshot`. ModelScope tells no commit: what comes back is what was asked for."""
        revision = revision or "master"
        try:
            infos = self._api.list_repo_files(repository, "model", revision=revision, recursive=False)
        except Exception as error:
            raise self._fault(error, repository) from error
        files = tuple(RemoteFile(info.path, info.size, info.sha256) for info in infos if not info.is_dir)
        return Snapshot(self.name, repository, revision, files)

    def fetch(self, snapshot: Snapshot, file: RemoteFile, directory: Path, advance: Advance) -> None:
        """See `Hub.fetch`."""
        try:
            self._api.downloader.download_file(
                snapshot.repository,
                "model",
                file.name,
                revision=snapshot.revision,
                local_dir=directory,
                cache_dir=directory,  # its locks lie there
                file_size=file.size,
                progress_callbacks=[_callback(advance)],
            )
        except Exception as error:
            raise self._fault(error, snapshot.repository) from error

    def _fault(self, error: Exception, repository: str) -> HubFault:
        return _fault(self.name, self._endpoint, repository, error, _status(error))


def _huggingface_file(sibling: Any) -> RemoteFile:  # huggingface_hub's RepoSibling
    if sibling.lfs is not None:
        return RemoteFile(sibling.rfilename, sibling.lfs.size, sibling.lfs.sha256)
    return RemoteFile(sibling.rfilename, sibling.size or 0, sibling.blob_id, "git")


class _Bar:
    """What huggingface_hub takes for a tqdm bar. It ends a download that would fill the disk.

    The client itself looks only in the end whether a file has as many bytes as the hub said.
    """

    def __init__(self, advance: Advance, size: int, *, initial: int = 0, **_: object) -> None:
        self._advance = advance
        self._left = size - initial
        advance(initial)

    def update(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("more came than the hub had said")
        self._advance(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _callback(advance: Advance) -> Any:  # a class, as modelscope_hub wants
    from modelscope_hub import ProgressCallback

    class Callback(ProgressCallback):
        """Tells us what arrives."""

        def update(self, size: int) -> None:
            advance(size)

    return Callback


def _anonymous_config(endpoint: str | None) -> Any:  # modelscope_hub has no type information
    from modelscope_hub import HubConfig

    session = uuid.uuid4().hex

    class AnonymousConfig(HubConfig):
        """The client would make an identifier, keep it in the home folder and send it for ever."""

        def get_session_id(self) -> str:
            return session

    return AnonymousConfig(endpoint=endpoint)


def _mute_modelscope_bars() -> None:
    """Stop the client from drawing a bar of its own beside the callback: it has no switch for that."""
    from modelscope_hub import _download

    bars = vars(_download)
    if isinstance(bars["tqdm"], type):
        bars["tqdm"] = functools.partial(bars["tqdm"], disable=True)


def _status(error: Exception) -> int | None:
    """Return the HTTP status behind an error of either client; None when no answer came at all."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


_CODES: Final = {401: "hub_forbidden", 403: "hub_forbidden", 404: "hub_not_found", 429: "hub_busy"}
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def _fault(hub: HubName, endpoint: str, repository: str, error: Exception, status: int | None) -> HubFault:
    """Sort an error of a client into ours, with what its texts need."""
    facts = {
        "hub": TITLES[hub],
        "other": other_hub(hub),
        "endpoint": endpoint,
        "repository": repository,
        "status": status,
        "reason": _reason(error),
    }
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return HubFault("hub_disk_full", **facts)
    if status is None:
        return HubFault("hub_unreachable", **facts)
    return HubFault(_CODES.get(status, "hub_failed"), **facts)


def _reason(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
