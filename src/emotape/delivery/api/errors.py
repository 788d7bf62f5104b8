"""Errors at the HTTP edge: one table from error to status, and one shape for every answer that is no success."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from emotape.delivery.api.language import language_of
from emotape.errors import (
    BadAudio,
    BadRequest,
    Cancelled,
    Conflict,
    Denied,
    EmotapeError,
    Expired,
    HubFault,
    NotFound,
    NotReady,
    Overloaded,
    TooLong,
)

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import HTTPConnection, Request

    from emotape.wording import Language

ERROR_CODE: Final = "emotape.error"
"""Where a request's scope keeps the code of the error that it was answered with, for metrics and logs."""
_BY_CODE: Final = {
    **dict.fromkeys(("key_missing", "key_wrong"), 401),
    **dict.fromkeys(
        ("not_audio", "text_not_audio", "archive_not_audio", "no_audio_track", "unsupported_codec", "bad_media_type"),
        415,
    ),
    "body_too_slow": 408,
    "method_not_allowed": 405,
    "closed": 503,
    "keys_file_unusable": 500,
}
_BY_KIND: Final[tuple[tuple[type[EmotapeError], int], ...]] = (
    (TooLong, 413),
    (BadAudio, 422),
    (BadRequest, 422),
    (Denied, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Overloaded, 429),
    (NotReady, 503),
    (Expired, 504),
    (Cancelled, 499),  # nobody is there to read it
    (HubFault, 502),
)


class ErrorBody(BaseModel):
    """What went wrong, why, and what mends it."""

    code: str
    message: str
    cause: str
    cure: str
    request_id: str


class ErrorDocument(BaseModel):
    """The one shape of every answer that is no success."""

    error: ErrorBody


def status_of(error: EmotapeError) -> int:
    """Return the HTTP status that an error is told with; 500 for faults that are not the caller's."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for kind, status in _BY_KIND if isinstance(error, kind)), 500)


def error_document(error: EmotapeError, language: Language, request_id: str) -> dict[str, Any]:
    """Return the body of an error's answer."""
    return {"error": {"code": error.code, **asdict(error.text(language)), "request_id": request_id}}


def error_response(connection: HTTPConnection, error: EmotapeError) -> JSONResponse:
    """Return the answer that tells a caller of an error, in the caller's language."""
    from emotape.delivery.api.guard import request_id

    connection.scope[ERROR_CODE] = error.code
    status = status_of(error)
    body = error_document(error, language_of(connection), request_id(connection))
    return JSONResponse(body, status, _headers(connection, error, status))


def install(app: FastAPI) -> None:
    """Give every error of an application the one shape, also those of the frameworks."""
    app.add_exception_handler(EmotapeError, _answer_ours)
    app.add_exception_handler(HTTPException, _answer_framework)
    app.add_exception_handler(RequestValidationError, _answer_validation)


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may answer with these statuses, beside those of the door."""
    at_the_door = (401, 403, 429, 503)
    return {
        status: {"model": ErrorDocument, "description": _DESCRIPTIONS[status]}
        for status in sorted({*statuses, *at_the_door, 422, 500})
    }


_DESCRIPTIONS: Final = {
    401: "No API key, or one that is not known.",
    403: "Not from this host or origin.",
    404: "There is nothing of that name.",
    408: "The body came too slowly.",
    409: "The request contradicts what is already there.",
    413: "Too many bytes, seconds or channels.",
    415: "Not audio that can be read.",
    422: "The request makes no sense, or the recording cannot be used.",
    429: "Too much at once; come again after Retry-After seconds.",
    500: "emotape or its model failed.",
    503: "Not ready: loading or stopping; come again after Retry-After seconds.",
    504: "The deadline passed.",
}


def as_ours(error: HTTPException, connection: HTTPConnection) -> EmotapeError:
    """Return a framework's HTTP error as an error of ours."""
    path = connection.url.path
    if error.status_code == 404:
        return NotFound("no_such_address", path=path)
    if error.status_code == 405:
        return BadRequest("method_not_allowed", method=connection.scope["method"], path=path)
    return BadRequest("malformed_body", reason=error.detail)


async def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EmotapeError)  # noqa: S101 - as registered
    return error_response(request, error)


async def _answer_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    response = error_response(request, as_ours(error, request))
    response.headers.update(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        response.headers["allow"] = ", ".join(methods)
    return response


def _methods(request: Request) -> list[str]:
    """Return every method that a documented address takes; Starlette names those of the first route alone."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    fitting = (methods for path, methods in paths.items() if compile_path(path)[0].match(request.url.path))
    return sorted({method.upper() for methods in fitting for method in methods})


async def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
    return error_response(request, bad_option(error.errors()[0]))


def bad_option(problem: Any) -> BadRequest:
    """Return the error of one finding of pydantic."""
    if problem["type"] == "json_invalid":
        return BadRequest("malformed_body", reason=problem["ctx"]["error"])
    if problem["type"] == "extra_forbidden" and problem["loc"][-1] == "url":
        return BadRequest("url_not_fetched")
    name = ".".join(str(part) for part in problem["loc"] if part not in ("query", "path", "body", "header"))
    return BadRequest("bad_option", name=name or "body", reason=problem["msg"])


def _headers(connection: HTTPConnection, error: EmotapeError, status: int) -> dict[str, str]:
    headers = {}
    if status in (429, 503):
        headers["retry-after"] = str(max(1, math.ceil(getattr(error, "retry_after", 1.0))))
    if status == 401:  # a browser asks its user for a key when it is the page that needs one
        api = connection.url.path.startswith("/v1")
        headers["www-authenticate"] = "Bearer" if api else 'Basic realm="emotape", charset="UTF-8"'
    return headers
