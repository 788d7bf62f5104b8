"""Jobs of a server: recordings that it has accepted, and answers in its own time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from emotape.client.answers import prediction_of
from emotape.client.errors import told
from emotape.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emotape.engine.result import Prediction
    from emotape.errors import EmotapeError

State = Literal["queued", "running", "done", "failed", "cancelled"]
_FINAL: Final = frozenset({"done", "failed", "cancelled"})
LOOKS: Final = (0.2, 0.5, 1.0, 2.0)
"""Seconds between looks at a job; the last one again and again."""


@dataclass(frozen=True)
class Job:
    """A job when it was last looked at. `counts` says how many of its `files` are in which state."""

    id: str
    state: State
    files: int
    counts: Mapping[str, int]

    @staticmethod
    def of(document: Mapping[str, Any]) -> Job:
        """Return the job that a server describes."""
        return Job(document["id"], document["state"], document["files"], dict(document["counts"]))

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in _FINAL

    @property
    def finished(self) -> int:
        """How many of its recordings have ended, well or badly."""
        return sum(count for state, count in self.counts.items() if state in _FINAL)


@dataclass(frozen=True, eq=False)
class JobResult:
    """What became of one recording: a prediction (one for each channel, if they were split), or an error."""

    file: str
    predictions: tuple[Prediction, ...] = ()
    error: EmotapeError | None = None

    @staticmethod
    def of(document: Mapping[str, Any]) -> JobResult:
        """Return the result that a server describes."""
        name = document["file"]
        if document["state"] == "cancelled":
            return JobResult(name, error=Cancelled("file_cancelled", file=name))
        failed = [answer["error"] for answer in document["answers"] if "error" in answer]
        if failed:
            return JobResult(name, error=told(failed[0]))
        return JobResult(name, tuple(prediction_of(answer) for answer in document["answers"]))


def look_after(looks: int) -> float:
    """Return the seconds to wait before the next look at a job."""
    return LOOKS[min(looks, len(LOOKS) - 1)]
