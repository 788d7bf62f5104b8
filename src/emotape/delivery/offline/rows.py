"""Answers as rows: which columns there are, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from emotape.model.labels import official_first

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.offline.item import Column, Item
    from emotape.engine.result import Granularity, Prediction
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label
    from emotape.wording import Language

Row = dict[str, Any]

QUALITY: Final = ("rms_dbfs", "peak_dbfs", "clipped_share", "silent_share", "speech_share")
PASSING: Final = frozenset({"no_such_file", "unreadable_file", "unreadable", "decoder_died", "batch_worker_died"})
"""Errors of a recording that another try may not meet; those of load, model and engine count among them, too."""


@dataclass(frozen=True)
class Asked:
    """What is asked of every recording, and what follows from it: the columns of the results.

    `scores` are the keys of the labels; `carried` the columns of the input.
    """

    granularity: Granularity = "utterance"
    embedding: bool = False
    quality: bool = False
    scores: tuple[str, ...] = ()
    carried: tuple[Column, ...] = ()

    def fields(self) -> dict[str, str]:
        """Return the kind of every column of the results but the carried ones, in order."""
        vector = "matrix" if self.granularity == "frame" else "vector"
        return {
            "key": "key",
            "path": "string",
            "id": "string",
            "emotion": "string",
            "confidence": "float",
            "uncertain": "bool",
            **{f"score_{key}": "float" for key in self.scores},
            "seconds": "double",
            "speech_seconds": "double",
            "warnings": "strings",
            **{f"quality_{name}": "float" for name in QUALITY if self.quality},
            **({"segments": "segments"} if self.granularity == "segment" else {}),
            **({"frames": "matrix"} if self.granularity == "frame" and self.scores else {}),
            **({"embedding": vector} if self.embedding else {}),
            **dict.fromkeys(("model", "model_digest", "dtype", "device", "version"), "string"),
            "error_code": "string",
            "error_message": "string",
            "error_passing": "bool",
        }

    def carried_as(self) -> dict[str, str]:
        """Return under which name each column of the input stands; `input_` goes before one that is taken."""
        taken = self.fields().keys()
        return {column.name: f"input_{column.name}" if column.name in taken else column.name for column in self.carried}


def score_keys(labels: Sequence[Label | None]) -> tuple[str, ...]:
    """Return the keys that a model's scores have; none for an embedding-only one."""
    return tuple(label.key for label in official_first(labels)) if any(labels) else ()


def answer_row(item: Item, prediction: Prediction, asked: Asked) -> Row:
    """Return the row of an answered recording. Arrays stay arrays."""
    provenance = prediction.provenance
    row: Row = {
        **_place(item, asked),
        "emotion": prediction.emotion,
        "confidence": prediction.confidence if prediction.emotion is not None else None,
        "uncertain": prediction.uncertain,
        **{f"score_{key}": score for key, score in prediction.scores.items()},
        "seconds": prediction.seconds,
        "speech_seconds": prediction.speech_seconds,
        "warnings": list(prediction.warnings),
        "model": provenance.model,
        "model_digest": provenance.model_digest,
        "dtype": provenance.dtype,
        "device": provenance.device,
        "version": provenance.version,
        "embedding": prediction.embedding,
        "frames": prediction.frames,
    }
    if prediction.quality is not None:
        row.update({f"quality_{name}": getattr(prediction.quality, name) for name in QUALITY})
    if asked.granularity == "segment":
        row["segments"] = [_segment(segment, asked) for segment in prediction.segments]
    return row


def failure_row(item: Item, error: EmotapeError, asked: Asked, language: Language) -> Row:
    """Return the row of a recording that could not be answered, with its error in words."""
    return {
        **_place(item, asked),
        "error_code": error.code,
        "error_message": error.text(language).message,
        "error_passing": is_passing(error),
    }


def is_passing(error: EmotapeError) -> bool:
    """Return whether another try may go better: the reason lies outside of the recording."""
    return error.code in PASSING or error.fault in ("load", "model", "engine", "hub")


def arithmetic(row: Row) -> Mapping[str, str] | None:
    """Return what calculated a row; None for an error's."""
    names = ("model", "model_digest", "dtype", "version")
    return {name: row[name] for name in names} if row.get("model_digest") else None


def _place(item: Item, asked: Asked) -> Row:
    names = asked.carried_as()
    return {
        "key": item.key(),
        "path": _text(item.name),
        "id": None if item.id is None else _text(item.id),
        **{names[name]: value for name, value in item.carried.items()},
    }


def _segment(segment: Any, asked: Asked) -> Row:
    return {
        "start": segment.start,
        "stop": segment.stop,
        "emotion": segment.emotion,
        "confidence": segment.confidence if segment.emotion is not None else None,
        "scores": [segment.scores[key] for key in asked.scores] if segment.scores else None,
    }


def _text(name: str) -> str:
    """Return a name as text; bytes of it that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
