"""The service as its settings want it: its keys, what it takes, its jobs. One for a server, one for each ingress."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from emotape.client.connection import is_this_machine
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from emotape.delivery.api.keys import KeyRing
    from emotape.delivery.api.quota import Limits
    from emotape.delivery.api.service import ApiOptions, Service
    from emotape.delivery.observation import Observation
    from emotape.delivery.recognition import Recognition
    from emotape.delivery.ui import PageOptions
    from emotape.settings import Settings


def assembled(
    recognizer: Recognition,
    settings: Settings,
    observation: Observation,
    keys: KeyRing | None,
    quotas: Limits,
    *,
    has_jobs: bool = True,
) -> Service:
    """Return the service of a recognizer, with jobs and their history where `has_jobs`."""
    from emotape.delivery.api.durable import Jobs, charging, durable_options
    from emotape.delivery.api.service import Service

    jobs = Jobs(durable_options(settings), recognizer, charging(keys, quotas)) if has_jobs else None
    return Service(
        recognizer,
        api_options(settings),
        keys=keys,
        quotas=quotas,
        jobs=jobs,
        history=None if jobs is None else jobs.history,
        meter=observation.meter,
    )


def key_ring(settings: Settings) -> KeyRing | None:
    """Return the keys that open the service: none are needed on this machine alone, unless some were made.

    Raises BadRequest ("serve_needs_keys").
    """
    from emotape.delivery.api.keys import KeyRing, default_keys_file

    keys = KeyRing(settings.api_keys_file or default_keys_file())
    if keys.known():
        return keys
    if not settings.insecure and not is_this_machine(settings.host):
        raise BadRequest("serve_needs_keys", host=settings.host)
    return None


def api_options(settings: Settings) -> ApiOptions:
    """Return what the interface takes. On this machine alone, only under names that nobody else can give it."""
    from emotape.delivery.api.service import ApiOptions

    own = {"localhost", "127.0.0.1", "[::1]", f"[{settings.host}]" if ":" in settings.host else settings.host}
    closed = is_this_machine(settings.host) or bool(settings.allowed_hosts)
    return ApiOptions(
        body_bytes=settings.max_request_bytes,
        files=settings.max_files,
        body_seconds=settings.upload_seconds,
        hosts=tuple(sorted({*own, *map(str.casefold, settings.allowed_hosts)})) if closed else (),
        origins=settings.allowed_origins,
        drain_seconds=settings.drain_seconds,
    )


def page_options(recognizer: Recognition, settings: Settings) -> PageOptions:
    """Return what the page of such a service says and keeps."""
    from emotape.delivery.ui import PageOptions

    return PageOptions(
        experimental=recognizer.model.experimental,
        limits=recognizer.options.decode,
        keep_seconds=3600 * settings.keep_hours,
    )


def leave(*_: object) -> NoReturn:
    """Take a signal as a reason to leave by way of every `with`, so that all is answered and put away."""
    raise SystemExit(0)
