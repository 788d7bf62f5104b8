"""/v1/jobs: long or many recordings, accepted durably and answered in their own time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations when it runs

from emotape.delivery.api.errors import error_responses
from emotape.delivery.api.forms import JsonFiles, body_schema, joined, received
from emotape.delivery.api.guard import caller
from emotape.delivery.api.job_events import event_stream
from emotape.delivery.api.job_shapes import (
    JobDocument,
    JobList,
    JobResults,
    job_document,
    results_json,
    results_lines,
    results_ndjson,
)
from emotape.delivery.api.language import language_of
from emotape.delivery.api.quota import Caller
from emotape.delivery.api.recognize import RecognizeOptions
from emotape.delivery.api.shapes import Format  # noqa: TC001 - pydantic reads annotations when it runs
from emotape.delivery.api.subset import chosen
from emotape.delivery.api.webhook import check_callback
from emotape.store.jobs import Submission, Upload
from emotape.wording import Language  # noqa: TC001 - pydantic reads annotations when it runs

if TYPE_CHECKING:
    from emotape.delivery.api.durable import Jobs
    from emotape.delivery.api.service import Service

NDJSON = "application/x-ndjson"
Who = Annotated[Caller, Depends(caller)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        pattern="^[!-~]+$",
        description="The caller's own name for this request: sent again with the same content, it gives the same job.",
    ),
]
LastEvent = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern="^[0-9]{1,18}$", description="The id of the last event that was seen."),
]


class JobOptions(RecognizeOptions):
    """What may be asked for beside the recordings of a job."""

    callback_url: str | None = Field(
        default=None, max_length=2000, description="Address to call when the job ends; its host must be allowed here."
    )


class JobJson(JsonFiles, JobOptions):
    """The JSON body."""


class _Reading(BaseModel):
    """The options of a route that only tells something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language | None = Field(default=None, description="Language of texts.")


class JobPage(_Reading):
    """Which jobs to list."""

    limit: int = Field(default=20, ge=1, le=100, description="How many at most.")
    before: str | None = Field(default=None, max_length=64, description="The id of the last job already seen.")


class ResultOptions(_Reading):
    """How results are told."""

    format: Format | None = Field(default=None, description="Shape of the answers; left out: as the job was asked.")


def router(service: Service) -> APIRouter:
    """Return the routes of jobs; `service.jobs` must be there."""
    jobs: Jobs = service.jobs
    routes = APIRouter(prefix="/v1", tags=["jobs"])
    _add_submission(routes, service, jobs)
    _add_reading(routes, jobs)
    _add_following(routes, service, jobs)
    return routes


def _add_submission(routes: APIRouter, service: Service, jobs: Jobs) -> None:
    limits = replace(service.options, files=jobs.options.files)

    @routes.post(
        "/jobs",
        summary="Submit long or many recordings",
        status_code=202,
        response_model=JobDocument,
        responses={
            200: {"model": JobDocument, "description": "The job that was accepted with this key before."},
            **error_responses(408, 409, 413, 415),
        },
        openapi_extra=body_schema(JobOptions, JobJson),
    )
    async def submit(
        request: Request, query: Annotated[JobOptions, Query()], who: Who, key: Key = None
    ) -> JSONResponse:
        """Send recordings as for /v1/recognize. Once this is answered, every one of them will be, whatever happens.

        The answer's Location is the job; follow it with its `/events`, or give a `callback_url`.
        """
        async with received(request, limits, JobJson) as brought:
            options = joined(query, brought.fields)
            submission = await asyncio.to_thread(_submission, service, options, who, key)
            uploads = [Upload(upload.name, upload.file) for upload in brought.uploads]
            job, is_new = await asyncio.to_thread(jobs.store.accept, submission, uploads)
        document = job_document(job, jobs.progress(job.id))
        return JSONResponse(document, 202 if is_new else 200, {"location": f"/v1/jobs/{job.id}"})


def _add_reading(routes: APIRouter, jobs: Jobs) -> None:
    @routes.get("/jobs", summary="Your jobs, the newest first", responses=error_responses(404))
    def listed(query: Annotated[JobPage, Query()], who: Who) -> JobList:
        found = jobs.store.jobs(who.id, query.limit + 1, query.before)
        shown = found[: query.limit]
        documents = [JobDocument(**job_document(job, jobs.progress(job.id))) for job in shown]
        return JobList(jobs=documents, before=shown[-1].id if len(found) > len(shown) else None)

    @routes.get("/jobs/{job}", summary="A job's state and progress", responses=error_responses(404))
    def shown(job: str, query: Annotated[_Reading, Query()], who: Who) -> JobDocument:  # noqa: ARG001 - refuses others
        return JobDocument(**job_document(jobs.store.job(who.id, job), jobs.progress(job)))

    @routes.get(
        "/jobs/{job}/results",
        summary="The answers that there are so far",
        response_model=JobResults,
        responses={200: {"content": {NDJSON: {}}}, **error_responses(404)},
    )
    def results(request: Request, job: str, query: Annotated[ResultOptions, Query()], who: Who) -> StreamingResponse:
        """Give one object for each recording that has ended, in order; a line each for Accept: application/x-ndjson.

        `answers` has one value (one for each channel, if they were split), in the shape that /v1/recognize gives.
        """
        found = jobs.store.job(who.id, job)
        language = query.language or found.options.get("language") or language_of(request)
        lines = results_lines(found, jobs.store.results(who.id, job), query.format, language)
        if NDJSON in request.headers.get("accept", ""):
            return StreamingResponse(results_ndjson(lines), media_type=NDJSON)
        return StreamingResponse(results_json(found, lines), media_type="application/json")


def _add_following(routes: APIRouter, service: Service, jobs: Jobs) -> None:
    def is_leaving() -> bool:
        return jobs.is_leaving or service.readiness.phase == "draining"

    @routes.get(
        "/jobs/{job}/events",
        summary="Follow a job as it goes on",
        response_class=Response,
        responses={
            200: {"content": {"text/event-stream": {}}, "description": "Server-sent events, until the job has ended."},
            204: {"description": "The job has ended, and every event was seen."},
            **error_responses(404),
        },
    )
    async def events(job: str, query: Annotated[_Reading, Query()], who: Who, last: LastEvent = None) -> Response:  # noqa: ARG001
        """Send `job` and `file` events with ids, from the first or from Last-Event-ID on, and `progress` without."""
        return await event_stream(jobs, is_leaving, who.id, job, None if last is None else int(last))

    @routes.delete(
        "/jobs/{job}",
        summary="Cancel a job, or delete one that has ended",
        response_model=JobDocument,
        responses={204: {"description": "It had ended, and is deleted with its results."}, **error_responses(404)},
    )
    def delete(job: str, query: Annotated[_Reading, Query()], who: Who) -> Response:  # noqa: ARG001
        """Cancel what is not finished: what is finished of it stays. Once more, and the job is gone."""
        if jobs.store.job(who.id, job).is_final:
            jobs.store.delete(who.id, job)
            return Response(status_code=204)
        return JSONResponse(job_document(jobs.store.cancel(who.id, job), {}))


def _submission(service: Service, options: JobOptions, who: Caller, key: str | None) -> Submission:
    """Check what can be checked before anything is written. Raises BadRequest."""
    if options.labels:
        chosen(options.labels, service.recognizer.labels)
    if options.callback_url is not None:
        check_callback(options.callback_url, service.jobs.options.webhook)
    kept: dict[str, Any] = options.model_dump(exclude={"callback_url", "name"}, exclude_none=True)
    return Submission(who.id, kept, key, options.callback_url)
