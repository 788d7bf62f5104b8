"""An ingress replica: the interface that `emotape serve` has, with replicas in the place of its recognizer."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, closing, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from emotape.delivery.cluster.behind_proxy import OneRequestId
from emotape.delivery.cluster.calls import Replicas
from emotape.delivery.cluster.dispatch import DispatchOptions
from emotape.delivery.cluster.model_choice import ModelChoice
from emotape.delivery.cluster.options import choice, settings_of
from emotape.delivery.cluster.remote import RemoteRecognizer
from emotape.delivery.serving import assembled, key_ring, page_options
from emotape.errors import NotReady
from emotape.settings import recognizer_options

if TYPE_CHECKING:
    from fastapi import FastAPI

    from emotape.delivery.api.service import Service
    from emotape.delivery.cluster.options import ClusterOptions
    from emotape.delivery.observation import Observation
    from emotape.settings import Settings


class Ingress:
    """The application of one ingress, which is there once an engine is.

    With others beside it there is no page, whose sessions live in one process, and jobs only in a database that all of
    them share.
    """

    def __init__(self, options: ClusterOptions, engine: Any, decoding: Any = None) -> None:
        from ray import serve

        self._options = options
        self._replicas = Replicas(engine, decoding, options.patience_seconds)
        self._is_alone = serve.get_replica_context().world_size <= 1
        self._closing = ExitStack()
        self._service: Service | None = None

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application. Raises what keeps it from being one, in a thread of its own until then."""
        return await asyncio.to_thread(self._assembled)

    async def drain(self, seconds: float) -> int:
        """Take nothing on any more, and return how many requests are unanswered: none, or the time was over."""
        if self._service is None:
            return 0
        service, began = self._service, time.monotonic()
        service.readiness.drain()
        if service.jobs is not None:
            await asyncio.to_thread(service.jobs.stop, seconds)
        return await service.readiness.answered(seconds - (time.monotonic() - began))

    async def __del__(self) -> None:
        """Stop the jobs, let go of everything; Ray Serve calls this when every request has its answer."""
        if self._service is not None:
            service, self._service = self._service, None
            await asyncio.to_thread(self._end, service)

    def _assembled(self) -> FastAPI:
        from emotape.delivery.api.quota import open_limits
        from emotape.delivery.observation import observing

        settings = settings_of(self._options)
        observation = self._closing.enter_context(observing(settings))
        recognizer = self._closing.enter_context(closing(self._recognizer(settings, observation)))
        limits = self._closing.enter_context(closing(open_limits(settings.redis_url, observation.observer)))
        has_jobs = self._is_alone or settings.database_url is not None
        _wait_for_an_engine(recognizer)
        keys = key_ring(settings)
        service = self._service = assembled(recognizer, settings, observation, keys, limits, has_jobs=has_jobs)
        app = self._with_page(service, settings, observation)
        app.add_middleware(ModelChoice)
        app.add_middleware(OneRequestId)
        service.readiness.mark_ready()
        if service.jobs is not None:
            service.jobs.start()
        return app

    def _recognizer(self, settings: Settings, observation: Observation) -> RemoteRecognizer:
        from ray import serve

        def model_asked() -> str:
            name: str = serve.get_multiplexed_model_id()
            return choice(name, recognizer.model.name, self._options.models)

        recognizer = RemoteRecognizer(
            self._replicas,
            recognizer_options(settings),
            DispatchOptions(self._options.together, self._options.attempts),
            model_asked=model_asked,
            observer=observation.observer,
        )
        return recognizer

    def _with_page(self, service: Service, settings: Settings, observation: Observation) -> FastAPI:
        """Return the interface, with the page where that can be."""
        from emotape.delivery.api.app import create_app
        from emotape.delivery.logs import say

        if self._options.page and not self._is_alone:
            say("cluster_no_page", settings.language or "en")
        if not self._options.page or not self._is_alone or find_spec("gradio") is None:
            app = create_app(service)
            observation.install(app, service)
            return app
        from emotape.delivery.server import create_app as with_page
        from emotape.delivery.server import private_uploads

        self._closing.enter_context(private_uploads())
        return with_page(service, page_options(service.recognizer, settings), observation)

    def _end(self, service: Service) -> None:
        service.readiness.drain()
        if service.jobs is not None:
            service.jobs.stop(service.options.drain_seconds)
            service.jobs.close()
        self._closing.close()


def _wait_for_an_engine(recognizer: RemoteRecognizer) -> None:
    """Ask until there is an engine, however long it takes to get a machine for it. Raises ModelFault, EngineFault."""
    while not recognizer.is_ready:
        with suppress(NotReady):  # it has waited for a while itself
            recognizer.open()
