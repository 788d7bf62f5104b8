"""The web application: the page in two languages, and what a supervisor asks."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from importlib import resources
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotape.delivery.page.answer import Recognizes
    from emotape.delivery.ui import PageOptions
    from emotape.wording import Language

LANGUAGE_COOKIE: Final = "emotape_language"
_YEAR: Final = 365 * 24 * 3600
_GRADIO_FOLDER: Final = "GRADIO_TEMP_DIR"  # the only way to tell it
_BACKLOG: Final = 128
_FAREWELL_SECONDS: Final = 5  # how long a stopping server waits for answers that are under way


def create_app(recognizer: Recognizes, options: PageOptions) -> FastAPI:
    """Return the application around a recognizer that is loaded and warm."""
    from emotape.delivery import ui

    app = FastAPI(title="emotape", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/livez", _alive, methods=["GET"])
    app.add_api_route("/readyz", _alive, methods=["GET"])
    app.add_api_route("/favicon.ico", _icon, methods=["GET"])
    app.add_api_route("/", _front_door, methods=["GET"])
    ui.mount(app, recognizer, options)
    return app


@contextmanager
def private_uploads() -> Iterator[str]:
    """Give the page's uploads and results a folder that only this user can read, and remove it afterwards.

    Must surround the first import of the page: Gradio reads the variable when it is imported.
    """
    before = os.environ.get(_GRADIO_FOLDER)
    with TemporaryDirectory(prefix="emotape-uploads-", ignore_cleanup_errors=True) as folder:
        os.environ[_GRADIO_FOLDER] = folder
        try:
            yield folder
        finally:
            os.environ.pop(_GRADIO_FOLDER)
            if before is not None:
                os.environ[_GRADIO_FOLDER] = before


def take_address(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet; two servers never share a port.

    Raises BadRequest ("serve_port_busy", "serve_address").
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BadRequest("serve_address", host=host, port=port, reason=error.strerror) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise BadRequest("serve_port_busy", host=host, port=port, other=_other(port)) from error
        raise BadRequest("serve_address", host=host, port=port, reason=error.strerror) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return what to open in a browser."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


def listen(app: FastAPI, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve until a signal; call `announce` once connections are accepted."""
    import uvicorn

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )
    Announcing(config).run(sockets=[listener])


def preferred_language(accepted: str) -> Language:
    """Return "zh" or "en", whichever Accept-Language ranks first; English where it names neither."""
    ranked = sorted(map(_rank, accepted.lower().split(",")), key=lambda pair: -pair[1])
    for tag, quality in ranked:
        if quality > 0 and tag in {"zh", "en"}:
            return "zh" if tag == "zh" else "en"
    return "en"


def _rank(entry: str) -> tuple[str, float]:
    """Return the primary tag and the quality of one entry, such as `zh-CN;q=0.9`."""
    tag, _, quality = entry.strip().partition(";q=")
    try:
        return tag.split("-")[0], float(quality or 1)
    except ValueError:
        return tag, 0.0


def _alive() -> Response:
    """Answer a supervisor. The server listens only once the model is warm, so that alive is also ready."""
    return JSONResponse({"status": "ok"})


def _icon() -> Response:
    icon = resources.files("emotape.delivery.page") / "icon.svg"
    return Response(icon.read_bytes(), media_type="image/svg+xml", headers={"cache-control": "max-age=86400"})


def _front_door(request: Request) -> Response:
    """Send a visitor to the page in the language chosen now, chosen before, or preferred by the browser."""
    chosen = request.query_params.get("language")
    wished = (chosen, request.cookies.get(LANGUAGE_COOKIE))
    language = next((wish for wish in wished if wish in {"zh", "en"}), None) or preferred_language(
        request.headers.get("accept-language", "")
    )
    response = RedirectResponse(f"{language}/", status_code=307, headers={"vary": "Accept-Language, Cookie"})
    if chosen == language:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR, samesite="lax", httponly=True)
    return response


def _other(port: int) -> int:
    """Return a port to suggest instead of a taken one."""
    return port + 1 if port < 65_535 else port - 1
