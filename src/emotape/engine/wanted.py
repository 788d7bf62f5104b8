"""What a caller wants to know of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from emotape.engine.result import GRANULARITIES, Granularity
from emotape.errors import BadRequest


class RequestOptions(TypedDict, total=False):
    """What a caller may ask for, beside the recording.

    granularity  "utterance" (default), "frame" (a row of scores for every 20 ms) or "segment" (who felt what when)
    embedding    also give the embedding: [D], or [T, D] for frames
    quality      also report how usable the sound is
    deadline     seconds from now after which the answer is of no use
    """

    granularity: Granularity
    embedding: bool
    quality: bool
    deadline: float | None


@dataclass(frozen=True)
class Wanted:
    """What a caller asked for."""

    granularity: Granularity
    embedding: bool
    quality: bool

    @property
    def frame_embeddings(self) -> bool:
        """Whether the embedding of every frame is part of the answer."""
        return self.embedding and self.granularity == "frame"


def wanted_of(options: RequestOptions) -> Wanted:
    """Return what a caller asks for, checked; the deadline is no part of it. Raises BadRequest."""
    granularity = options.get("granularity", "utterance")
    if granularity not in GRANULARITIES:
        raise BadRequest("granularity_unknown", granularity=granularity)
    return Wanted(granularity, options.get("embedding", False), options.get("quality", False))
