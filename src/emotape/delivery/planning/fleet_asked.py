"""What a user asks of a fleet, as it was given on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.delivery.planning.fleet import USED, Work, hours_of
from emotape.delivery.planning.fleet_machines import NETWORK
from emotape.delivery.planning.fleet_rates import DECODED, Audio
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """The options of a fleet as they were given; None where they were not."""

    hours: float | None = None
    within: str | None = None
    seconds: float | None = None
    rate: float | None = None
    peak: float | None = None
    devices: tuple[str, ...] = ()
    price: list[str] | None = None
    kilobits: float | None = None
    format: str | None = None
    network: float | None = None
    store: float | None = None
    measured: list[Path] | None = None
    traffic: str | None = None
    policy: str | None = None
    seed: int | None = None
    plot: Path | None = None
    measure: bool = False

    def given(self, *names: str) -> list[str]:
        """Return the names of those that were given."""
        return [name for name in names if getattr(self, name) is not None]

    @property
    def audio(self) -> Audio:
        """The recordings. Raises BadRequest `fleet_format_unknown`."""
        decoded = DECODED.get(self.format or "mixed")
        if decoded is None:
            raise BadRequest("fleet_format_unknown", name=self.format, known=", ".join(DECODED))
        usual = Audio()
        return Audio(self.seconds or usual.seconds, self.kilobits or usual.kilobits, decoded)

    @property
    def work(self) -> Work:
        """What is to be done. Raises BadRequest `fleet_duration` and `fleet_format_unknown`."""
        within = hours_of(self.within or "")
        return Work(self.hours or 0.0, within, self.audio, self.peak or 1.0, self.store, USED)

    @property
    def link(self) -> float:
        """Gbit/s of each machine."""
        return self.network or NETWORK

    @property
    def prices(self) -> dict[str, float]:
        """Prices of an hour by a machine's name, or a part of it; "" for all. Raises BadRequest `fleet_price`."""
        return dict(_price(text) for text in self.price or ())


def _price(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        price = float(value)
    except ValueError as error:
        raise BadRequest("fleet_price", value=text) from error
    if not 0 <= price < float("inf"):
        raise BadRequest("fleet_price", value=text)
    return name.strip(), price
