"""What the store of jobs takes and gives: frozen values, times in seconds since 1970."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from emotape import errors
from emotape.errors import EmotapeError, EngineFault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: Final[tuple[State, ...]] = ("queued", "running", "done", "failed", "cancelled")
FINAL: Final[frozenset[State]] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class StoreOptions:
    """How much is kept, and for how long.

    keep_seconds  a finished job is deleted this long after its end
    max_bytes     uploads and results together; the oldest finished jobs go first, then new ones are refused
    keep_uploads  leave the recordings of a finished job until the job itself is deleted
    attempts      how often a recording may be running while the process dies before it counts as the cause
    """

    keep_seconds: float = 72 * 3600.0
    max_bytes: int = 10 * 1024**3
    keep_uploads: bool = False
    attempts: int = 5


@dataclass(frozen=True)
class Upload:
    """A recording on its way in: the name that its sender gave it, and its bytes from the position on."""

    name: str
    content: BinaryIO


@dataclass(frozen=True)
class Submission:
    """What one caller asks for. `options` are plain values, which the store keeps and does not read.

    `key` is the caller's own name for the request: the same key with the same content is the same job.
    """

    caller: str
    options: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    callback: str | None = None


@dataclass(frozen=True)
class Job:
    """A job as its caller sees it; `counts` has the number of its files in every state."""

    id: str
    caller: str
    state: State
    options: Mapping[str, Any]
    counts: Mapping[State, int]
    bytes: int
    created: float
    started: float | None
    finished: float | None

    @property
    def files(self) -> int:
        """The number of recordings."""
        return sum(self.counts.values())

    @property
    def is_final(self) -> bool:
        """Whether nothing about it will change any more."""
        return self.state in FINAL


@dataclass(frozen=True)
class Claim:
    """A recording that one process has taken on: nobody else runs it until it is finished or released."""

    number: int
    attempt: int
    job: str
    caller: str
    place: int
    name: str
    bytes: int
    path: Path
    options: Mapping[str, Any]
    created: float


@dataclass(frozen=True)
class Outcome:
    """How a claimed recording ended: with an answer (bytes that the store keeps and does not read) or an error."""

    claim: Claim
    answer: bytes | None = None
    error: EmotapeError | None = None


@dataclass(frozen=True)
class FileResult:
    """One recording of a job, with its answer or its error once it is finished."""

    place: int
    name: str
    state: State
    finished: float | None
    answer: bytes | None
    error: EmotapeError | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; `number` grows, and is never given twice."""

    number: int
    kind: str
    facts: Mapping[str, Any]
    time: float


@dataclass(frozen=True)
class Callback:
    """A finished job that its caller's server has yet to be told of."""

    id: str
    url: str
    body: str
    attempts: int
    due: float


def error_as_text(error: EmotapeError) -> str:
    """Return an error as JSON: its kind, its code and its facts, from which its texts can be made in any language."""
    return json.dumps({"kind": type(error).__name__, "code": error.code, "facts": error.facts}, default=str)


def error_of_text(text: str) -> EmotapeError:
    """Return the error that `error_as_text` wrote."""
    found = json.loads(text)
    kind = getattr(errors, found["kind"], EngineFault)
    error: EmotapeError = kind(found["code"], **found["facts"])
    return error
