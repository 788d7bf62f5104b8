"""Who answers a run: a model on this machine, or a server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from emotape.delivery.engine_log import EngineLog
from emotape.errors import BadRequest
from emotape.events import Event, ModelLoaded, fan_out
from emotape.settings import recognizer_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emotape.audio.decode import DecodeLimits
    from emotape.delivery.batch import Decoding
    from emotape.delivery.cli.answering import Resident
    from emotape.settings import Settings
    from emotape.wording import Language


@dataclass(frozen=True)
class Answerer:
    """Who answers; `arithmetic` names its weights and number format, as far as they are known.

    `decode` is the recognizer's own way of decoding, None where it has none.
    """

    recognizer: Resident
    limits: DecodeLimits
    arithmetic: str
    decode: Decoding | None = None


@contextmanager
def opened(settings: Settings, language: Language) -> Iterator[Answerer]:
    """Load the model, or reach the server. Recordings are decoded on this machine either way."""
    if settings.server_url is not None:
        with _server(settings, settings.server_url, language) as answerer:
            yield answerer
        return
    from emotape.recognizer import Recognizer

    options = recognizer_options(settings)
    loaded: list[str] = []
    observer = fan_out(partial(_note_arithmetic, loaded), EngineLog(language))
    with Recognizer(settings.model, options=options, observer=observer) as recognizer:
        yield Answerer(recognizer, options.decode, " ".join(loaded), recognizer.decode)


def check_local(settings: Settings, flags: Mapping[str, object]) -> None:
    """Raise BadRequest ("server_and_local") for a flag that a server would not heed."""
    given = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value is not None]
    if settings.server_url is not None and given:
        raise BadRequest("server_and_local", options=", ".join(given), url=settings.server_url)


@contextmanager
def _server(settings: Settings, url: str, language: Language) -> Iterator[Answerer]:
    from emotape.client.connection import ClientOptions
    from emotape.client.synchronous import Client

    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    with Client(url, key, options=ClientOptions(language=language)) as client:
        # A server does not say in which number format it calculates; its own address stands for that.
        yield Answerer(client, recognizer_options(settings).decode, f"{client.digest} {url}")


def _note_arithmetic(loaded: list[str], event: Event) -> None:
    """Note the digest and the number format of the model when it is loaded."""
    if isinstance(event, ModelLoaded):
        loaded.extend((event.digest, event.dtype))
