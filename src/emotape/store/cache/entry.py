"""Predictions as bytes and back, bit for bit, without pickle: a header in JSON, then the arrays as they are.

An entry that comes from outside this process is sealed: it names its key and carries a checksum, so that a value that
was damaged, cut, or put there by somebody else under this key is found out before it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.audio.quality import Quality
from emotape.engine.result import Prediction, Provenance, Segment
from emotape.model.labels import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SEAL: Final = b"emotape1"
_LENGTH: Final = struct.Struct("<Q")
_ARRAYS: Final = ("frames", "embedding")
_FIELDS: Final = sorted(field.name for field in fields(Prediction))
_HASH_BYTES: Final = hashlib.sha256().digest_size


class DamagedEntry(ValueError):
    """Bytes that are no entry of this version. Never leaves the cache: it counts as a miss."""


def pack(predictions: Sequence[Prediction]) -> bytes:
    """Return predictions as one entry."""
    header = json.dumps([_plain(prediction) for prediction in predictions]).encode()
    arrays = [array for prediction in predictions for array in _arrays(prediction)]
    return b"".join([_LENGTH.pack(len(header)), header, *(_raw(array) for array in arrays)])


def unpack(entry: bytes) -> tuple[Prediction, ...]:
    """Return the predictions of an entry; their arrays are the caller's own. Raises DamagedEntry."""
    try:
        (length,) = _LENGTH.unpack_from(entry)
        start = _LENGTH.size + length
        header = json.loads(entry[_LENGTH.size : start])
        rest = _Arrays(entry, start)
        predictions = tuple(_prediction(plain, rest) for plain in header)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, struct.error) as error:
        raise DamagedEntry(str(error)) from error
    if rest.left:
        raise DamagedEntry(f"{rest.left} bytes too many")
    return predictions


def entry_size(predictions: Sequence[Prediction]) -> int:
    """Return how many bytes the arrays of predictions take: about the size of their entry, without making it."""
    return sum(array.nbytes for prediction in predictions for array in _arrays(prediction))


def own_copy(prediction: Prediction) -> Prediction:
    """Return the prediction with arrays of its own, which its owner may change."""
    copies = {name: array.copy() for name in _ARRAYS if (array := getattr(prediction, name)) is not None}
    return replace(prediction, **copies)


def seal(key: str, entry: bytes) -> bytes:
    """Return an entry for a place that others write to, too. `key` is that of `cache_key`."""
    return b"".join([_SEAL, _mark(key, entry), entry])


def unseal(key: str, sealed: bytes) -> bytes | None:
    """Return the entry that was sealed for `key`, or None if these bytes are anything else."""
    entry = sealed[len(_SEAL) + _HASH_BYTES :]
    return entry if sealed == seal(key, entry) else None


def _mark(key: str, entry: bytes) -> bytes:
    """Return a checksum over key and entry: what was sealed for another key does not fit."""
    total = hashlib.sha256(key.encode())
    total.update(entry)
    return total.digest()


def _plain(prediction: Prediction) -> dict[str, Any]:
    plain = {name: getattr(prediction, name) for name in _FIELDS}
    return plain | {
        "scores": dict(prediction.scores),
        "labels": [asdict(label) for label in prediction.labels],
        "provenance": asdict(prediction.provenance),
        "segments": [{**asdict(segment), "scores": dict(segment.scores)} for segment in prediction.segments],
        "quality": None if prediction.quality is None else asdict(prediction.quality),
        "stages": dict(prediction.stages),
        **{name: _shape(getattr(prediction, name)) for name in _ARRAYS},
    }


def _prediction(plain: dict[str, Any], arrays: _Arrays) -> Prediction:
    if sorted(plain) != _FIELDS:
        raise DamagedEntry("made by a version with other fields")
    quality = plain["quality"]
    made = plain | {
        "labels": tuple(Label(**label) for label in plain["labels"]),
        "windows": tuple((start, stop) for start, stop in plain["windows"]),
        "provenance": Provenance(**plain["provenance"]),
        "segments": tuple(Segment(**segment) for segment in plain["segments"]),
        "quality": quality and Quality(**{**quality, "warnings": tuple(quality["warnings"])}),
        "warnings": tuple(plain["warnings"]),
        **{name: arrays.take(plain[name]) for name in _ARRAYS},
    }
    return Prediction(**made)


def _arrays(prediction: Prediction) -> list[NDArray[np.float32]]:
    return [array for name in _ARRAYS if (array := getattr(prediction, name)) is not None]


def _shape(array: NDArray[np.float32] | None) -> list[int] | None:
    return None if array is None else list(array.shape)


def _raw(array: NDArray[np.float32]) -> bytes:
    if array.dtype != np.float32:
        raise TypeError(f"predictions hold float32, not {array.dtype}")
    return array.astype("<f4", copy=False).tobytes()


class _Arrays:
    """Takes float32 arrays off the end of an entry, one after the other."""

    def __init__(self, entry: bytes, start: int) -> None:
        self._entry = entry
        self._next = start

    @property
    def left(self) -> int:
        return len(self._entry) - self._next

    def take(self, shape: Any) -> NDArray[np.float32] | None:
        """Return the next array of `shape`, what the header says of it; None for None."""
        if shape is None:
            return None
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise DamagedEntry("an array without a shape")
        count = math.prod(shape)
        if count * 4 > self.left:
            raise DamagedEntry("cut short")
        if count == 0:
            return np.zeros(shape, np.float32)
        values = np.frombuffer(self._entry, "<f4", count, self._next)
        self._next += values.nbytes
        return values.reshape(shape).astype(np.float32)  # a copy: the entry stays as it is
