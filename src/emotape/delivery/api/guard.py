"""The door of the service: who asks, from where, how much, and how long it may take to say it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.websockets import WebSocket

from emotape.delivery.api.body import Body
from emotape.delivery.api.errors import error_response, status_of
from emotape.delivery.api.quota import LOCAL, Caller
from emotape.delivery.api.readiness import RETRY_SECONDS
from emotape.errors import Cancelled, Denied, EmotapeError, EngineFault, NotReady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from emotape.delivery.api.service import Service

log = logging.getLogger("emotape")

CALLER: Final = "emotape.caller"
REQUEST_ID: Final = "emotape.request_id"
PROTOCOL: Final = "emotape"
KEY_PROTOCOL: Final = "emotape.key."
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
OPEN: Final = frozenset({"/livez", "/readyz"})  # a supervisor has no key
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API_HEADERS: Final = (*_HEADERS, (b"cache-control", b"no-store"))


def caller_of(connection: HTTPConnection) -> Caller:
    """Return who asks, be it by a request or a WebSocket."""
    found: Caller = connection.scope.get(CALLER, LOCAL)
    return found


async def caller(connection: HTTPConnection) -> Caller:
    """Return who asks, as a dependency: `Annotated[Caller, Depends(caller)]`.

    Asynchronous, because FastAPI sends every other dependency to a thread and back.
    """
    return caller_of(connection)


def request_id(connection: HTTPConnection) -> str:
    """Return the id of a request, which its answer, its errors and the log carry."""
    found: str = connection.scope.get(REQUEST_ID, "")
    return found


def name_request(connection: HTTPConnection) -> str:
    """Give a request its id, the caller's own if it is a sane one, and return it."""
    given = connection.headers.get("x-request-id", "")
    name = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
    connection.scope[REQUEST_ID] = name
    return name


class Guard:
    """ASGI middleware in front of everything: the page, the interface and its WebSockets.

    It names the request, checks host, origin, key and quota, bounds the body of what goes to /v1, and turns whatever an
    application raises into an answer.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it with the error."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        name_request(connection)
        body = Body(scope, receive, self._service.options)
        answer = _Answer(scope, body, send)
        try:
            admission = self._admit(connection)
            if admission is not None:
                await admission
            bounded = scope["type"] == "http" and _is_api(connection)
            if bounded:
                body.check_declared()
            with self._counted(connection):
                await self._app(scope, body.receive if bounded else body.heard, answer.send)
        except EmotapeError as error:
            await answer.refuse(connection, error)
        except ClientDisconnect:  # half-way through its body, so there is nobody to answer, and nothing of ours failed
            if not answer.begun:  # as the page's framework does, which takes it for a failure of its own
                await answer.refuse(connection, Cancelled("cancelled"))
        except asyncio.CancelledError:
            if self._service.readiness.phase != "draining" or answer.begun:
                raise
            await answer.refuse(connection, NotReady("service_draining", retry_after=RETRY_SECONDS))
        except Exception as error:
            log.exception("request %s failed", scope[REQUEST_ID])
            await answer.refuse(connection, EngineFault("request_failed", kind=type(error).__name__))

    def _admit(self, connection: HTTPConnection) -> Awaitable[None] | None:
        """Raise Denied, NotReady or Overloaded unless the request may go on, or return what will; note who asks."""
        self._check_host(connection)
        self._check_origin(connection)
        if connection.scope["path"] in OPEN:
            return None
        found = LOCAL if self._service.keys is None else self._service.keys.caller(key_of(connection))
        connection.scope[CALLER] = found
        if _is_api(connection):
            if not (self._service.readiness.phase == "draining" and _reads(connection)):
                self._service.readiness.check()
            return self._service.quotas.admit(found)
        return None

    def _check_host(self, connection: HTTPConnection) -> None:
        """Refuse a page of another site whose name was made to point here (DNS rebinding)."""
        hosts = self._service.options.hosts
        host = _host_name(connection.headers.get("host", ""))
        if hosts and host not in hosts and not host.endswith(".localhost"):
            raise Denied("host_refused", host=host)

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Refuse what a script or a form of another site sends in this browser's name."""
        origin = connection.headers.get("origin")
        if origin is None or _reads(connection) or origin in self._service.options.origins:
            return
        if urlsplit(origin).netloc.casefold() != connection.headers.get("host", "").casefold():
            raise Denied("origin_refused", origin=origin)

    @contextmanager
    def _counted(self, connection: HTTPConnection) -> Iterator[None]:
        """Count work that is under way, so that a stopping service can wait for it."""
        work = int(_is_api(connection) and not _reads(connection))
        self._service.readiness.under_way += work
        try:
            yield
        finally:
            self._service.readiness.under_way -= work


class _Answer:
    """The way back: adds headers, and knows whether the answer has begun."""

    def __init__(self, scope: Scope, body: Body, send: Send) -> None:
        self._scope = scope
        self._body = body
        self._send = send
        self.begun = False

    async def send(self, message: Message) -> None:
        """Pass a message on; an answer that comes before the body has ended takes in some of the rest first.

        Otherwise the client, still sending, would find the connection broken and never see the answer.
        """
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
            self.begun = True
            if self._body.broken_off:
                message["status"] = status_of(Cancelled("cancelled"))
            self._add_headers(message)
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._body.ended:
            await self._send({**message, "more_body": True})
            await self._body.discard()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def refuse(self, connection: HTTPConnection, error: EmotapeError) -> None:
        """Answer with an error, unless an answer has begun: then it can only break off."""
        if self.begun:
            raise error
        response = error_response(connection, error)
        if self._scope["type"] == "http":
            await response(self._scope, self._body.receive, self.send)
        else:
            await WebSocket(self._scope, self._body.receive, self.send).send_denial_response(response)

    def _add_headers(self, message: Message) -> None:
        """Add what an answer lacks; where it has a header of its own, that one counts."""
        own = [(b"x-request-id", self._scope[REQUEST_ID].encode())]
        if not self._body.ended:
            own.append((b"connection", b"close"))
        given = [pair for pair in message.get("headers", ()) if pair[0].lower() not in dict(own)]
        message["headers"] = [*given, *own]
        if message["type"] != "websocket.accept":
            names = {name.lower() for name, _ in given}
            wanted = _API_HEADERS if self._scope["path"].startswith("/v1/") else _HEADERS
            message["headers"] += [pair for pair in wanted if pair[0] not in names]


def key_of(connection: HTTPConnection) -> str | None:
    """Return the key a caller shows: as a bearer token, in X-API-Key, or as the password that a browser asked for.

    A browser's script can set no headers of a WebSocket; it offers the subprotocols "emotape" and "emotape.key.KEY".
    """
    offered = (name for name in connection.scope.get("subprotocols", ()) if name.startswith(KEY_PROTOCOL))
    shown = connection.headers.get("x-api-key") or next(offered, "").removeprefix(KEY_PROTOCOL) or None
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        return value.strip()
    if scheme.casefold() == "basic":
        return _password(value) or shown
    return shown


def _password(credentials: str) -> str | None:
    try:
        return base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _is_api(connection: HTTPConnection) -> bool:
    path: str = connection.scope["path"]
    return path.startswith("/v1/")


def _reads(connection: HTTPConnection) -> bool:
    """Return whether a request only reads; a WebSocket never counts as that."""
    return connection.scope["type"] == "http" and connection.scope["method"] in _READING


def _host_name(host: str) -> str:
    """Return the name of a Host header, without its port."""
    name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
    return name.casefold()
