"""Jobs and their results as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from emotape.delivery.api.shapes import Outcome, check_size, shaped
from emotape.delivery.api.subset import chosen, restricted
from emotape.delivery.export.pieces import pieces
from emotape.errors import EmotapeError, EngineFault
from emotape.store.cache.entry import DamagedEntry, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from emotape.delivery.api.shapes import Format
    from emotape.engine.progress import Progress
    from emotape.engine.result import Prediction
    from emotape.store.jobs import FileResult, Job
    from emotape.wording import Language

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class FileProgress(BaseModel):
    """A recording that is under way: its place in the job, and how far it is. `windows` is 0 before it is known."""

    index: int
    stage: str
    ahead_seconds: float
    windows: int
    windows_done: int


class JobDocument(BaseModel):
    """A job. It is done when any of its recordings was answered, failed when none was; times are UTC."""

    id: str
    state: JobState
    created: str
    started: str | None
    finished: str | None
    files: int
    counts: dict[JobState, int]
    bytes: int
    options: dict[str, Any]
    running: list[FileProgress]


class JobList(BaseModel):
    """Jobs, the newest first; `before` leads to the next page, null on the last one."""

    jobs: list[JobDocument]
    before: str | None


class FileAnswer(BaseModel):
    """What became of one recording: its answers (none if it was cancelled), or the error in their place."""

    index: int
    file: str
    state: Literal["done", "failed", "cancelled"]
    answers: list[Any]


class JobResults(BaseModel):
    """The recordings of a job that have ended."""

    id: str
    state: JobState
    results: list[FileAnswer]


def job_document(job: Job, running: Mapping[int, Progress]) -> dict[str, Any]:
    """Return a job as plain values."""
    return {
        "id": job.id,
        "state": job.state,
        "created": _moment(job.created),
        "started": _moment(job.started),
        "finished": _moment(job.finished),
        "files": job.files,
        "counts": dict(job.counts),
        "bytes": job.bytes,
        "options": dict(job.options),
        "running": progress_document(running),
    }


def progress_document(running: Mapping[int, Progress]) -> list[dict[str, Any]]:
    """Return how far recordings are, as plain values."""
    return [
        {
            "index": place,
            "stage": progress.stage,
            "ahead_seconds": round(progress.ahead_seconds, 3),
            "windows": progress.windows,
            "windows_done": progress.windows_done,
        }
        for place, progress in sorted(running.items())
    ]


def results_lines(
    job: Job, results: Iterable[FileResult], form: Format | None, language: Language
) -> Iterator[Iterator[str]]:
    """Yield one JSON object for each recording that has ended, in pieces."""
    wanted: Format = form or job.options.get("format", "emotape")
    for result in results:
        answer = {
            "index": result.place,
            "file": result.name,
            "state": result.state,
            "answers": [] if result.state == "cancelled" else shaped(_outcome(job, result), wanted, language),
        }
        yield pieces(answer)


def results_ndjson(lines: Iterable[Iterator[str]]) -> Iterator[str]:
    """Yield the parts of a text with all lines."""
    for line in lines:
        yield from line
        yield "\n"


def results_json(job: Job, lines: Iterable[Iterator[str]]) -> Iterator[str]:
    """Yield the parts of one JSON document with all lines, so that many never lie in memory at once."""
    head = "".join(pieces({"id": job.id, "state": job.state}))
    yield f'{head[:-1]}, "results": ['
    comma = ""
    for line in lines:
        yield comma
        yield from line
        comma = ", "
    yield "]}"


def _outcome(job: Job, result: FileResult) -> Outcome:
    finished = datetime.fromtimestamp(result.finished or job.created, UTC).astimezone()
    try:
        if result.error is not None:
            raise result.error
        predictions = tuple(_wanted(job, prediction) for prediction in unpack(result.answer or b""))
    except DamagedEntry:
        return Outcome(result.name, finished, error=EngineFault("job_result_unreadable"))
    except EmotapeError as error:
        return Outcome(result.name, finished, error=error)
    return Outcome(result.name, finished, predictions, split=job.options.get("channels") == "split")


def _wanted(job: Job, prediction: Prediction) -> Prediction:
    check_size(prediction)
    labels = job.options.get("labels")
    return restricted(prediction, chosen(labels, prediction.labels)) if labels and prediction.labels else prediction


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
