"""The model that a benchmark runs: one of this machine's, or one of official size with random weights."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emotape.delivery.bench.random_model import SIZES, TOKENIZER, write_parts, write_random_model
from emotape.errors import BadRequest
from emotape.store.catalogue import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Choice:
    """Which model: a name or folder (None: the best on this machine), or the size of a random one."""

    model: str | Path | None = None
    models_folder: Path | None = None
    random: str | None = None


@dataclass(frozen=True)
class Subject:
    """A model in two layouts.

    directory  as emotape keeps it: safetensors
    official   as the hubs serve it, for the reference: model.pt in float32; None where nobody asked for it
    """

    name: str
    random: bool
    directory: Path
    official: Path | None

    def facts(self) -> dict[str, object]:
        """Return what a report says of it."""
        return {"model": self.name, "weights": "RANDOM" if self.random else "trained"}


@contextmanager
def subject(choice: Choice, *, official: bool) -> Iterator[Subject]:
    """Make what a benchmark needs in a temporary folder, and remove it afterwards.

    Raises BadRequest `bench_random_size` and ModelFault.
    """
    if choice.random is not None and choice.random not in SIZES:
        raise BadRequest("bench_random_size", size=choice.random, known=", ".join(SIZES))
    with TemporaryDirectory(prefix="emotape-bench-") as folder:
        if choice.random is None:
            yield _on_this_machine(choice, Path(folder), official=official)
        else:
            yield _of_random_weights(choice.random, Path(folder))


def _of_random_weights(size: str, folder: Path) -> Subject:
    from emotape.model.weights import convert

    write_random_model(folder / "official", SIZES[size])
    convert(folder / "official", folder / "emotape")
    return Subject(f"{size}, random weights", random=True, directory=folder / "emotape", official=folder / "official")


def _on_this_machine(choice: Choice, folder: Path, *, official: bool) -> Subject:
    entry = resolve(choice.model, choice.models_folder)
    made = folder / "official"
    if official:
        _write_official(entry.path, made, folder / "converted")
    return Subject(entry.name, random=False, directory=entry.path, official=made if official else None)


def _write_official(directory: Path, made: Path, converted: Path) -> None:
    """Give the reference the same weights in the layout that it reads."""
    import torch
    import yaml
    from safetensors.torch import load_file

    from emotape.model.weights import convert

    if not (directory / "model.safetensors").is_file():
        convert(directory, converted)
        directory = converted
    made.mkdir()
    state = {name: values.float() for name, values in load_file(directory / "model.safetensors").items()}
    torch.save({"model": state}, made / "model.pt")
    settings = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
    (made / "config.yaml").write_text(yaml.safe_dump(settings | TOKENIZER), encoding="utf-8")
    shutil.copyfile(directory / "tokens.txt", made / "tokens.txt")
    write_parts(made)
