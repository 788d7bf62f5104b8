"""The configuration: one YAML that `serve deploy` takes as it is, printed for a size, and checked when read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import ValidationError

from emotape.delivery.cluster.app import IMPORT_PATH, INGRESS
from emotape.delivery.cluster.options import bad_config, cluster_options, settings_of
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

_FEW_CORES: Final = 4
_CORES_FOR_EACH_DECODER: Final = 16
_DECODERS_FOR_EACH_CARD: Final = 16  # one decodes some 700 seconds of speech a second, a card hears 10,000


@dataclass(frozen=True)
class Sizes:
    """What each replica gets, in Ray's terms, and how many there are at most."""

    ingress_cpus: float
    decoder_cpus: float
    decoders: int
    engine_cpus: float
    engine_gpus: int
    engines: int


def sizes_for(cpus: int, gpus: int) -> Sizes:
    """Share out a cluster of so many cores and graphics cards; at most all of it is used."""
    few = cpus < _FEW_CORES
    ingress, decoder = (0.25, 0.25) if few else (1.0, 1.0)
    if gpus:
        for_engine = 0.5 if few else 1.0
        left = cpus - ingress - gpus * for_engine
        decoders = max(1, min(int(left / decoder), _DECODERS_FOR_EACH_CARD * gpus))
        return Sizes(ingress, decoder, decoders, for_engine, 1, gpus)
    decoders = max(1, cpus // _CORES_FOR_EACH_DECODER)
    left = cpus - ingress - decoders * decoder
    for_engine = 1.0 if few else 2.0
    return Sizes(ingress, decoder, decoders, for_engine, 0, max(1, int(left / for_engine)))


def config_text(cpus: int, gpus: int, host: str, port: int) -> str:
    """Return a configuration for a cluster of so many cores and graphics cards, with comments."""
    sizes = sizes_for(cpus, gpus)
    return _TEXT.format(
        host=host,
        port=port,
        import_path=IMPORT_PATH,
        device="auto" if gpus else "cpu",
        decoders=_replicas(sizes.decoders, _BY_CALLS),
        engines=_replicas(sizes.engines, _BY_SECONDS),
        sizes=sizes,
    )


def read_config(path: Path) -> dict[str, Any]:
    """Return a configuration that Ray Serve takes and emotape understands.

    Raises BadRequest ("cluster_config", "cluster_config_unreadable", and what settings raise).
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadRequest("cluster_config_unreadable", path=str(path), reason=reason) from error
    return checked(found)


def checked(document: Any) -> dict[str, Any]:
    """Return a configuration after looking for what would go wrong only later, or quietly. Raises as `read_config`."""
    from ray.serve.schema import ServeDeploySchema

    if not isinstance(document, dict):
        raise BadRequest("cluster_config", place="the file", reason="it holds no mapping")
    try:
        ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        raise bad_config(error) from error
    application = our_application(document)
    options = cluster_options(application.get("args") or {})
    _check_page(application, page=options.page)
    _check_host(document, settings_of(options).host)
    return document


def our_application(document: dict[str, Any]) -> dict[str, Any]:
    """Return emotape's application in a configuration. Raises BadRequest ("cluster_config")."""
    ours = [each for each in document.get("applications", ()) if each.get("import_path") == IMPORT_PATH]
    if len(ours) != 1:
        reason = f"there must be one application with import_path {IMPORT_PATH}; there are {len(ours)}"
        raise BadRequest("cluster_config", place="applications", reason=reason)
    found: dict[str, Any] = ours[0]
    return found


def drain_seconds(document: dict[str, Any]) -> float:
    """Return how long a checked configuration lets its application answer what was admitted."""
    return settings_of(cluster_options(our_application(document).get("args") or {})).drain_seconds


def _check_page(application: dict[str, Any], *, page: bool) -> None:
    """Raise BadRequest when there is to be a page beside several ingresses."""
    own: dict[str, Any] = next((each for each in application.get("deployments", ()) if each.get("name") == INGRESS), {})
    most = (own.get("autoscaling_config") or {}).get("max_replicas") or own.get("num_replicas") or 1
    if page and most != 1:
        reason = f"the page needs an ingress that is alone, and there may be {most}; set page: false"
        raise BadRequest("cluster_config", place="args.page", reason=reason)


def _check_host(document: dict[str, Any], host: str) -> None:
    """Raise BadRequest when the proxies listen elsewhere than who may come was decided for."""
    listens = (document.get("http_options") or {}).get("host", "127.0.0.1")
    if listens != host:
        reason = f"http_options.host is {listens}, args.settings.host {host}; say the same in both"
        raise BadRequest("cluster_config", place="args.settings.host", reason=reason)


def _replicas(most: int, scaling: str) -> str:
    return "num_replicas: 1" if most == 1 else scaling.format(most=most)


_BY_CALLS: Final = """\
autoscaling_config:
        min_replicas: 1
        max_replicas: {most}
        target_ongoing_requests: 2"""
_BY_SECONDS: Final = """\
autoscaling_config:
        min_replicas: 1
        max_replicas: {most}
        upscale_delay_s: 3          # up fast
        downscale_delay_s: 300      # down slowly, one at a time; each answers what it has first
        look_back_period_s: 60
        policy:
          policy_function: emotape.delivery.cluster.scaling:QueuedSeconds
          policy_kwargs:
            queued_seconds: 30      # seconds of audio that may wait for each engine before there are more
            busy: 0.7               # share of the time that engines may run when there is one fewer"""

_TEXT: Final = """\
# emotape on Ray Serve. Run it with `emotape cluster serve FILE`, or `serve deploy FILE` on a cluster that runs.
proxy_location: EveryNode           # every node takes requests
http_options:
  host: {host}                   # 0.0.0.0 for other machines; they need keys then (`emotape keys`)
  port: {port}
logging_config:
  enable_access_log: false          # emotape writes its own, without names and addresses

applications:
- name: emotape
  route_prefix: /
  import_path: {import_path}
  args:
    settings:                       # emotape's settings, the same everywhere; `emotape settings` lists them
      host: {host}               # as in http_options: it decides who must show a key
      device: {device}
      # model: plus-large           # must be on every node that runs engines
      # redis_url: redis://…        # results that all engines share
      # queue_seconds: 1800         # seconds of audio that may wait for each engine before it refuses more
    models: []                      # others that a request may name in its header serve_multiplexed_model_id
    models_at_once: 1               # how many of them an engine keeps at a time
    decoding: true                  # false: no replicas of their own, engines decode
    page: true                      # needs an ingress that is alone
    together: 8                     # recordings in one call at most
    attempts: 5                     # how often a recording is asked about at most, when replicas are lost
    patience_seconds: 60            # how long a call waits for a replica to take it
  deployments:
  - name: Ingress                   # takes requests, answers them
    num_replicas: 1
    max_ongoing_requests: 1000
    graceful_shutdown_timeout_s: 60
    ray_actor_options:
      num_cpus: {sizes.ingress_cpus:g}
  - name: Decoding                  # files to sound
    {decoders}
    max_ongoing_requests: 64
    graceful_shutdown_timeout_s: 60
    ray_actor_options:
      num_cpus: {sizes.decoder_cpus:g}
  - name: Engine                    # sound to emotions; its queue is bounded in seconds of audio
    {engines}
    max_ongoing_requests: 1000
    graceful_shutdown_timeout_s: 300
    ray_actor_options:
      num_cpus: {sizes.engine_cpus:g}
      num_gpus: {sizes.engine_gpus}
"""
