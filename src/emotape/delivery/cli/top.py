"""`emotape top`: how a running server is doing, live."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import KeyOption, LanguageOption, ServerOption  # noqa: TC001 - typer reads annotations
from emotape.settings import read_settings

if TYPE_CHECKING:
    from emotape.delivery.top.server import Server
    from emotape.settings import Settings
    from emotape.wording import Language


def top(
    context: typer.Context,
    server: ServerOption = None,
    key: KeyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object every second; with --once, a single one.")
    ] = False,
    language: LanguageOption = None,
) -> None:
    """Watch a running server: processor, memory, GPUs, queue, throughput, stages, tapes, cache, advice.

    Without --server, the one on this machine at the settings' port. q or Ctrl-C leaves.
    """
    from emotape.delivery.top.server import Server

    settings = read_settings(language=language, server_url=server, api_key=key)
    spoken = settle_language(context, settings)
    shown = None if settings.api_key is None else settings.api_key.get_secret_value()
    with Server(address(settings), shown, spoken) as watched, suppress(KeyboardInterrupt):
        if as_json:
            _print_json(watched, once=once)
        else:
            _show(watched, spoken, once=once)


def address(settings: Settings) -> str:
    """Return the server that the settings name, or else where this machine's own would listen."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - it is only asked
    return settings.server_url or f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _print_json(watched: Server, *, once: bool) -> None:
    from emotape.delivery.cli.screen import speak_utf8
    from emotape.delivery.top.live import EVERY, keyboard

    speak_utf8(machine=True)
    typer.echo(json.dumps(watched.look(), ensure_ascii=False))
    if once:
        return
    with keyboard() as key:
        while key(EVERY) not in ("q", "Q"):
            typer.echo(json.dumps(watched.look(), ensure_ascii=False))


def _show(watched: Server, language: Language, *, once: bool) -> None:
    """Show frames; where nobody looks at a terminal, one."""
    from emotape.delivery.cli.screen import speak_utf8
    from emotape.delivery.cli.show import terminal
    from emotape.delivery.top.frame import frame
    from emotape.delivery.top.live import follow

    speak_utf8(machine=False)
    console = terminal()
    if once or not console.is_interactive:
        console.print(frame(watched.look(), console, language))
    else:
        follow(watched, console, language)
