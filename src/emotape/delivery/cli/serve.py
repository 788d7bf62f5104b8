"""`emotape serve`: the page, on this machine only unless told otherwise."""

from __future__ import annotations

import signal
import sys
from contextlib import closing, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from emotape.delivery.cli.language import settle_language
from emotape.errors import BadRequest
from emotape.settings import flag_help, read_settings, recognizer_options
from emotape.wording import interface_text

if TYPE_CHECKING:
    from fastapi import FastAPI

    from emotape.recognizer import Recognizer
    from emotape.settings import Settings
    from emotape.wording import Language

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help=flag_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=flag_help("port"))] = None,
    model: Annotated[str | None, typer.Option(help=flag_help("model"))] = None,
) -> None:
    """Serve the web page: load the model, say when it is ready, stop on Ctrl+C or SIGTERM."""
    settings = read_settings(host=host, port=port, model=model)
    require_packages()
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt):
        run(settings, settle_language(context, settings))


def run(settings: Settings, language: Language) -> None:
    """Take the address, load the model, and only then listen.

    Raises BadRequest ("serve_port_busy", "serve_address") and ModelFault.
    """
    from emotape.delivery.server import listen, private_uploads, take_address, url_of
    from emotape.recognizer import Recognizer

    with closing(take_address(settings.host, settings.port)) as listener:
        if settings.host not in _LOOPBACK:
            _say("serve_exposed", language, host=settings.host)
        recognizer = Recognizer(settings.model, options=recognizer_options(settings))
        _say("serve_loading", language, model=recognizer.model.name)
        with private_uploads(), recognizer:
            app = _application(recognizer, settings)
            listen(app, listener, lambda: _say("serve_ready", language, url=url_of(listener)))


def require_packages() -> None:
    """Raise BadRequest ("serve_not_installed") unless the extra [serve] is here."""
    for package in ("fastapi", "gradio", "uvicorn"):
        if find_spec(package) is None:
            raise BadRequest("serve_not_installed", package=package)


def _application(recognizer: Recognizer, settings: Settings) -> FastAPI:
    from emotape.delivery.server import create_app
    from emotape.delivery.ui import PageOptions

    options = PageOptions(
        experimental=recognizer.model.experimental,
        limits=recognizer.options.decode,
        keep_seconds=3600 * settings.keep_hours,
    )
    return create_app(recognizer, options)


def _leave(*_: object) -> NoReturn:
    """Leave by way of every `with`, so that the model and the uploads are put away."""
    raise SystemExit(0)


def _say(code: str, language: Language, **facts: object) -> None:
    sys.stderr.write(interface_text(code, language, **facts) + "\n")
    sys.stderr.flush()
