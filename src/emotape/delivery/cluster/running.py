"""A configuration on a cluster: deployed, waited for, and taken down once everything is answered."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.cluster.app import ENGINE, INGRESS
from emotape.delivery.cluster.config import our_application
from emotape.delivery.joining import LOCAL, joined
from emotape.errors import EngineFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("emotape")

_POLL_SECONDS: Final = 0.2
_ANSWER_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Deployed:
    """One deployment of the application, as Ray Serve tells of it: replicas by their state."""

    name: str
    state: str
    message: str
    replicas: dict[str, int]


@dataclass(frozen=True)
class Deployment:
    """The application, as Ray Serve tells of it."""

    name: str
    state: str
    message: str
    parts: tuple[Deployed, ...]


@contextmanager
def connected(address: str, **of_a_new_one: Any) -> Iterator[None]:
    """Be part of a cluster for a while: of one that runs ("auto", or where it is), or of a new one ("local").

    Raises BadRequest ("cluster_unreachable").
    """
    from ray import serve  # noqa: F401 - it sets up the logger that is silenced here

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with joined(address, "cluster_unreachable", namespace="serve", **of_a_new_one):
        yield


@contextmanager
def alone(cpus: int, store_bytes: int) -> Iterator[None]:
    """Be the only user of a small new cluster on this machine for a while."""
    with connected(LOCAL, num_cpus=cpus, object_store_memory=store_bytes):
        yield


def deploy(document: dict[str, Any]) -> str:
    """Hand a checked configuration to Ray Serve, as `serve deploy` does, and return the application's name.

    Ray Serve and its proxies are started first where they do not run. What runs already is updated step by step.
    """
    from ray.serve._private.api import serve_start  # what `serve run` itself starts with
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(document)
    client = serve_start(http_options=config.http_options.model_dump(), proxy_location=config.proxy_location)
    client.deploy_apps(config)
    name: str = our_application(document).get("name", "default")
    return name


def wait_until_ready(name: str, tell: Callable[[str], object] = lambda _: None) -> None:
    """Return once every deployment runs as configured; `tell` hears what Ray Serve says of it meanwhile.

    Raises EngineFault ("cluster_deploy_failed").
    """
    told = ""
    while True:
        found = seen(name)
        if found is not None and (words := _why(found)) not in (told, found.state):
            tell(words)
            told = words
        if found is not None and found.state == "RUNNING":
            return
        if found is not None and found.state == "DEPLOY_FAILED":
            raise EngineFault("cluster_deploy_failed", reason=_why(found))
        time.sleep(_POLL_SECONDS)


def seen(name: str) -> Deployment | None:
    """Return how an application is doing; None where there is none."""
    return next((found for found in seen_ours() if found.name == name), None)


def seen_ours() -> tuple[Deployment, ...]:
    """Return how the applications are doing that have an engine."""
    from ray import serve

    found = serve.status().applications.items()
    return tuple(
        _described(name, about) for name, about in found if ENGINE in about.deployments or not about.deployments
    )


def _described(name: str, application: Any) -> Deployment:
    parts = tuple(
        Deployed(part, _word(about.status), about.message, {_word(k): v for k, v in about.replica_states.items()})
        for part, about in application.deployments.items()
    )
    return Deployment(name, _word(application.status), application.message, parts)


def take_down(name: str, seconds: float) -> None:
    """Stop an application once it has answered what was admitted, for which there are so many seconds.

    Every ingress is asked first: Ray Serve would end engines that have nothing to do just then, and with them the way
    of what the ingresses still work on.
    """
    from ray import serve

    try:
        ingress = serve.get_deployment_handle(INGRESS, name)
        ingress.broadcast("drain", seconds).results(timeout_s=seconds + _ANSWER_SECONDS)
    except Exception:  # an ingress that does not answer has nothing to wait for
        log.warning("an ingress did not say that everything is answered", exc_info=True)
    with suppress(TimeoutError):  # Ray Serve goes on with it
        serve.delete(name)


def _why(found: Deployment) -> str:
    messages = [found.message, *(f"{part.name}: {part.message}" for part in found.parts if part.message)]
    return " ".join(" ".join(message.split()) for message in messages if message) or found.state


def _word(state: Any) -> str:
    return str(getattr(state, "value", state))
