"""The application, assembled: every area's router behind one guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi_offline import FastAPIOffline

from emotape.delivery.api import compare, errors, health, history, info, jobs, recognize, stream
from emotape.delivery.api.cors import Cors
from emotape.delivery.api.guard import OPEN, Guard
from emotape.version import __version__

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

    from emotape.delivery.api.service import Service


def create_app(service: Service) -> FastAPI:
    """Return the interface over a service: /v1, /livez, /readyz, /openapi.json and /docs."""
    app = FastAPIOffline(
        title="emotape",
        version=__version__,
        redoc_url=None,
    )
    errors.install(app)
    for routes in _routers(service):
        app.include_router(routes)
    if service.keys is not None:
        _describe_keys(app)
    app.add_middleware(Guard, service=service)
    if service.options.origins:
        app.add_middleware(Cors, service.options.origins)
    return app


def _describe_keys(app: FastAPI) -> None:
    """Let the OpenAPI document tell how a key is shown; the guard looks at it, before any route does."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        schemes = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document.setdefault("components", {})["securitySchemes"] = schemes
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in OPEN else [{name: []} for name in schemes]
        return document

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _routers(service: Service) -> list[APIRouter]:
    """Return every area's routes; those of jobs and history where the service has them."""
    routes = [recognize.router(service), stream.router(service), compare.router(service), info.router(service)]
    if service.jobs is not None:
        routes.append(jobs.router(service))
    if service.history is not None:
        routes.append(history.router(service.history))
    return [*routes, health.router(service.readiness)]
