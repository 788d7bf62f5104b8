"""Recordings on their way in: as a form, as the body itself, or in JSON; never under a name of the caller's on disk.

What is larger than a megabyte waits in a temporary file without a name, which the system removes with its last handle,
however the process ends. What is smaller never touches the disk.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import io
import re
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from emotape.delivery.api.errors import bad_option
from emotape.errors import BadRequest, EngineFault, TooLong

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from starlette.datastructures import Headers
    from starlette.requests import Request

    from emotape.delivery.api.service import ApiOptions

FIELDS: Final = ("file", "files", "audio")
UNNAMED: Final = "recording"
MEMORY: Final = 1024**2  # bytes of a recording that are held in memory
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_COMMAS: Final = 300  # in the JSON of one recording: its name may be 255 of them
_COMMAS_OF_OPTIONS: Final = 3_000
_RAW: Final = re.compile(r"(audio|video)/.+|application/(octet-stream|ogg)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class Asked(BaseModel):
    """Options that a request may carry: in its query, as fields of its form, or as keys of its JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Literal["en", "zh"] | None = Field(
        default=None, description="Language of texts. Left out: what Accept-Language prefers, else English."
    )
    name: str | None = Field(
        default=None, max_length=255, description="Name of the recording, when it is the body itself."
    )


Options = TypeVar("Options", bound=Asked)


class JsonFile(BaseModel):
    """A recording in JSON."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default=UNNAMED, max_length=255, description="What the answer calls it.")
    base64: str = Field(description="The file's bytes in base64.", json_schema_extra={"format": "byte"})


class JsonFiles(BaseModel):
    """The recordings of a JSON body, beside its options."""

    files: list[JsonFile] = Field(default_factory=list)


@dataclass(frozen=True)
class Upload:
    """A recording that came in; `file` is at its start, and is closed when the request is over."""

    name: str
    file: BinaryIO


@dataclass(frozen=True)
class Received:
    """What a body brought: recordings in order, options by name; `bare` when the recording was the body itself."""

    uploads: tuple[Upload, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    bare: bool = False


@asynccontextmanager
async def received(request: Request, options: ApiOptions, json_model: type[JsonFiles]) -> AsyncIterator[Received]:
    """Take in a request's body; its recordings are gone afterwards.

    Raises BadRequest ("bad_media_type", "malformed_body", "file_expected", "bad_option", "url_not_fetched",
    "bad_base64"), TooLong ("body_too_large", "too_many_files") and EngineFault ("upload_disk_full").
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().casefold()
    if kind == "multipart/form-data":
        with _told_of_full_disk():
            async with _form(request, options) as brought:
                yield brought
    elif kind == "application/json":
        yield await _json(request, options, json_model)
    elif _RAW.fullmatch(kind):
        with _told_of_full_disk():
            async with _bare(request) as brought:
                yield brought
    else:
        known = "multipart/form-data, application/json, application/octet-stream, audio/*"
        raise BadRequest("bad_media_type", type=kind or "?", known=known)


@contextmanager
def _told_of_full_disk() -> Iterator[None]:
    """Raise EngineFault ("upload_disk_full") where a temporary file finds no room, be it when it is closed."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise EngineFault("upload_disk_full", folder=gettempdir()) from error


def joined(query: Options, fields: dict[str, Any]) -> Options:
    """Return the options of the query with those of the body, which count first. Raises BadRequest."""
    given = query.model_dump(exclude_unset=True) | {name: value for name, value in fields.items() if value != ""}
    try:
        return type(query).model_validate(given)
    except ValidationError as error:
        raise bad_option(error.errors()[0]) from error


def harmless(name: str | None) -> str:
    """Return the last part of a file's name without control characters; it is shown, never opened."""
    last = re.split(r"[/\\]", name or "")[-1]
    return _CONTROL.sub("", last)[:255].strip() or UNNAMED


class _WholeForm(MultiPartParser):
    """Starlette's parser, which would take a form that breaks off for a shorter one, and leave its last file open."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes], *, max_files: int, max_fields: int) -> None:
        super().__init__(headers, self._to_its_end(stream), max_files=max_files, max_fields=max_fields)
        self._ended = False

    def on_end(self) -> None:
        """Note that the form came to its end."""
        self._ended = True

    async def _to_its_end(self, stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for block in stream:
            yield block
        if not self._ended:
            raise MultiPartException("the form breaks off")


@asynccontextmanager
async def _form(request: Request, options: ApiOptions) -> AsyncIterator[Received]:
    try:
        async with aclosing(request.stream()) as stream:
            form = await _WholeForm(request.headers, stream, max_files=options.files + 1, max_fields=100).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise TooLong("too_many_files", limit=options.files) from error
        raise BadRequest("malformed_body", reason=error.message.rstrip(".")) from error
    try:
        uploads, fields = [], {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                uploads.append(Upload(harmless(value.filename), _at_hand(value.file, value.size)))
            elif name in FIELDS:
                raise BadRequest("file_expected", field=name)
            else:
                fields[name] = value
        _check_count(uploads, options)
        yield Received(tuple(uploads), fields)
    finally:
        await form.close()


@asynccontextmanager
async def _bare(request: Request) -> AsyncIterator[Received]:
    with SpooledTemporaryFile(max_size=MEMORY) as file:
        size = 0
        async for block in request.stream():
            size += len(block)
            if size > MEMORY:
                await asyncio.to_thread(file.write, block)
            else:
                file.write(block)
        file.seek(0)
        recording = _at_hand(cast("BinaryIO", file), size)
        _, named = parse_options_header(request.headers.get("content-disposition", ""))
        name = named.get(b"filename", b"").decode("utf-8", "replace")
        upload = Upload(harmless(request.query_params.get("name") or name), recording)
        yield Received((upload,) if size else (), bare=True)


def _at_hand(spooled: BinaryIO, size: int | None) -> BinaryIO:
    """Return a small recording without its spool, which would go to the disk as soon as somebody asks what it is."""
    return io.BytesIO(spooled.read()) if size is not None and size <= MEMORY else spooled


async def _json(request: Request, options: ApiOptions, json_model: type[JsonFiles]) -> Received:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > options.json_bytes:
            raise TooLong("body_too_large", limit=options.json_bytes)
    return await asyncio.to_thread(_from_json, bytes(body), options, json_model)


def _from_json(body: bytes, options: ApiOptions, json_model: type[JsonFiles]) -> Received:
    # Nothing else runs while pydantic lists what is wrong with millions of values; between any two is a comma.
    if body.count(b",") > _COMMAS * options.files + _COMMAS_OF_OPTIONS:
        raise BadRequest("malformed_body", reason="too many values")
    try:
        asked = json_model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise bad_option(error.errors()[0]) from error
    _check_count(asked.files, options)
    uploads = tuple(Upload(harmless(file.name), io.BytesIO(_decoded(file))) for file in asked.files)
    return Received(uploads, asked.model_dump(exclude={"files"}, exclude_unset=True))


def _decoded(file: JsonFile) -> bytes:
    try:
        return base64.b64decode(file.base64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("bad_base64", name=harmless(file.name)) from error


def _check_count(files: list[Any], options: ApiOptions) -> None:
    if len(files) > options.files:
        raise TooLong("too_many_files", limit=options.files)


def body_schema(asked: type[Asked], json_model: type[JsonFiles]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that `received` takes."""
    binary = {"type": "string", "format": "binary"}
    properties = {name: _in_form(part) for name, part in _whole(asked.model_json_schema())["properties"].items()}
    form = {"type": "object", "additionalProperties": False, "required": ["file"]}
    files = {"type": "array", "items": binary, "minItems": 1, "description": "One or many recordings."}
    content = {
        "multipart/form-data": {"schema": form | {"properties": {"file": files, **properties}}},
        "application/json": {"schema": _whole(json_model.model_json_schema())},
        "application/octet-stream": {"schema": binary},
        "audio/*": {"schema": binary},
    }
    return {"requestBody": {"required": True, "content": content}}


def _in_form(part: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an option that a form carries: it may be left out, but there is no null."""
    kinds = [kind for kind in part.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return part
    plain: dict[str, Any] = {key: value for key, value in part.items() if key not in ("anyOf", "default")}
    return plain | dict(kinds[0])


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema with its definitions written where they are referred to."""
    definitions = schema.pop("$defs", {})

    def filled(part: Any) -> Any:
        if isinstance(part, list):
            return [filled(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return filled(definitions[part["$ref"].rpartition("/")[2]])
        return {key: filled(value) for key, value in part.items()}

    whole: dict[str, Any] = filled(schema)
    return whole
