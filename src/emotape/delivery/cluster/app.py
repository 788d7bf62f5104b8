"""What a configuration imports: `build` makes the application of its deployments. Nothing runs before that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.cluster.options import cluster_options

if TYPE_CHECKING:
    from ray.serve import Application

IMPORT_PATH: Final = "emotape.delivery.cluster.app:build"
INGRESS: Final = "Ingress"
DECODING: Final = "Decoding"
ENGINE: Final = "Engine"
_AT_ONCE: Final = 1000  # calls in one replica; an engine bounds its queue itself, in seconds of audio


def build(args: dict[str, Any]) -> Application:
    """Return the application; replicas, resources and scaling are the configuration's. Raises BadRequest."""
    from ray import serve

    from emotape.delivery.cluster.decoding import Decoding
    from emotape.delivery.cluster.engine import Engine
    from emotape.delivery.cluster.ingress import Ingress

    options = cluster_options(args)
    engine = serve.deployment(name=ENGINE, max_ongoing_requests=_AT_ONCE)(Engine).bind(options)
    parts = {"engine": engine}
    if options.decoding:
        decoding = serve.deployment(name=DECODING, max_ongoing_requests=_AT_ONCE)(Decoding)
        parts["decoding"] = decoding.bind(options)
    door = serve.deployment(name=INGRESS, max_ongoing_requests=_AT_ONCE)(serve.ingress()(Ingress))
    application: Application = door.bind(options, **parts)
    return application
