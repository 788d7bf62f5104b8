"""What a client asks and how it reads the answer; neither sends anything."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, TypeVar

import numpy as np

from emotape.client.answers import label_of, prediction_of
from emotape.client.errors import RemoteError, told
from emotape.client.jobs import Job, JobResult
from emotape.client.retry import AGAIN, advised_wait
from emotape.errors import BadAudio, Expired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx
    from numpy.typing import NDArray

    from emotape.client.retry import Retry
    from emotape.client.upload import Source, Upload
    from emotape.engine.result import Granularity, Prediction
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label

Answer = TypeVar("Answer")
_OK: Final = 300


class RequestOptions(TypedDict, total=False):
    """What may be asked for beside a recording: as of a Recognizer, and `labels` to score alone (none: all)."""

    granularity: Granularity
    embedding: bool
    quality: bool
    deadline: float | None
    labels: Sequence[str]


@dataclass(frozen=True, eq=False)
class Comparison:
    """`similarities[i, j]` is the cosine between the embeddings of recordings i and j, -1 to 1."""

    names: tuple[str, ...]
    similarities: NDArray[np.float64]


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request: asked again, it does the same. `bare`: the one recording is the body itself, else a form."""

    method: str
    path: str
    read: Callable[[Any], Answer]
    query: dict[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    bare: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def sent(self, uploads: Sequence[Upload]) -> dict[str, Any]:
        """Return the arguments of an httpx request, but for a bare body. Raises BadAudio ("empty_file")."""
        asked: dict[str, Any] = {"method": self.method, "url": self.path, "params": self.query, "headers": self.headers}
        if self.bare:
            (upload,) = uploads
            if not upload.size:
                raise BadAudio("empty_file")
            described = {"content-length": str(upload.size), "content-type": "application/octet-stream"}
            return asked | {"headers": self.headers | described, "params": {"name": upload.name, **self.query}}
        if uploads:
            kind = "application/octet-stream"
            return asked | {"files": [("file", (upload.name, upload.reader, kind)) for upload in uploads]}
        return asked


def recognize(source: Source, wanted: RequestOptions) -> Call[Prediction]:
    """Ask for the emotion of a recording, its channels mixed down."""
    return Call("POST", "v1/recognize", prediction_of, _query(wanted), (source,), bare=True)


def recognize_channels(source: Source, wanted: RequestOptions) -> Call[tuple[Prediction, ...]]:
    """Ask for the emotion of each channel."""
    query = _query(wanted) | {"channels": "split"}
    return Call("POST", "v1/recognize", _predictions, query, (source,), bare=True)


def labels() -> Call[tuple[Label, ...]]:
    """Ask for the emotions that the model knows."""
    return Call("GET", "v1/labels", lambda found: tuple(label_of(facts) for facts in found["labels"]))


def digest() -> Call[str]:
    """Ask for the digest of the weights."""
    return Call("GET", "v1/models", lambda found: str(found["current"]["digest"]))


def compare(sources: Sequence[Source]) -> Call[Comparison]:
    """Ask how alike recordings are."""
    return Call("POST", "v1/compare", _comparison, sources=tuple(sources))


def submit_job(sources: Sequence[Source], wanted: RequestOptions, more: dict[str, Any]) -> Call[Job]:
    """Submit recordings; sent twice, they become one job."""
    key = {"idempotency-key": uuid.uuid4().hex}
    query = _query(wanted) | {name: value for name, value in more.items() if value is not None}
    return Call("POST", "v1/jobs", Job.of, query, tuple(sources), headers=key)


def job(name: str) -> Call[Job]:
    """Ask how far a job is."""
    return Call("GET", f"v1/jobs/{name}", Job.of)


def cancel_job(name: str, seen: Job) -> Call[Job]:
    """Cancel a job, or delete one that has ended: then nothing comes back, and it is as it was seen."""
    return Call("DELETE", f"v1/jobs/{name}", lambda found: seen if found is None else Job.of(found))


def job_results(name: str) -> Call[tuple[JobResult, ...]]:
    """Ask for the answers that a job has so far."""
    query = {"format": "emotape"}
    return Call("GET", f"v1/jobs/{name}/results", lambda found: tuple(map(JobResult.of, found["results"])), query)


def wait_before_another(retry: Retry, failures: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
    """Return the seconds after which the same request may do better, or None where its outcome stands."""
    import httpx

    if isinstance(outcome, httpx.Response):
        return retry.wait(failures, advised(outcome)) if _may_pass(outcome) else None
    # An answer that takes too long would only take longer; the others are faults of the request itself.
    hopeless = isinstance(outcome, httpx.ReadTimeout | httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    return None if hopeless else retry.wait(failures)


def _may_pass(response: httpx.Response) -> bool:
    """Return whether the same request may do better: of an error of ours, its status says so.

    An error of the server that is no document of ours is a proxy's, which lost what it had passed the request on to.
    """
    ours = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code in AGAIN or (response.status_code == 500 and not ours)


def advised(response: httpx.Response) -> float | None:
    """Return the seconds after which a server wants to be asked again, if it says so."""
    return advised_wait(response.headers.get("retry-after"))


def finished(call: Call[Answer], response: httpx.Response) -> Answer:
    """Return what a response says. Raises the server's error, or RemoteError ("server_answer")."""
    try:
        found: Any = None if response.status_code == 204 else response.json()
        if response.status_code < _OK:
            return call.read(found)
        error = told(found["error"], response.status_code, advised(response))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        reason = response.reason_phrase or type(fault).__name__
        raise RemoteError("server_answer", url=_base(response), status=response.status_code, reason=reason) from fault
    raise error


def lost(error: httpx.TransportError, url: str, attempts: int, timeout: float) -> EmotapeError:
    """Return the error of a server that did not answer."""
    import httpx

    if isinstance(error, httpx.ReadTimeout):
        return Expired("no_answer", url=url, seconds=timeout)
    return RemoteError("server_unreachable", url=url, attempts=attempts, reason=str(error) or type(error).__name__)


def _query(wanted: RequestOptions) -> dict[str, Any]:
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if "labels" in given:
        given["labels"] = ",".join(given["labels"])
    return given


def _predictions(found: Any) -> tuple[Prediction, ...]:
    return tuple(prediction_of(document) for document in (found if isinstance(found, list) else [found]))


def _comparison(found: Any) -> Comparison:
    return Comparison(tuple(found["names"]), np.asarray(found["similarities"], np.float64))


def _base(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
