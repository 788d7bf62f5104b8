"""Which models there are, and which folder on this machine a name means. Opens no socket.

Models lie in one folder each under the models folder: `config.yaml`, `tokens.txt`, `model.safetensors`, and
what we noted about them in `emotape.json`. One more lies inside the package (`bundled/<name>/`), so that
emotape works offline from the first minute; replacing it is replacing that folder.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import platformdirs

from emotape.errors import ModelFault
from emotape.model.note import read_note
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language

CONFIG: Final = "config.yaml"
BUNDLED_FOLDER: Final = Path(__file__).resolve().parent.parent / "bundled"
PREFERRED: Final = "plus-large"

HubName = Literal["huggingface", "modelscope"]
State = Literal["bundled", "installed", "available"]


@dataclass(frozen=True)
class KnownModel:
    """A published model. Sizes are approximate bytes: what is downloaded, and what the conversion keeps."""

    name: str
    huggingface: str
    modelscope: str
    download_bytes: int
    kept_bytes: int

    def repository(self, hub: HubName) -> str:
        """Return the model's id on a hub."""
        return self.huggingface if hub == "huggingface" else self.modelscope


def _published(name: str, repository: str, sizes: tuple[int, int]) -> KnownModel:
    return KnownModel(name, f"emotion2vec/{repository}", f"iic/{repository}", *sizes)


_LARGE: Final = (1_950_000_000, 975_000_000)
_BASE: Final = (1_120_000_000, 570_000_000)
KNOWN: Final = (
    _published("plus-large", "emotion2vec_plus_large", _LARGE),
    _published("plus-base", "emotion2vec_plus_base", _BASE),
    _published("plus-seed", "emotion2vec_plus_seed", _BASE),
    _published("base", "emotion2vec_base", _BASE),
)


@dataclass(frozen=True)
class ModelEntry:
    """A model on this machine.

    `origin` says where it came from: "bundled", "folder", or "<hub>:<repository>@<revision>". `digest` is the
    noted SHA-256 of its dims, labels and weights, None where nobody noted it.
    """

    name: str
    path: Path
    experimental: bool
    origin: str
    digest: str | None = None


@dataclass(frozen=True)
class Listing:
    """One line of the catalogue: a model that is here, or that could be pulled.

    `bytes` is what it takes on disk (or would take); `download_bytes` is 0 for a model that no hub is known
    to hold. `default` marks the one that is used when no model is named.
    """

    name: str
    state: State
    bytes: int
    download_bytes: int
    default: bool
    entry: ModelEntry | None = None

    def summary(self, language: Language = "en") -> str:
        """Return what kind of model it is; empty for a folder that tells nothing of itself."""
        if find_known(self.name):
            return interface_text(f"catalogue_{self.name}", language)
        told = tolerant_note(self.entry.path).get("summary") if self.entry else None
        return str(told.get(language, "")) if isinstance(told, dict) else ""


def default_folder() -> Path:
    """Return the models folder of this user, by the platform's custom."""
    return platformdirs.user_data_path("emotape", appauthor=False) / "models"


def find_known(model: str) -> KnownModel | None:
    """Return the published model that a name or a hub id means."""
    wanted = model.casefold()
    return next((known for known in KNOWN if wanted in (known.name, known.huggingface, known.modelscope)), None)


def bundled_model(root: Path = BUNDLED_FOLDER) -> ModelEntry:
    """Return the model that the package brings: the one folder under `root` that holds a `config.yaml`.

    Raises ModelFault when there is none, or more than one.
    """
    folders = sorted(config.parent for config in root.glob(f"*/{CONFIG}"))
    if len(folders) != 1:
        raise ModelFault("bundled_model_unclear", path=root, count=len(folders))
    return _entry(folders[0], origin="bundled")


def resolve(model: str | Path | None, folder: Path | None = None) -> ModelEntry:
    """Return the model that `model` means.

    None          plus-large where it is present, else the bundled model
    a name        a published model (also by its hub id), a folder in the models folder, or the bundled model
    a path        a directory with config.yaml and weights, ours or an official download

    `folder` is the models folder (default: `default_folder()`). Raises ModelFault when nothing is there, or when
    one may not look.
    """
    folder = folder or default_folder()
    if model is None:
        return _installed(folder, PREFERRED) or bundled_model()
    if isinstance(model, str):
        named = _named(model, folder)
        if named is not None:
            return named
    return _at_path(Path(model).expanduser())


def list_models(folder: Path | None = None) -> tuple[Listing, ...]:
    """Return the bundled model, what lies in the models folder, and what could be pulled."""
    folder = folder or default_folder()
    default = resolve(None, folder)
    present = [_entry(path.parent) for path in sorted(folder.glob(f"[!.]*/{CONFIG}"))]
    names = {entry.name for entry in present}
    return (
        _present(bundled_model(), "bundled", default),
        *(_present(entry, "installed", default) for entry in present),
        *(_available(known) for known in KNOWN if known.name not in names),
    )


def tolerant_note(directory: Path) -> dict[str, Any]:
    """Return what is noted about a model directory, and nothing where the note is damaged.

    A damaged note must not keep the other models from being listed; whoever loads the model is told.
    """
    try:
        return read_note(directory)
    except ModelFault:
        return {}


def _named(model: str, folder: Path) -> ModelEntry | None:
    """Return the model of that name; None when the text can only be a path."""
    known = find_known(model)
    if known is not None:
        installed = _installed(folder, known.name)
        if installed is None:
            raise ModelFault("model_not_pulled", model=known.name, folder=folder)
        return installed
    if not _is_bare_name(model):
        return None
    bundled = bundled_model()
    found = _installed(folder, model) or (bundled if bundled.name == model else None)
    if found is None and not Path(model).is_dir():
        names = ", ".join(entry.name for entry in list_models(folder))
        raise ModelFault("model_not_found", model=model, names=names)
    return found


def _is_bare_name(model: str) -> bool:
    return bool(model) and Path(model).name == model and not model.startswith((".", "~"))


def _installed(folder: Path, name: str) -> ModelEntry | None:
    return _entry(folder / name) if _holds_model(folder / name, folder) else None


def _at_path(path: Path) -> ModelEntry:
    if not _holds_model(path, path):
        raise ModelFault("model_missing", path=path)
    return _entry(path.resolve())


def _holds_model(path: Path, named: Path) -> bool:
    """Say whether a folder holds a model. Raises ModelFault ("model_folder_closed"), about `named`."""
    try:
        return stat.S_ISREG((path / CONFIG).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise ModelFault("model_folder_closed", path=named, reason=error.strerror or str(error)) from error


def _entry(path: Path, origin: str = "folder") -> ModelEntry:
    noted = tolerant_note(path)
    digest = noted.get("digest")
    return ModelEntry(
        name=path.name,
        path=path,
        experimental=noted.get("experimental") is True,
        origin=str(noted.get("origin", origin)),
        digest=digest if isinstance(digest, str) else None,
    )


def _present(entry: ModelEntry, state: State, default: ModelEntry) -> Listing:
    known = find_known(entry.name)
    return Listing(
        name=entry.name,
        state=state,
        bytes=sum(file.stat().st_size for file in entry.path.iterdir() if file.is_file()),
        download_bytes=known.download_bytes if known else 0,
        default=entry.path == default.path,
        entry=entry,
    )


def _available(known: KnownModel) -> Listing:
    return Listing(known.name, "available", known.kept_bytes, known.download_bytes, default=False)
