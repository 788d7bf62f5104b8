"""What a supervisor asks: is the process alive, and does it take work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations when it runs

from emotape.delivery.api.errors import error_document
from emotape.delivery.api.guard import request_id
from emotape.delivery.api.language import language_of
from emotape.delivery.api.readiness import RETRY_SECONDS, Phase

if TYPE_CHECKING:
    from emotape.delivery.api.readiness import Readiness


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class State(BaseModel):
    """Whether work is taken: loading, ready, failed or draining. `error` says why loading failed."""

    status: Phase
    error: dict[str, str] | None = None


def router(readiness: Readiness) -> APIRouter:
    """Return the routes /livez and /readyz; both answer without a key."""
    routes = APIRouter(tags=["health"])

    @routes.get("/livez", response_model=Alive, summary="Is the process alive?")
    async def livez() -> Alive:
        return Alive(status="ok")

    @routes.get(
        "/readyz",
        response_model=State,
        response_model_exclude_none=True,
        responses={503: {"model": State, "description": "Loading, failed or draining."}},
        summary="Is the model warm, and is work taken?",
    )
    async def readyz(request: Request) -> JSONResponse:
        if readiness.phase == "ready":
            return JSONResponse({"status": "ready"})
        state = {"status": readiness.phase}
        if readiness.error is not None:
            state |= error_document(readiness.error, language_of(request), request_id(request))
        return JSONResponse(state, 503, {"retry-after": str(int(RETRY_SECONDS))})

    return routes
