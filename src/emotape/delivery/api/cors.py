"""Scripts of other sites' pages that are allowed to call the interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection

from emotape.delivery.api.errors import error_response
from emotape.delivery.api.guard import name_request
from emotape.errors import Denied

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.datastructures import Headers
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS: Final = ("GET", "POST", "DELETE")
_SENT: Final = ("authorization", "x-api-key", "x-request-id", "content-disposition", "idempotency-key")
_SHOWN: Final = ("x-request-id", "retry-after")


class Cors(CORSMiddleware):
    """Starlette's middleware, which refuses in our shape."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(app, origins, _METHODS, _SENT, expose_headers=_SHOWN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a browser's question beforehand, or add what lets a script read the answer."""
        try:
            await super().__call__(scope, receive, send)
        except Denied as error:
            connection = HTTPConnection(scope)
            name = name_request(connection)
            response = error_response(connection, error)
            response.headers["x-request-id"] = name
            await response(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser's question beforehand. Raises Denied ("origin_refused")."""
        response = super().preflight_response(request_headers)
        if response.status_code != 200:
            raise Denied("origin_refused", origin=request_headers["origin"])
        return response
