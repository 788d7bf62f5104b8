"""POST /v1/recognize: recordings in, emotions out, each recording answered for itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations when it runs

from emotape.delivery.api.errors import error_document, error_response, error_responses, status_of
from emotape.delivery.api.forms import Asked, JsonFile, JsonFiles, body_schema, joined, received
from emotape.delivery.api.guard import caller, caller_of, request_id
from emotape.delivery.api.language import language_of
from emotape.delivery.api.quota import Caller  # noqa: TC001 - FastAPI reads annotations when it runs
from emotape.delivery.api.shapes import (
    Failure,
    Format,
    FunasrResult,
    HfScore,
    Outcome,
    Recognition,
    check_size,
    numbers_of,
    shaped,
)
from emotape.delivery.api.subset import chosen, restricted
from emotape.delivery.api.waiting import while_connected
from emotape.delivery.clock import local_now
from emotape.delivery.export.pieces import pieces
from emotape.engine.result import Granularity  # noqa: TC001 - pydantic reads annotations when it runs
from emotape.errors import BadRequest, EmotapeError, Expired

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from emotape.delivery.api.forms import Upload
    from emotape.delivery.api.service import Service
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import RequestOptions
    from emotape.wording import Language

Element = Recognition | Failure | FunasrResult | list[HfScore]

_AT_ONCE: Final = 4_096  # numbers that are written at once, in some milliseconds


class RecognizeOptions(Asked):
    """What may be asked for beside the recordings."""

    granularity: Granularity = Field(
        default="utterance", description="One answer, a row every 20 ms, or stretches in time."
    )
    embedding: bool = Field(default=False, description="Also give the embedding.")
    quality: bool = Field(default=False, description="Also report how usable the sound is.")
    labels: str | None = Field(
        default=None,
        max_length=1000,
        description="Labels to score, separated by commas, in English or Chinese: their scores are divided by their sum"
        " (of a recording of one window, the softmax over them). Left out: all.",
    )
    channels: Literal["mix", "split"] = Field(default="mix", description="Mix the channels down, or answer each.")
    format: Format = Field(default="emotape", description="Shape of the answer.")
    deadline: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds from now after which answers are of no use.",
    )


class RecognizeJson(JsonFiles, RecognizeOptions):
    """The JSON body."""

    files: list[JsonFile] = Field(min_length=1)


_NOTHING_ASKED: Final = RecognizeOptions()


class _Direct(APIRoute):
    """Calls the endpoint at once where there is no query; FastAPI takes a fifth of HTTP's time to find that out."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        asked = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.scope["query_string"]:
                return await asked(request)
            answer: Response = await self.endpoint(request, _NOTHING_ASKED, caller_of(request))
            return answer

        return handle


def router(service: Service) -> APIRouter:
    """Return the route that recognizes."""
    routes = APIRouter(prefix="/v1", tags=["recognize"], route_class=_Direct)

    @routes.post(
        "/recognize",
        summary="Recognize the emotion of one or many recordings",
        response_model=Element | list[Element],
        responses=error_responses(408, 413, 415, 504),
        openapi_extra=body_schema(RecognizeOptions, RecognizeJson),
    )
    async def recognize(
        request: Request, query: Annotated[RecognizeOptions, Query()], who: Annotated[Caller, Depends(caller)]
    ) -> Response:
        """Send the recording itself as the body, or one or many in a form or in JSON.

        A form or JSON is answered with an array in the order of its recordings, each with its result or its error; a
        bare body with the object itself (an array if its channels are split). One recording that fails, or many that
        all do, are answered with the first error and its status; of many, each one's own is told under `files`.
        """
        async with received(request, service.options, RecognizeJson) as brought:
            options = joined(query, brought.fields)
            if not brought.uploads:
                raise BadRequest("no_files")
            desk = Desk(service, options, await _keys(service, options))
            outcomes = await while_connected(request, desk.answer_all(brought.uploads))
        _note(service, request_id(request), who, outcomes)
        language = options.language or language_of(request)
        if all(outcome.error is not None for outcome in outcomes):
            return _all_failed(request, outcomes, language)
        reply = Reply(options.format, language, brought.bare and options.channels == "mix")
        return reply.response(outcomes)

    return routes


@dataclass(frozen=True)
class Desk:
    """Where the recordings of one request are answered."""

    service: Service
    options: RecognizeOptions
    keys: tuple[str, ...]

    async def answer_all(self, uploads: Sequence[Upload]) -> list[Outcome]:
        """Answer every recording, a few at a time, so that one request does not fill the queue."""
        deadline = None if self.options.deadline is None else time.monotonic() + self.options.deadline

        if len(uploads) == 1:
            return [await self._answer(uploads[0], deadline)]
        places = asyncio.Semaphore(self.service.options.at_once)

        async def answered(upload: Upload) -> Outcome:
            async with places:
                return await self._answer(upload, deadline)

        return list(await asyncio.gather(*map(answered, uploads)))

    async def _answer(self, upload: Upload, deadline: float | None) -> Outcome:
        try:
            predictions = await self._predictions(upload, deadline)
        except EmotapeError as error:
            return Outcome(upload.name, local_now(), error=error)
        return Outcome(upload.name, local_now(), predictions, split=self.options.channels == "split")

    async def _predictions(self, upload: Upload, deadline: float | None) -> tuple[Prediction, ...]:
        wanted: RequestOptions = {
            "granularity": self.options.granularity,
            "embedding": self.options.embedding,
            "quality": self.options.quality,
        }
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Expired("expired")
            wanted["deadline"] = left
        recognizer = self.service.recognizer
        if self.options.channels == "split":
            found = await asyncio.wrap_future(recognizer.submit_channels(upload.file, **wanted))
        else:
            found = (await asyncio.wrap_future(recognizer.submit(upload.file, **wanted)),)
        for prediction in found:
            check_size(prediction)
        return tuple(restricted(prediction, self.keys) for prediction in found)


@dataclass(frozen=True)
class Reply:
    """How the outcomes are told. `alone`: the one recording's value itself instead of an array."""

    format: Format
    language: Language
    alone: bool

    def response(self, outcomes: Sequence[Outcome]) -> Response:
        """Return the answer; one with many numbers is written, by other threads, as it is sent."""
        values = [value for outcome in outcomes for value in shaped(outcome, self.format, self.language)]
        text = pieces(values[0] if self.alone else values, compact=True)
        if sum(numbers_of(prediction) for outcome in outcomes for prediction in outcome.predictions) > _AT_ONCE:
            return StreamingResponse(text, media_type="application/json")
        return Response("".join(text), media_type="application/json")


def _note(service: Service, request: str, who: Caller, outcomes: Sequence[Outcome]) -> None:
    """Count what was answered against the caller's limits, and keep a line about each answer."""
    answered = [(outcome.name, prediction) for outcome in outcomes for prediction in outcome.predictions]
    service.quotas.charge(who, sum(prediction.seconds for _, prediction in answered))
    if service.history is not None:
        for name, prediction in answered:
            service.history.record(request, who.id, name, prediction)


async def _keys(service: Service, options: RecognizeOptions) -> tuple[str, ...]:
    """Return the labels that are asked for; an embedding-only model has none to choose from."""
    if not options.labels:
        return ()
    return chosen(options.labels, await asyncio.to_thread(lambda: service.recognizer.labels))  # may wait for the model


def _all_failed(request: Request, outcomes: Sequence[Outcome], language: Language) -> JSONResponse:
    """Return the first error with its status; when there were several recordings, with each one's own beside it."""
    errors = [(outcome.name, outcome.error) for outcome in outcomes if outcome.error is not None]
    first = errors[0][1]
    response = error_response(request, first)
    body: dict[str, Any] = error_document(first, language, request_id(request))
    if len(errors) > 1:
        body["files"] = [value for outcome in outcomes for value in shaped(outcome, "emotape", language)]
    headers = {name: value for name, value in response.headers.items() if name == "retry-after"}
    return JSONResponse(body, status_of(first), headers)
