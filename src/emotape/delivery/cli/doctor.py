"""`emotape doctor`: whether everything is in order, and the command for what is not."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (  # noqa: TC001 - typer reads annotations when it runs
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
)
from emotape.settings import read_settings
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.doctor.checks import Finding
    from emotape.wording import Language

_COLOURS: Final = {"green": "green", "amber": "yellow", "red": "red"}
_SIGNS: Final = {"green": "✓", "amber": "!", "red": "✗"}


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
) -> None:
    """Check decoders, torch, models, ports, disk, memory and limits, and say what mends what is amiss.

    Nothing is changed.

    Exit codes: 0 all is well, 1 something should be looked at, 2 something does not work.
    """
    from emotape.delivery.doctor.checks import exit_code
    from emotape.delivery.doctor.look import examine

    settings = read_settings(model=model, models_folder=models_folder, language=language)
    spoken = settle_language(context, settings)
    found = []
    for finding in examine(settings):
        found.append(finding)
        if not as_json:
            _show(finding, spoken)
    if as_json:
        facts = [_facts(finding, spoken) for finding in found]
        sys.stdout.write(json.dumps({"findings": facts}, indent=2, ensure_ascii=False) + "\n")
    raise typer.Exit(exit_code(found))


def sentence(finding: Finding, language: Language) -> str:
    """Return a finding in words."""
    return interface_text(f"doctor_{finding.code}", language, **finding.facts)


def _show(finding: Finding, language: Language) -> None:
    sign = typer.style(
        f"{_SIGNS[finding.level]} {interface_text(f'doctor_{finding.level}', language)}", _COLOURS[finding.level]
    )
    typer.echo(f"{sign}  {interface_text(f'doctor_check_{finding.check}', language)}: {sentence(finding, language)}")
    if finding.cure:
        typer.echo(f"    $ {finding.cure}")


def _facts(finding: Finding, language: Language) -> dict[str, Any]:
    return asdict(finding) | {"text": sentence(finding, language)}
