"""The shapes of an answer: ours, the one of FunASR's `generate`, and the one of Hugging Face's audio classification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel

from emotape.delivery.export.document import document, failure
from emotape.delivery.export.pieces import Numbers, as_it_is
from emotape.errors import TooLong

if TYPE_CHECKING:
    from datetime import datetime

    from emotape.engine.result import Prediction
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label
    from emotape.wording import Language

Format = Literal["emotape", "funasr", "hf"]
MOST_VALUES: Final = 20_000_000
"""Numbers in one answer: about 200 MB of JSON."""


class FailureText(BaseModel):
    """Why a recording was not answered."""

    code: str
    message: str
    cause: str
    cure: str


class Failure(BaseModel):
    """A recording that was not answered, among others that were."""

    file: str
    error: FailureText


class Recognition(BaseModel):
    """A recording's emotion.

    `details` holds warnings, provenance and stages; `uncertain` and `uncertain_below` where the model has a threshold;
    frames, segments, embedding and quality if asked for.
    """

    file: str
    emotion: str | None
    confidence: float
    scores: dict[str, float]
    granularity: Literal["utterance", "frame", "segment"]
    timestamp: str
    details: dict[str, Any]


class FunasrResult(BaseModel):
    """What FunASR's `generate` returns of a recording; `feats` if the embedding was asked for."""

    key: str
    labels: list[str]
    scores: list[float]
    feats: list[Any] | None = None


class HfScore(BaseModel):
    """One line of what Hugging Face's audio-classification pipeline returns, the best first."""

    label: str
    score: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one recording: a prediction for each channel (one if they were mixed), or an error."""

    name: str
    finished: datetime
    predictions: tuple[Prediction, ...] = ()
    error: EmotapeError | None = None
    split: bool = False


def shaped(outcome: Outcome, form: Format, language: Language) -> list[Any]:
    """Return the values of one recording for `emotape.delivery.export.pieces`: one, or one for each channel."""
    if outcome.error is not None:
        return [failure(outcome.name, outcome.error, language)]
    return [
        _SHAPES[form](outcome, prediction, channel, language) for channel, prediction in enumerate(outcome.predictions)
    ]


def numbers_of(prediction: Prediction) -> int:
    """Return how many numbers of a prediction's arrays are told."""
    embedding, frames = prediction.embedding, prediction.frames
    values = 0 if embedding is None else embedding.size
    return values + (frames.size if frames is not None and prediction.granularity == "frame" else 0)


def check_size(prediction: Prediction) -> None:
    """Raise TooLong ("answer_too_large") when a prediction has more numbers than an answer should."""
    embedding, values = prediction.embedding, numbers_of(prediction)
    if values > MOST_VALUES:
        dimensions = 0 if embedding is None else embedding.shape[-1]
        raise TooLong("answer_too_large", values=values, limit=MOST_VALUES, dimensions=dimensions)


def reference_name(label: Label) -> str:
    """Return a label as the official `tokens.txt` has it: `生气/angry`, `<unk>`."""
    official = label.zh_reference
    return official if official.startswith("<") or official == label.key else f"{official}/{label.key}"


def _ours(outcome: Outcome, prediction: Prediction, channel: int, language: Language) -> dict[str, Any]:
    more = {"channel": channel} if outcome.split else {}
    return document(outcome.name, prediction, outcome.finished, more, language, array=as_it_is)


def _funasr(outcome: Outcome, prediction: Prediction, channel: int, _: Language) -> dict[str, Any]:
    key = PurePath(outcome.name).stem
    shown = {
        "key": f"{key}_{channel}" if outcome.split else key,
        "labels": [reference_name(label) for label in prediction.labels],
        "scores": list(prediction.scores.values()),
    }
    return shown if prediction.embedding is None else shown | {"feats": Numbers(prediction.embedding, digits=None)}


def _hf(_: Outcome, prediction: Prediction, __: int, ___: Language) -> list[dict[str, Any]]:
    ranked = sorted(prediction.scores.items(), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in ranked]


_SHAPES: Final = {"emotape": _ours, "funasr": _funasr, "hf": _hf}
