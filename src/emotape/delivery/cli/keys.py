"""`emotape keys`: who may use the service from other machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from emotape.delivery.cli.language import settle_language
from emotape.settings import read_settings
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.api.keys import Key, KeyRing
    from emotape.wording import Language

app = typer.Typer(help="Create, list and revoke the API keys of emotape serve.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name that tells the key apart.", show_default=False)]


@app.command()
def create(
    context: typer.Context,
    name: NameArgument,
    per_minute: Annotated[float | None, typer.Option(min=1, help="Requests that it may send a minute.")] = None,
    seconds_per_minute: Annotated[
        float | None, typer.Option(min=1, help="Seconds of audio that it may send a minute.")
    ] = None,
) -> None:
    """Make a key and print it, this once; only its hash is kept."""
    keys, language = _settled(context)
    shown = keys.create(name, per_minute, seconds_per_minute)
    typer.echo(interface_text("key_created", language, name=name), err=True)
    typer.echo(shown)


@app.command("list")
def list_command(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the keys: their names, when they were made, and what they may use a minute."""
    keys, language = _settled(context)
    found = keys.known()
    if as_json:
        typer.echo(json.dumps([_facts(key) for key in found], indent=2))
    elif not found:
        typer.echo(interface_text("keys_none", language))
    else:
        _print_table(found, language)


@app.command()
def revoke(context: typer.Context, name: NameArgument) -> None:
    """Forget a key; a running server refuses it from the next request on."""
    keys, language = _settled(context)
    keys.revoke(name)
    typer.echo(interface_text("key_revoked", language, name=name))


def _settled(context: typer.Context) -> tuple[KeyRing, Language]:
    from emotape.delivery.api.keys import KeyRing, default_keys_file

    settings = read_settings()
    return KeyRing(settings.api_keys_file or default_keys_file()), settle_language(context, settings)


def _facts(key: Key) -> dict[str, object]:
    return {
        "name": key.name,
        "created": key.created,
        "per_minute": key.requests,
        "seconds_per_minute": key.audio_seconds,
    }


def _print_table(keys: tuple[Key, ...], language: Language) -> None:
    from rich.console import Console
    from rich.table import Table

    heads = ("keys_name", "keys_created", "keys_requests", "keys_seconds")
    table = Table(*(interface_text(head, language) for head in heads), box=None)
    for key in keys:
        table.add_row(
            *(
                "–" if fact is None else f"{fact:g}" if isinstance(fact, float) else str(fact)
                for fact in _facts(key).values()
            )
        )
    Console().print(table)
