"""The adapted model as a directory: written beside its place, checked there, and only then put in it."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import torch
import yaml

from emotape.delivery.adapting.labels import own_names, tokens
from emotape.errors import BadRequest
from emotape.model.mapped import SAFETENSORS
from emotape.model.names import as_reference, reference_names
from emotape.model.note import LABEL_NAMES, note
from emotape.model.weights import CONFIG, TOKENS, Calibration, convert, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from emotape.delivery.adapting.heads import Head
    from emotape.model.labels import Label
    from emotape.store.catalogue import ModelEntry

CARD: Final = "README.md"
FIGURES: Final = "figures.json"
_LICENCES: Final = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*")


@dataclass(frozen=True, eq=False)
class Learned:
    """What training gave: the head, and the weights of the network that changed.

    `blocks` has them by the encoder's own names, in float32; empty where only the head was trained.
    """

    head: Head
    blocks: Mapping[str, Tensor]


def require_place(output: Path, *, force: bool) -> None:
    """Raise BadRequest when a model cannot be put there: "adapt_output_exists", "adapt_output_foreign".

    With `force` a model directory may be replaced, but nothing else.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output.is_dir() and (output / CONFIG).is_file() and (output / TOKENS).is_file()):
        raise BadRequest("adapt_output_foreign", path=str(output))
    if not force:
        raise BadRequest("adapt_output_exists", path=str(output))


@contextmanager
def workshop(output: Path) -> Iterator[Path]:
    """Lend a folder beside the place of the model; nothing of it is left afterwards.

    Raises BadRequest "adapt_unwritable" when something cannot be written there, a full disk included.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".emotape-adapt-", dir=output.parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise BadRequest("adapt_unwritable", path=str(output), reason=error.strerror or str(error)) from error


def write_model(
    folder: Path,
    base: ModelEntry,
    labels: Sequence[Label],
    learned: Learned,
    temperature: float,
    facts: Mapping[str, Any],
) -> None:
    """Write everything but the card: weights, configuration, labels, licences and the note, with `facts` in it.

    Weights that were not trained are the base's own, bit by bit; the head is in float32, its logits divided by the
    temperature.
    """
    folder.mkdir()
    exact = load(base.path, None)
    dims = replace(exact.dims, classes=len(labels), head_hidden=learned.head.width)
    names = reference_names(dims)
    state = {name: values for name, values in exact.encoder.state_dict().items() if not name.startswith("head.")}
    state |= {name: values.to(state[name].dtype) for name, values in learned.blocks.items()}
    state |= {f"head.{name}": torch.from_numpy(values.copy()) for name, values in learned.head.state.items()}
    _save({names[name]: as_reference(name, values, dims) for name, values in state.items()}, folder / SAFETENSORS)
    (folder / CONFIG).write_text(_config(base.path / CONFIG, learned.head), encoding="utf-8")
    (folder / TOKENS).write_text(tokens(labels), encoding="utf-8")
    if names_of := own_names(labels):
        text = json.dumps(names_of, ensure_ascii=False, indent=2) + "\n"
        (folder / LABEL_NAMES).write_text(text, encoding="utf-8")
    _copy_licences(base.path, folder)
    note(folder, experimental=base.experimental, origin="adapted", **facts)
    convert(folder, folder, Calibration(temperature))


def put_in_place(made: Path, output: Path) -> None:
    """Give a finished directory its name; what had it goes only then, and comes back when that fails."""
    if not output.exists():
        made.rename(output)
        return
    old = made.with_name(f"{made.name}.old")
    output.rename(old)
    try:
        made.rename(output)
    except OSError:
        old.rename(output)
        raise


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: values.contiguous() for name, values in state.items()}, path, metadata={"format": "pt"})
    except SafetensorError as error:  # its way to tell of a full disk
        raise OSError(str(error)) from error


def _config(base: Path, head: Head) -> str:
    """Return the base's configuration, and the kind of head where it is not the official one."""
    text = base.read_text(encoding="utf-8")
    said = yaml.safe_load(text)
    if head.kind == "linear" and "head" not in said:
        return text
    said.pop("head", None)
    if head.kind == "mlp":
        said["head"] = {"kind": "mlp", "hidden": head.width}
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True)


def _copy_licences(base: Path, folder: Path) -> None:
    """Carry the base's licence on; that of the bundled model lies beside its folder."""
    from emotape.store.catalogue import BUNDLED_FOLDER

    places = [base, BUNDLED_FOLDER] if base.parent == BUNDLED_FOLDER else [base]
    for place in places:
        for pattern in _LICENCES:
            for file in place.glob(pattern):
                shutil.copyfile(file, folder / file.name)
