"""How much audio a machine takes a second: by measurement where there is one, or else estimated, and always said which.

The measured figures are those of results/*.json, from a two-core processor (AMD EPYC, AVX-512 and bf16). A user's own,
written by `emotape bench … --output FILE`, count before them. No card has been measured: of a card's arithmetic a third
is taken to be reached, of its memory's speed 70 %, and the slower of the two counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.planning.cost import Expected, Rate, expect, typical_rate
from emotape.delivery.planning.fleet_machines import MEASURED_MACHINE, bandwidth_of
from emotape.engine.card import tape_tokens_for
from emotape.engine.choices import Planned
from emotape.engine.plan import Machine, plan
from emotape.engine.resident import EngineOptions
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.delivery.planning.fleet_network import Network
    from emotape.model.dims import Dims

CARD_ARITHMETIC: Final = 0.33
CARD_BANDWIDTH: Final = 0.7
DECODED: Final = {
    "mixed": 700.0,
    "wav": 857.0,
    "flac": 514.0,
    "mp3": 822.0,
    "m4a": 869.0,
    "ogg": 702.0,
    "opus": 423.0,
    "webm": 628.0,
    "amr": 1_339.0,
}
"""Seconds of audio that a core decodes a second; results/decode.json, 30 s recordings, stereo at 44.1 or 48 kHz."""
START: Final = 2.2
"""Seconds from a process's start to its first answer (import 1.4, load 0.5, answer 0.3); results/load-large.json."""
CARD_START: Final = 60.0
"""The same with a card, whose kernels are compiled and recorded first; assumed."""
_HALF: Final = 2  # bytes
_PASSES: Final = 4  # that a convolution's output is moved: written and read by the product, and by the norm after it
_BLOCK_VALUES: Final = 16  # rows of the network's width that a block writes: queries to MLP, and the norms
_FRAMES: Final = 50  # a second


@dataclass(frozen=True)
class Measured:
    """What one benchmark found: seconds of audio a second on a machine with a network. `source` is its file."""

    machine: str
    model: str
    realtime: float
    source: str


BUILT_IN: Final = (
    Measured(MEASURED_MACHINE, "starter-v2", 212.0, "results/throughput-bundled.json"),
    Measured(MEASURED_MACHINE, "plus-large", 12.4, "results/peers-large-2-threads.json"),
)


@dataclass(frozen=True)
class Rates:
    """Seconds of audio a second that each part of one machine takes by itself.

    device     the network: the card, or all cores of a machine without one
    decoding   all cores, if they did nothing else
    receiving  the machine's network
    shared     whether decoding and the network take turns on the same cores
    source     the benchmark's file where `measured`; else what the estimate rests on: "cores", "products",
               "card arithmetic" or "card bandwidth"
    """

    device: float
    decoding: float
    receiving: float
    shared: bool
    measured: bool
    source: str
    expected: Expected

    def parts(self) -> dict[str, float]:
        """Return what each part would let through; the least of it is what the machine does.

        On shared cores the network gets the time that decoding leaves.
        """
        left = 1 / (1 / self.device + 1 / self.decoding) if self.shared else self.device
        cores = {} if self.shared else {"decoding": self.decoding}
        return {"device": left, **cores, "network": self.receiving}

    @property
    def throughput(self) -> float:
        """Seconds of audio a second that one machine takes."""
        return min(self.parts().values())

    @property
    def bottleneck(self) -> str:
        """Which part is the slowest: "device", "decoding" or "network"."""
        parts = self.parts()
        return min(parts, key=parts.__getitem__)


@dataclass(frozen=True)
class Audio:
    """Recordings: their mean length in seconds, kilobits of file a second of audio, and the decoding rate of a core."""

    seconds: float = 10.0
    kilobits: float = 128.0
    decoded: float = DECODED["mixed"]


def planned_on(machine: Machine, network: Network) -> Planned:
    """Return the plan that the engine would follow on `machine`."""
    made = plan(machine, network.dims.parameters)
    if free := min((card.free or 0 for card in machine.accelerators), default=0):
        made = replace(made, tape_tokens=tape_tokens_for(free, network.dims, made.arithmetic))
    return Planned(machine, EngineOptions(), network.dims.parameters, made)


def rates(
    name: str,
    planned: Planned,
    network: Network,
    audio: Audio,
    link: float,
    measured: Sequence[Measured] = (),
    core: Rate | None = None,
) -> Rates:
    """Say what one machine takes of `audio`. `link` is in Gbit/s; `core` is a core's rate if it was looked at."""
    rate = core or typical_rate(planned.machine, planned.plan.arithmetic)
    expected = expect(planned, network.dims, rate, audio.seconds)
    on_card = planned.plan.devices != ("cpu",)
    device, source = _estimated(planned, network.dims, expected, rate)
    known = next((one for one in (*measured, *BUILT_IN) if (one.machine, one.model) == (name, network.name)), None)
    return Rates(
        device=known.realtime if known else device,
        decoding=audio.decoded * planned.machine.running,
        receiving=1e6 * link / audio.kilobits,
        shared=not on_card,
        measured=known is not None,
        source=known.source if known else source,
        expected=expected,
    )


def _estimated(planned: Planned, dims: Dims, expected: Expected, rate: Rate) -> tuple[float, str]:
    """Return seconds of audio a second of the device alone, and what it rests on."""
    arithmetic = expected.seconds / expected.network
    if planned.plan.devices == ("cpu",):
        return arithmetic, "products" if rate.measured else "cores"
    moved = CARD_BANDWIDTH * sum(bandwidth_of(card.title) for card in planned.machine.accelerators)
    bandwidth = moved / moved_bytes(dims)
    return min((arithmetic, "card arithmetic"), (bandwidth, "card bandwidth"))


def moved_bytes(dims: Dims) -> float:
    """Return the bytes that a card's memory moves for a second of audio in halves, weights left out (long tapes)."""
    values, rate = 0.0, 16_000.0
    for layer in dims.convolutions:
        rate /= layer.stride
        values += _PASSES * rate * layer.channels
    values += 2 * _FRAMES * _BLOCK_VALUES * dims.embed_dim * dims.blocks
    return _HALF * values


def read_measured(path: Path) -> tuple[Measured, Machine]:
    """Read a file of `emotape bench throughput` or `emotape bench gpu`.

    Returns what it found, and the machine that it was found on. Raises BadRequest `fleet_results_unreadable`.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return _READERS[record["benchmark"]](record, str(path))
    except (OSError, UnicodeDecodeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadRequest("fleet_results_unreadable", path=path, reason=f"{type(error).__name__}: {error}") from error


def _throughput(record: dict[str, Any], source: str) -> tuple[Measured, Machine]:
    best = max(row["audio s/s"]["median"] for row in record["tables"][0]["rows"])
    machine = _machine(record)
    name = f"{record['machine']['processor']}, {machine.cores} cores"
    return Measured(name, _model(record), float(best), source), machine


def _gpu(record: dict[str, Any], source: str) -> tuple[Measured, Machine]:
    from emotape.engine.plan import Accelerator

    rows = [row for table in record["tables"] for row in table["rows"] if "share of the limit" in row]
    best = max(row["× real time"]["median"] for row in rows)
    title = str(record["settings"]["card"])
    card = Accelerator("cuda:0", title=title, capability=(9, 0), multiprocessors=1)
    machine = replace(_machine(record), accelerators=(card,))
    return Measured(f"{machine.cores} cores, {title}", _model(record), float(best), source), machine


_READERS: Final = {"throughput": _throughput, "gpu": _gpu}


def _machine(record: dict[str, Any]) -> Machine:
    sets = tuple(record["machine"]["instruction_sets"])
    bfloat16 = any("bf16" in name for name in sets)
    return Machine(int(record["machine"]["cores"]), bfloat16, memory=record["machine"]["memory"], instruction_sets=sets)


def _model(record: dict[str, Any]) -> str:
    """Return the model's name as the catalogue has it; random weights have the speed of the published ones."""
    name = str(record["settings"]["model"]).removesuffix(", random weights")
    return {"large": "plus-large", "base": "plus-base"}.get(name, name)
