"""A model directory becomes a checked network. Only local files; the network is never asked.

A model directory holds `config.yaml`, `tokens.txt` and the weights: `model.safetensors` (ours, memory-mapped), or an
official checkpoint such as `model.pt`. Both use the reference's state-dict names, so the reference can load ours too.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Final

import torch

from emotape.errors import ModelFault
from emotape.model.dims import LARGE, Dims, read_dims
from emotape.model.encoder import Encoder
from emotape.model.labels import Label, label_of_token, named
from emotape.model.mapped import HALVES, SAFETENSORS, halved, halves, read_mapped, same_in_halves, write_mapped
from emotape.model.names import as_reference, from_reference, reference_names
from emotape.model.note import LABEL_NAMES, NOTE, UNCERTAIN, label_names, note, read_note, uncertain_below

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

CONFIG: Final = "config.yaml"
TOKENS: Final = "tokens.txt"
PICKLES: Final = ("model.pt", "model.pth", "model.pt.best", "pytorch_model.bin", "checkpoint.pt")

_NESTS: Final = ("model", "state_dict", "model_state_dict")
_PREFIXES: Final = ("d2v_model.", "module.", "model.")
_DEEPEST_NEST: Final = 8  # a dict of a pickle may hold itself
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a terminal would obey it
_DTYPES: Final = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network in memory with what its scores mean.

    `labels` has one entry per class, None for an unused token; it is empty for an embedding-only model. `digest` is
    the SHA-256 of dims, labels, weights, and `uncertain_below`, the model's threshold of confidence, if it has one.
    """

    encoder: Encoder
    labels: tuple[Label | None, ...]
    digest: str
    uncertain_below: float | None = None

    @property
    def dims(self) -> Dims:
        """The network's numbers."""
        return self.encoder.dims


@dataclass(frozen=True)
class Calibration:
    """What makes a model's confidence mean something.

    Its logits are divided by `temperature`, in the head, so that every arithmetic and every export follows. `uncertain`
    is what the note holds of the threshold: `below`, and what it was chosen by.
    """

    temperature: float = 1.0
    uncertain: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Conversion:
    """What a conversion to safetensors made."""

    digest: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Verification:
    """Whether a model directory is whole: its digest now, the noted one (None: never noted), and what is wrong."""

    digest: str | None
    expected: str | None
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def load(
    directory: Path, dtype: torch.dtype | None = torch.float32, *, rounded: torch.dtype | None = None
) -> LoadedModel:
    """Load a model directory for inference, in `dtype` or (None) that of its weights, on the CPU.

    Safetensors are memory-mapped: in their own dtype nothing is copied. A caller who will round the weights to
    bfloat16 says so by `rounded`, and gets them from the smaller file where there is one. Raises ModelFault for a
    directory that is missing, truncated, mismatched or hostile.
    """
    labels = read_labels(directory)
    noted = _noted_digest(directory)
    smaller = halves(directory, noted) if noted and rounded is torch.bfloat16 else None
    state, dims = _checked_state(directory, labels, smaller)
    digest = noted or _digest(directory, dims, labels, state)
    with torch.device("meta"):
        encoder = Encoder(dims)
    names = reference_names(dims)
    ours = {name: from_reference(name, state[names[name]]) for name in encoder.state_dict()}
    if dtype is not None:
        ours = {name: values.to(dtype) for name, values in ours.items()}
    encoder.load_state_dict(ours, assign=True)
    network = encoder.eval().requires_grad_(requires_grad=False)
    return LoadedModel(network, labels if dims.classes else (), digest, uncertain_below(directory))


def convert(source: Path, destination: Path, calibration: Calibration | None = None) -> Conversion:
    """Write a model directory in `destination` with only what inference needs, as safetensors in its own dtype.

    A large network's weights are also written in halves, beside it. With a `calibration`, the copy has that instead of
    the source's own. Raises ModelFault as `load` does.
    """
    labels, noted = read_labels(source), read_note(source)
    made = calibration or Calibration(uncertain=noted.get(UNCERTAIN))
    state, dims = _checked_state(source, labels)
    state = _divided(state, made.temperature)
    destination.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, TOKENS, LABEL_NAMES):
        if (source / name).is_file() and source.resolve() != destination.resolve():
            (destination / name).write_bytes((source / name).read_bytes())
    temperature = _temperature(source, noted) * made.temperature
    told = {UNCERTAIN: made.uncertain, "temperature": None if temperature == 1.0 else temperature}
    note(destination, digest=None, bytes=None, **told)  # until the weights are there, nothing vouches for them
    digest, weights = _digest(destination, dims, labels, state), destination / SAFETENSORS
    write_mapped(weights, state, digest)
    if dims.parameters >= LARGE and any(values.dtype == torch.float32 for values in state.values()):
        write_mapped(destination / HALVES, halved(state), digest)
    note(destination, digest=digest, bytes=weights.stat().st_size)
    return Conversion(digest, sum(values.numel() for values in state.values()), weights.stat().st_size)


def verify(directory: Path) -> Verification:
    """Read the whole of a model directory and compare its digest with the noted one. Never raises ModelFault."""
    expected: str | None = None
    try:
        expected = read_note(directory).get("digest")
        labels = read_labels(directory)
        state, dims = _checked_state(directory, labels)
        digest = _digest(directory, dims, labels, state)
        smaller = halves(directory, digest)
        stray = smaller is not None and not same_in_halves(smaller, state)
    except ModelFault as fault:
        return Verification(None, expected, (str(fault),))
    if expected not in (None, digest) or stray:
        return Verification(digest, expected, (str(ModelFault("digest_mismatch", path=directory)),))
    return Verification(digest, expected, ())


def read_labels(directory: Path) -> tuple[Label | None, ...]:
    """Return the label of every class in `tokens.txt`; none at all when the file is absent (embedding-only)."""
    if not directory.is_dir():
        raise ModelFault("model_missing", path=directory)
    try:
        lines = (directory / TOKENS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFault("tokens_unreadable", path=directory / TOKENS) from error
    labels = tuple(label_of_token(line) for line in lines if line.strip())
    keys = [label.key for label in labels if label]
    if len(set(keys)) != len(keys):
        raise ModelFault("tokens_unreadable", path=directory / TOKENS)
    names = label_names(directory)
    labels = tuple(label and named(label, names) for label in labels)
    if any(_CONTROL.search(part) for label in labels if label for part in astuple(label)):
        raise ModelFault("tokens_unreadable", path=directory / TOKENS)
    return labels


def _noted_digest(directory: Path) -> str | None:
    """Return the noted digest if the weights still have the noted size; hashing gigabytes at each start is waste."""
    noted = read_note(directory)
    weights = directory / SAFETENSORS
    if weights.is_file() and noted.get("bytes") == weights.stat().st_size:
        digest = noted.get("digest")
        return digest if isinstance(digest, str) else None
    return None


def _temperature(directory: Path, noted: Mapping[str, object]) -> float:
    """Return by what a model's logits have been divided already."""
    temperature = noted.get("temperature", 1.0)
    if isinstance(temperature, int | float):
        return temperature
    raise ModelFault("card_unreadable", path=directory / NOTE)


def _checked_state(
    directory: Path, labels: tuple[Label | None, ...], file: Path | None = None
) -> tuple[dict[str, Tensor], Dims]:
    """Return what inference needs, as the reference names it, with the dims it was checked against.

    `file`: the safetensors to read instead of the directory's weights.
    """
    if not (directory / CONFIG).is_file():
        raise ModelFault("model_missing", path=directory)
    stored = read_mapped(file) if file else _read_weights(directory)
    dims = read_dims(directory / CONFIG, classes=len(labels) if "proj.weight" in stored else 0)
    if "proj.weight" in stored and not labels:
        raise ModelFault("tokens_unreadable", path=directory / TOKENS)
    return _selected(directory, stored, dims), dims


def _read_weights(directory: Path) -> dict[str, Tensor]:
    weights = directory / SAFETENSORS
    if weights.is_file():
        return _bare_names(read_mapped(weights))
    for name in PICKLES:
        if (directory / name).is_file():
            return _bare_names(_unnested(directory / name, _read_pickle(directory / name)))
    raise ModelFault("model_missing", path=directory)


def _read_pickle(path: Path) -> object:
    """Unpickle tensors and plain containers only: a pickle that would run code is refused before it does."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        code = "weights_hostile" if "weights_only" in str(error).lower() else "weights_unreadable"
        raise ModelFault(code, path=path, reason=str(error).splitlines()[0]) from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
    ) as error:
        raise ModelFault("weights_unreadable", path=path, reason=f"{type(error).__name__}: {error}") from error


def _is_zip(path: Path) -> bool:
    """Only the zip layout of torch (1.6 and later) can be memory-mapped."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _unnested(path: Path, loaded: object) -> dict[str, Tensor]:
    for _ in range(_DEEPEST_NEST):
        if not isinstance(loaded, dict):
            break
        if state := {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}:
            return state
        loaded = next((loaded[nest] for nest in _NESTS if isinstance(loaded.get(nest), dict)), None)
    raise ModelFault("weights_unreadable", path=path, reason="there is no state dict in it")


def _bare_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bare = {}
    for name, value in state.items():
        stripped = name
        while prefix := next((prefix for prefix in _PREFIXES if stripped.startswith(prefix)), None):
            stripped = stripped.removeprefix(prefix)
        bare[stripped] = value
    return bare


def _selected(directory: Path, stored: Mapping[str, Tensor], dims: Dims) -> dict[str, Tensor]:
    """Pick what inference needs, and check it; the rest (decoders, teachers) is left behind."""
    with torch.device("meta"):
        wanted = Encoder(dims).state_dict()
    names = reference_names(dims)
    missing = sorted(names[name] for name in wanted if names[name] not in stored)
    if missing:
        raise ModelFault("weights_incomplete", path=directory, count=len(missing), example=missing[0])
    for name, parameter in wanted.items():
        _check_shape(directory, names[name], stored[names[name]], as_reference(name, parameter, dims).shape)
    return {names[name]: stored[names[name]] for name in wanted}


def _divided(state: dict[str, Tensor], temperature: float) -> dict[str, Tensor]:
    """Return weights whose logits are divided by a temperature; the head keeps its dtype."""
    if temperature == 1.0:
        return state
    head = {name: state[name] for name in ("proj.weight", "proj.bias") if name in state}
    return state | {name: (values.double() / temperature).to(values.dtype) for name, values in head.items()}


def _check_shape(directory: Path, name: str, values: Tensor, wanted: torch.Size) -> None:
    if values.shape != wanted:
        raise ModelFault("weights_mismatched", path=directory, name=name, found=list(values.shape), wanted=list(wanted))
    if values.dtype not in _DTYPES or values.layout != torch.strided or values.is_meta:
        kind = f"{values.dtype}, {values.layout}, {values.device}"  # a pickle may hold any kind of tensor
        raise ModelFault("weights_mismatched", path=directory, name=name, found=kind, wanted=list(wanted))


def _digest(directory: Path, dims: Dims, labels: tuple[Label | None, ...], state: Mapping[str, Tensor]) -> str:
    """Hash what decides an answer, whatever the file format: dims, labels, threshold, and every tensor with its dtype.

    Whoever hashes reads every value anyway, so this is also where values that are no numbers are found.
    """
    numbers = {name: value for name, value in asdict(dims).items() if value or name != "head_hidden"}
    meaning: dict[str, object] = {"dims": numbers, "labels": [label.key if label else None for label in labels]}
    threshold = uncertain_below(directory)
    if threshold is not None:
        meaning["uncertain_below"] = threshold
    total = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
    for name, values in sorted(state.items()):
        if not bool(torch.isfinite(values).all()):
            raise ModelFault("weights_not_finite", path=directory, name=name)
        total.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        total.update(values.contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
