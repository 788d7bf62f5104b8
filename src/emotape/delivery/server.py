"""The web application: the interface and the page in two languages, on one port."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import ExitStack, contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Final

from fastapi import Request  # noqa: TC002 - FastAPI reads annotations when it runs
from fastapi.responses import RedirectResponse, Response

from emotape.delivery.api.language import preferred_language
from emotape.delivery.private_folder import private_folder
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from emotape.delivery.api.service import Service
    from emotape.delivery.observation import Observation
    from emotape.delivery.ui import PageOptions

LANGUAGE_COOKIE: Final = "emotape_language"
_YEAR: Final = 365 * 24 * 3600
_GRADIO_FOLDER: Final = "GRADIO_TEMP_DIR"  # the only way to tell it
_BACKLOG: Final = 1024
_LARGEST_MESSAGE: Final = 2 * 1024**2  # bytes of a WebSocket message; a stream takes half of it
FAREWELL_SECONDS: Final = 5  # how long a stopping server waits for what is no work, such as the stream of a page


def create_app(service: Service, options: PageOptions, observation: Observation | None = None) -> FastAPI:
    """Return the interface with the page, observed if anybody does; the recognizer may still be loading its model."""
    from emotape.delivery import ui
    from emotape.delivery.api.app import create_app as create_interface

    app = create_interface(service)
    app.add_api_route("/favicon.ico", _icon, methods=["GET"], include_in_schema=False)
    app.add_api_route("/", _front_door, methods=["GET"], include_in_schema=False)
    ui.mount(app, service.recognizer, options, observation.monitor(service.recognizer) if observation else None)
    if observation is not None:
        observation.install(app, service)
    return app


@contextmanager
def private_uploads() -> Iterator[str]:
    """Give the page's uploads and results a folder that only this user can read, and remove it afterwards.

    What a server that was killed left goes, too. Must surround the first import of the page: Gradio reads the variable
    when it is imported. Raises BadRequest ("serve_no_temporary_folder").
    """
    before = os.environ.get(_GRADIO_FOLDER)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder("emotape-uploads-"))
        except OSError as error:
            raise BadRequest("serve_no_temporary_folder") from error
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


def listen(app: FastAPI, service: Service, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve until a signal; call `announce` once connections are accepted.

    After the signal no work is taken, and what was taken is answered, for as long as the options allow; meanwhile the
    jobs are put away.
    """
    import uvicorn

    from emotape.delivery.api.connection import IDLE_SECONDS, PromptProtocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.readiness.drain()
            for server in self.servers:
                server.close()
            patience = service.options.drain_seconds
            jobs = asyncio.gather(*([asyncio.to_thread(service.jobs.stop, patience)] if service.jobs else []))
            await service.readiness.answered(patience, lambda: self.force_exit)
            await super().shutdown(sockets)
            await jobs
            if service.jobs is not None:
                service.jobs.close()

    config = uvicorn.Config(
        app,
        http=PromptProtocol,
        log_config=None,  # delivery/logs.py has seen to it
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        ws_max_size=_LARGEST_MESSAGE,
        timeout_keep_alive=IDLE_SECONDS,
        ws_ping_timeout=None,  # a stream that is taken in slowly has its pong wait behind the sound; silence ends it
        timeout_graceful_shutdown=FAREWELL_SECONDS,
    )
    Server(config).run(sockets=[listener])


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
