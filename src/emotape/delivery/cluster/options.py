"""What the `args` of a configuration say: the settings of every process, and what is the cluster's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotape.errors import BadRequest
from emotape.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ClusterOptions(BaseModel):
    """The `args` of the application.

    settings          emotape's own settings, by their keys, the same in every process; secrets may rather be in the
                      environment of the nodes
    models            other models that a request may name in its header `serve_multiplexed_model_id`
    models_at_once    how many of these an engine keeps beside its own
    decoding          whether replicas of their own decode; else the engines do
    page              whether there is the page; it needs an ingress that is alone
    together          recordings in one call to an engine at most
    attempts          how often a recording is asked about at most, when replicas are lost
    patience_seconds  how long a call waits for a replica to take it
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    settings: dict[str, Any] = Field(default_factory=dict)
    models: tuple[str, ...] = ()
    models_at_once: int = Field(1, ge=1)
    decoding: bool = True
    page: bool = True
    together: int = Field(8, ge=1, le=1000)
    attempts: int = Field(5, ge=1, le=20)
    patience_seconds: float = Field(60.0, gt=0)


def cluster_options(given: Mapping[str, Any]) -> ClusterOptions:
    """Return the options of a configuration. Raises BadRequest ("cluster_config", "bad_setting")."""
    try:
        options = ClusterOptions(**given)
    except ValidationError as error:
        raise bad_config(error, "args") from error
    for key in options.settings:
        if key not in Settings.model_fields:
            known = ", ".join(Settings.model_fields)
            raise BadRequest("cluster_config", place=f"args.settings.{key}", reason=f"no such setting; known: {known}")
    return options


def settings_of(options: ClusterOptions) -> Settings:
    """Return the settings of this process: the configuration's first, then its environment's and its files'."""
    return read_settings(**options.settings)


def choice(name: str, main: str, others: Sequence[str]) -> str:
    """Return the model to ask: "" for the main one. Raises BadRequest ("cluster_model_unknown")."""
    if name in ("", main):
        return ""
    if name not in others:
        raise BadRequest("cluster_model_unknown", model=name, known=", ".join((main, *others)))
    return name


def bad_config(error: ValidationError, *above: str) -> BadRequest:
    """Return the error of the first thing that pydantic finds amiss."""
    problem: Any = error.errors(include_url=False)[0]
    place = ".".join(map(str, (*above, *problem["loc"])))
    return BadRequest("cluster_config", place=place, reason=problem["msg"])
