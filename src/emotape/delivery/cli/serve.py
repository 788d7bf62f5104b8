"""`emotape serve`: the page and the HTTP interface, on this machine only unless told otherwise."""

from __future__ import annotations

import gc
import signal
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from emotape.client.connection import is_this_machine
from emotape.delivery.cli.errors import error_lines
from emotape.delivery.cli.language import settle_language
from emotape.delivery.rehearsal import rehearse
from emotape.delivery.serving import assembled, key_ring, leave, page_options
from emotape.delivery.threads import heeded
from emotape.errors import BadRequest
from emotape.settings import cache_options, flag_help, read_settings, recognizer_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.api.keys import KeyRing
    from emotape.delivery.api.service import Service
    from emotape.delivery.observation import Observation
    from emotape.delivery.threads import Remark
    from emotape.errors import EmotapeError
    from emotape.recognizer import Recognizer
    from emotape.settings import Settings
    from emotape.wording import Language


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help=flag_help("host"))] = None,
    port: Annotated[int | None, typer.Option(help=flag_help("port"))] = None,
    model: Annotated[str | None, typer.Option(help=flag_help("model"))] = None,
    offload: Annotated[int | None, typer.Option(help=flag_help("offload"))] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help=flag_help("insecure"))] = False,
) -> None:
    """Serve the page and the HTTP interface: load the model, say when it is ready, stop on Ctrl+C or SIGTERM."""
    settings = read_settings(host=host, port=port, model=model, offload=offload, insecure=insecure or None)
    require_packages()
    settings, remarks = heeded(context, settings)
    signal.signal(signal.SIGTERM, leave)
    with suppress(KeyboardInterrupt):
        run(settings, settle_language(context, settings), remarks)


def run(settings: Settings, language: Language, remarks: tuple[Remark, ...] = ()) -> None:
    """Take the address, listen, and load the model meanwhile; stop in the opposite order.

    Raises BadRequest ("serve_port_busy", "serve_address", "serve_needs_keys", "serve_no_temporary_folder") and
    ModelFault when there is no such model; one that cannot be loaded is told by /readyz and here.
    """
    from emotape.delivery.api.quota import open_limits
    from emotape.delivery.observation import observing
    from emotape.delivery.server import create_app, listen, private_uploads, take_address, url_of

    keys = key_ring(settings)
    with (
        closing(take_address(settings.host, settings.port)) as listener,
        private_uploads(),
        observing(settings) as observation,
        _recognizer(settings, observation) as recognizer,
    ):
        _tell_who_may_come(settings, keys, language)
        _tell_of_variables(remarks, language)
        with closing(open_limits(settings.redis_url, observation.observer)) as quotas:
            service = assembled(recognizer, settings, observation, keys, quotas)
            app = create_app(service, page_options(recognizer, settings), observation)
            listen(app, service, listener, lambda: _load(service, url_of(listener), language))


@contextmanager
def _recognizer(settings: Settings, observation: Observation) -> Iterator[Recognizer]:
    """Give a recognizer with a cache, which loads its model later, and close both."""
    from emotape.recognizer import Recognizer
    from emotape.store.cache.options import open_cache

    options, observer = recognizer_options(settings), observation.observer
    with (
        open_cache(cache_options(settings)) as cache,
        closing(Recognizer(settings.model, options=options, observer=observer, cache=cache)) as recognizer,
    ):
        yield recognizer


def _load(service: Service, url: str, language: Language) -> None:
    """Load the model in the background, then take jobs up; say where it stands."""
    from emotape.delivery.logs import report, say

    def load() -> None:
        service.recognizer.open()
        rehearse()

    def loaded(error: EmotapeError | None) -> None:
        if error is not None:
            report(error.code, error_lines(error, language))
        elif service.readiness.phase == "ready":
            _settle_memory()
            service.jobs.start()
            say("serve_ready", language, url=url)

    say("serve_listening", language, url=url, model=service.recognizer.model.name)
    service.readiness.load(load, loaded)


def _settle_memory() -> None:
    """Leave what is loaded for good out of later garbage collections.

    A million objects of torch and Gradio live as long as the process; looking through them again and again took a tenth
    of what HTTP costs.
    """
    gc.collect()
    gc.freeze()


def _tell_who_may_come(settings: Settings, keys: KeyRing | None, language: Language) -> None:
    from emotape.delivery.logs import say

    if keys is not None:
        say("serve_keys", language, count=len(keys.known()), path=str(keys.path))
    elif not is_this_machine(settings.host):
        say("serve_exposed", language, host=settings.host)


def _tell_of_variables(remarks: tuple[Remark, ...], language: Language) -> None:
    from emotape.delivery.logs import say

    for remark in remarks:
        say(remark.code, language, **remark.facts)


def require_packages() -> None:
    """Raise BadRequest ("serve_not_installed") unless the extra [serve] is here."""
    for package in (
        "fastapi",
        "fastapi_offline",
        "gradio",
        "prometheus_client",
        "psutil",
        "python_multipart",
        "uvicorn",
        "websockets",
    ):
        if find_spec(package) is None:
            raise BadRequest("serve_not_installed", package=package)
