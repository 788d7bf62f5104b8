"""What the page fetches by itself: its scripts, results to hear and to download, the state of the machine."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response

from emotape.wording import Language  # noqa: TC001 - FastAPI reads annotations when it runs

if TYPE_CHECKING:
    from emotape.delivery.page.answer import Recognizes
    from emotape.delivery.page.monitor import Monitor
    from emotape.delivery.page.shelf import Shelf

_KINDS: Final = {".js": "text/javascript", ".css": "text/css"}
_TYPES: Final = {".json": "application/json", ".csv": "text/csv", ".wav": "audio/wav", ".zip": "application/zip"}
_SAFE: Final = {"x-content-type-options": "nosniff", "cache-control": "private, max-age=3600"}


def router(recognizer: Recognizes, shelf: Shelf, monitor: Monitor | None) -> APIRouter:
    """Return the routes below /page; they are the page's own and no part of the programming interface."""
    routes = APIRouter(prefix="/page", include_in_schema=False)
    current = assets_version()

    @routes.get("/assets/{version}/{name}")
    def asset(version: str, name: str) -> Response:
        file = next((file for file in _assets(*_KINDS) if file.name == name), None)
        if file is None:
            return _missing()
        lasting = "public, max-age=86400" if version == current else "no-store"
        return Response(file.read_bytes(), media_type=_KINDS[file.suffix], headers={**_SAFE, "cache-control": lasting})

    @routes.get("/results/{place}/{name}")
    def result(place: str, name: str) -> Response:
        found = shelf.find(place, name)
        if found is None:
            return _missing()
        kind = _TYPES.get(found.suffix, "application/octet-stream")
        return FileResponse(found, media_type=kind, filename=found.name, headers=_SAFE)

    @routes.get("/state")
    def state() -> dict[str, bool]:
        return {"ready": recognizer.is_ready}

    @routes.get("/monitor")
    def measured(language: Language = "en") -> JSONResponse:
        return JSONResponse(monitor.document(language) if monitor else None, headers={"cache-control": "no-store"})

    return routes


def styles() -> list[Path]:
    """Return the page's style sheets, which its framework takes in."""
    return _assets(".css")


def assets_version() -> str:
    """Return a name that changes whenever a script does, so that browsers may keep them."""
    scripts = b"".join(script.read_bytes() for script in _assets(".js"))
    return hashlib.sha256(scripts).hexdigest()[:12]


def _assets(*endings: str) -> list[Path]:
    folder = Path(str(resources.files("emotape.delivery.page"))) / "assets"
    return sorted(file for file in folder.iterdir() if file.suffix in endings)


def _missing() -> Response:
    return JSONResponse({"detail": "Not Found"}, status_code=404)
