"""`emotape cluster`: the service on a Ray cluster, on this machine or on many."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path  # noqa: TC003 - typer reads annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import LanguageOption  # noqa: TC001 - typer reads annotations
from emotape.delivery.serving import leave
from emotape.errors import BadRequest
from emotape.settings import flag_help, read_settings
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.cluster.running import Deployment
    from emotape.wording import Language

app = typer.Typer(help="Serve from a Ray cluster: ingress, decoding and engine replicas.", no_args_is_help=True)

HostOption = Annotated[str | None, typer.Option(help=flag_help("host"))]
PortOption = Annotated[int | None, typer.Option(help=flag_help("port"))]
CpusOption = Annotated[int | None, typer.Option(min=1, help="Cores of the cluster. Left out: this machine's.")]
GpusOption = Annotated[int | None, typer.Option(min=0, help="Graphics cards of the cluster. Left out: this machine's.")]


@app.command("config")
def config_command(
    cpus: CpusOption = None, gpus: GpusOption = None, host: HostOption = None, port: PortOption = None
) -> None:
    """Print a configuration for a cluster, as YAML with comments; `serve deploy` takes it, too."""
    require_packages()
    typer.echo(_text(cpus, gpus, host, port), nl=False)


@app.command()
def serve(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(help="Configuration, as `cluster config` prints. Left out: one for this machine.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            help="Cluster: local for a new one on this machine, auto for the one that runs here, or its address."
        ),
    ] = "local",
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running on a cluster that was there before.")
    ] = False,
    language: LanguageOption = None,
) -> None:
    """Deploy, say when and where requests are answered; on Ctrl+C or SIGTERM, answer what was admitted and stop."""
    require_packages()
    from emotape.delivery.cluster.config import checked, read_config
    from emotape.delivery.joining import LOCAL

    spoken = settle_language(context, read_settings(language=language))
    document = read_config(config) if config is not None else checked(_parsed(_text(None, None, None, None)))
    if detach and address == LOCAL:
        raise BadRequest("cluster_detach_local")
    with suppress(KeyboardInterrupt):
        _serve(document, address, spoken, detach=detach)


@app.command()
def status(
    context: typer.Context,
    address: Annotated[str, typer.Option(help="Cluster: auto for the one that runs here, or its address.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    language: LanguageOption = None,
) -> None:
    """Say how the application is doing on a cluster: its state, and its replicas."""
    require_packages()
    from emotape.delivery.cluster.running import connected, seen_ours

    spoken = settle_language(context, read_settings(language=language))
    with connected(address):
        found = seen_ours()
    if not found:
        raise BadRequest("cluster_not_served", address=address)
    for each in found:
        typer.echo(json.dumps(asdict(each), ensure_ascii=False) if as_json else _table(each, spoken))


def _serve(document: dict[str, Any], address: str, language: Language, *, detach: bool) -> None:
    from emotape.delivery.cluster.config import drain_seconds
    from emotape.delivery.cluster.running import connected, deploy, take_down, wait_until_ready

    options = document.get("http_options") or {}
    host, port = options.get("host", "127.0.0.1"), options.get("port", 8000)
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - it is only told
    with connected(address):
        signal.signal(signal.SIGTERM, leave)  # only now: Ray brings a handler of its own
        _tell("cluster_starting", language, address=address)
        name = deploy(document)
        try:
            wait_until_ready(name, lambda words: typer.echo(words, err=True))
            _tell("cluster_ready", language, url=url)
            while not detach:
                signal.pause()
        finally:
            if not detach:
                _tell("cluster_draining", language)
                take_down(name, drain_seconds(document))


def _text(cpus: int | None, gpus: int | None, host: str | None, port: int | None) -> str:
    from emotape.delivery.cluster.config import config_text
    from emotape.engine.machine import look_at_machine

    settings = read_settings(host=host, port=port)
    cards = _cards(settings.device) if gpus is None else gpus
    return config_text(cpus or look_at_machine().running, cards, settings.host, settings.port)


def _cards(device: str) -> int:
    from emotape.engine.machine import accelerators

    return sum(each.is_card for each in accelerators(device))


def _parsed(text: str) -> Any:
    import yaml

    return yaml.safe_load(text)


def _table(found: Deployment, language: Language) -> str:
    heads = [interface_text(f"cluster_{head}", language) for head in ("deployment", "state", "replicas")]
    rows = [
        (part.name, part.state, " ".join(f"{n} {s}" for s, n in part.replicas.items() if n)) for part in found.parts
    ]
    lines = [f"{interface_text('cluster_application', language)} {found.name}: {found.state} {found.message}".rstrip()]
    lines += [f"  {name:<12} {state:<12} {replicas}" for name, state, replicas in [tuple(heads), *rows]]
    return "\n".join(lines)


def _tell(code: str, language: Language, **facts: object) -> None:
    typer.echo(interface_text(code, language, **facts), err=True)


def require_packages() -> None:
    """Raise BadRequest ("cluster_not_installed") unless the extra [cluster] is here."""
    from emotape.delivery.cli.serve import require_packages as require_service

    if find_spec("ray") is None or find_spec("ray.serve") is None:
        raise BadRequest("cluster_not_installed", package="ray[serve]")
    require_service()
