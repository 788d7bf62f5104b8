"""Options that several commands share; what overrides a setting takes its help from the setting."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from emotape.settings import flag_help, variable

GranularityName = StrEnum("GranularityName", ["utterance", "frame", "segment"])
ChannelName = StrEnum("ChannelName", ["mix", "split"])
LanguageName = StrEnum("LanguageName", ["en", "zh"])
ExportName = StrEnum("ExportName", ["srt", "audacity", "textgrid", "csv"])


def setting(key: str) -> Any:
    """Return the option that overrides a setting; its help is the setting's own."""
    return typer.Option(f"--{key.replace('_', '-')}", help=f"{flag_help(key)} [{variable(key)}]")


ServerOption = Annotated[str | None, typer.Option(help=f"{flag_help('server_url')} [{variable('server_url')}]")]
KeyOption = Annotated[str | None, typer.Option(help=f"{flag_help('api_key')} [{variable('api_key')}]")]
ModelOption = Annotated[str | None, setting("model")]
ModelsFolderOption = Annotated[Path | None, setting("models_folder")]
LanguageOption = Annotated[LanguageName | None, setting("language")]
DeviceOption = Annotated[str | None, setting("device")]
DtypeOption = Annotated[str | None, setting("dtype")]
ThreadsOption = Annotated[int | None, setting("threads")]
OffloadOption = Annotated[int | None, setting("offload")]
