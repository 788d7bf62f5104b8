"""`emotape settings`: what is set, as TOML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from emotape.settings import Settings


def show(context: typer.Context) -> None:
    """Print the settings in force, in the form of emotape.toml, and the files that are read."""
    from emotape.delivery.cli.language import settle_language
    from emotape.settings import read_settings, settings_files

    settings = read_settings()
    settle_language(context, settings)
    for path in settings_files():
        typer.echo(f"# {path.absolute()}{'' if path.exists() else ' (not there)'}")
    typer.echo(_as_toml(settings), nl=False)


def _as_toml(settings: Settings) -> str:
    lines = []
    for key, value in settings.model_dump().items():
        shown = json.dumps(value, ensure_ascii=False, default=str)  # of a secret, that is asterisks
        lines.append(f"# {key} is not set\n" if value is None else f"{key} = {shown}\n")
    return "".join(lines)
