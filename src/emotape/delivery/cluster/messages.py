"""What crosses from process to process: questions, decoded sound, and answers. Errors travel as values, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.errors import EmotapeError, unforeseen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emotape.audio.decode import ChannelMode, Source
    from emotape.engine.plan import Plan
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import Wanted
    from emotape.model.labels import Label
    from emotape.store.catalogue import ModelEntry


@dataclass(frozen=True, eq=False)
class Sound:
    """A decoded recording: float32 samples [n] of every channel at 16 kHz, and what its decoder has to say.

    `source` and `corrupt` are None and 0 for what was never a file.
    """

    channels: tuple[NDArray[np.float32], ...]
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    source: Source | None = None
    corrupt: int = 0


@dataclass(frozen=True, eq=False)
class Question:
    """One recording, and what is wanted of it within `seconds`. `content` is None where decoding brings it."""

    wanted: Wanted
    channels: ChannelMode
    seconds: float | None
    content: bytes | Sound | None


@dataclass(frozen=True)
class Load:
    """How an engine is doing: seconds of audio that wait for its devices, and how many may."""

    replica: str
    waiting: float
    bound: float | None


@dataclass(frozen=True, eq=False)
class Answers:
    """One answer for each question, in order: predictions of every channel, or the error."""

    given: tuple[tuple[Prediction, ...] | EmotapeError, ...]
    load: Load


@dataclass(frozen=True, eq=False)
class About:
    """What is known of a model that an engine has loaded."""

    model: ModelEntry
    digest: str
    dtype: str
    plan: Plan
    labels: tuple[Label, ...]


def as_value(error: Exception) -> EmotapeError:
    """Return an error of ours as it is, and any other as one of ours, without the frames that it came from."""
    if not isinstance(error, EmotapeError):
        return unforeseen(error.with_traceback(None))
    return error.with_traceback(None)
