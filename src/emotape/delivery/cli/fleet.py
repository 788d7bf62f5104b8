"""`emotape plan --fleet`: what is asked, checked and handed on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from emotape.errors import BadRequest
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.planning.fleet_asked import Asked
    from emotape.settings import Settings
    from emotape.wording import Language

FleetOption = Annotated[
    bool, typer.Option("--fleet", help="Size a fleet: --hours within --within; or simulate one: --rate and --traffic.")
]
HoursOption = Annotated[float | None, typer.Option(help="Fleet: hours of audio to process.")]
WithinOption = Annotated[str | None, typer.Option(help="Fleet: time that it may take, as 36h or 2d.")]
PeakOption = Annotated[
    float | None,
    typer.Option(
        help="Fleet: make it for so many times the load (default: 1); or how high a flash crowd rises (default: 5)."
    ),
]
PriceOption = Annotated[
    list[str] | None, typer.Option(help="Fleet: price of a machine's hour, as 0.8 or L4=0.8. Repeatable.")
]
KilobitsOption = Annotated[
    float | None, typer.Option(help="Fleet: kilobits of a file for a second of audio. (default: 128)")
]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="Fleet: format of the recordings, for how fast they are decoded.")
]
LinkOption = Annotated[float | None, typer.Option("--network", help="Fleet: Gbit/s of a machine. (default: 1)")]
StoreOption = Annotated[
    float | None, typer.Option(help="Fleet: Gbit/s of the place that recordings come from. Unset: no limit.")
]
MeasuredOption = Annotated[
    list[Path] | None,
    typer.Option(help="Fleet: figures of `emotape bench throughput` or `gpu`, written by --output. Repeatable."),
]
TrafficOption = Annotated[
    str | None, typer.Option(help="Fleet: day, flash, loss, or a CSV file of arrivals. (default: day)")
]
PolicyOption = Annotated[str | None, typer.Option(help="Fleet: the autoscaler, as min=1,max=8,target=60,down=300.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Fleet: another seed draws other arrivals. (default: 0)")]
PlotOption = Annotated[Path | None, typer.Option(help="Fleet: also draw the simulation, as PNG.")]

_SIZING: Final = ("hours", "within", "store")
_SIMULATING: Final = ("rate", "traffic", "policy", "seed", "plot")


_ONLY_HERE: Final = (*_SIZING, *_SIMULATING[1:], "peak", "price", "kilobits", "format", "network", "measured")


def check_unasked(asked: Asked) -> None:
    """Raise BadRequest `option_needs` for options that only a fleet has."""
    for name in asked.given(*_ONLY_HERE):
        raise BadRequest("option_needs", option=f"--{name}", needed="--fleet")


def devices_of(given: list[str] | None) -> tuple[str, ...]:
    """Return the names of --device, which may be given several times or separated by semicolons."""
    return tuple(part.strip() for text in given or () for part in text.split(";") if part.strip())


def run(asked: Asked, settings: Settings, language: Language, *, uses: bool, as_json: bool) -> None:
    """Size or simulate, and print. `uses`: --for was given, too. Raises BadRequest and ModelFault."""
    if uses:
        _ask("wrong", language, option="--for")
    _check(asked, language)
    if asked.hours is not None:
        from emotape.delivery.cli.fleet_sizes import facts, lines
        from emotape.delivery.planning.fleet_outlook import look_at_fleets

        fleets = look_at_fleets(asked, settings)
        told, document = lines(fleets, language), facts(fleets)
    else:
        from emotape.delivery.cli.fleet_simulation import facts as simulated_facts
        from emotape.delivery.cli.fleet_simulation import lines as simulated_lines
        from emotape.delivery.planning.fleet_outlook import play

        played = play(asked, settings)
        told, document = simulated_lines(played, language), simulated_facts(played)
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        typer.echo("\n".join(told))


def _check(asked: Asked, language: Language) -> None:
    sizing, simulating = asked.given(*_SIZING), asked.given(*_SIMULATING)
    if asked.hours is not None and asked.rate is not None:
        _ask("both", language)
    wrong = sizing if asked.rate is not None else simulating if asked.hours is not None else []
    if wrong:
        _ask("wrong", language, option=f"--{wrong[0]}")
    if asked.rate is None and (asked.hours is None or asked.within is None):
        _ask("neither", language)
    for name in asked.given("hours", "seconds", "rate", "peak", "kilobits", "network", "store"):
        value = getattr(asked, name)
        if not 0 < value < float("inf"):
            raise BadRequest("plan_not_positive", option=f"--{name}", value=value)


def _ask(code: str, language: Language, **facts: object) -> None:
    raise BadRequest("fleet_asks", reason=interface_text(f"fleet_asks_{code}", language, **facts))
