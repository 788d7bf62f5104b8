"""The model that a request names in its header `serve_multiplexed_model_id`, by which Ray Serve also routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import HTTPConnection

from emotape.delivery.api.errors import error_response
from emotape.delivery.api.guard import name_request
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEADER: Final = "serve_multiplexed_model_id"
_SPELLINGS: Final = (HEADER, HEADER.replace("_", "-"))
_ANSWERED_AT_ONCE: Final = frozenset({"/v1/recognize", "/v1/compare", "/v1/stream"})


class ModelChoice:
    """ASGI middleware: refuses the header where no model could heed it, rather than answer with another model."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it with the error."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/") and scope["path"] not in _ANSWERED_AT_ONCE:
            connection = HTTPConnection(scope)
            if any(name in connection.headers for name in _SPELLINGS):
                name_request(connection)
                refusal = BadRequest("cluster_model_not_here", path=scope["path"], header=HEADER)
                await error_response(connection, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)
