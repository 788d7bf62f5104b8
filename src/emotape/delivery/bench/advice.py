"""`emotape bench advice`: what tuning guides for this network advise, each claim measured on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from emotape.delivery.bench import claims_processes, claims_turns, machine
from emotape.delivery.bench.claim import Given, Measured
from emotape.delivery.bench.reference import installed
from emotape.delivery.bench.report import Findings
from emotape.delivery.bench.subject import Choice, subject
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CLAIMS: Final[dict[str, Callable[[Given], Measured]]] = {
    "decoding-threads": claims_processes.decoding_threads,
    "network-threads": claims_processes.network_threads,
    "resident": claims_turns.resident,
    "halves": claims_processes.halves,
    "halves-speed": claims_turns.halves_speed,
    "batches": claims_turns.batches,
    "collecting": claims_processes.collecting,
    "cache": claims_turns.cache,
    "card": claims_turns.card,
}
CLAIMS: Final = tuple(_CLAIMS)
_OF_THE_REFERENCE: Final = frozenset({"resident", "halves", "halves-speed", "batches", "card"})


@dataclass(frozen=True)
class AdviceOptions:
    """Which claims (none named: all that this machine can show), with which model, clips and threads, how often."""

    choice: Choice = field(default_factory=Choice)
    claims: tuple[str, ...] = ()
    seconds: float = 3.0
    threads: int | None = None
    runs: int = 5
    device: str | None = None
    redis: str | None = None


def measure(options: AdviceOptions, tell: Callable[[str], None]) -> Findings:
    """Measure claim after claim.

    Raises BadRequest (`bench_unknown`, `bench_peer_missing`, `bench_no_card`), ModelFault and EngineFault.
    """
    for name in options.claims:
        if name not in _CLAIMS:
            raise BadRequest("bench_unknown", name=name, known=", ".join(CLAIMS))
    left_out = {} if options.claims else _impossible(options.device)
    wanted = options.claims or tuple(name for name in CLAIMS if name not in left_out)
    found: list[Measured] = []
    official = installed("funasr") and not _OF_THE_REFERENCE.isdisjoint(wanted)
    with subject(options.choice, official=official) as model, TemporaryDirectory(prefix="emotape-bench-") as folder:
        threads = options.threads or machine.cores()
        about = (options.seconds, threads, options.runs, options.device, options.redis)
        given = Given(model, *about, Path(folder), tell)
        for name in wanted:
            tell(f"{name}: {options.runs} rounds")
            found.append(_CLAIMS[name](given))
        facts = model.facts() | {
            "claims": wanted, "seconds": options.seconds, "threads": threads, "runs": options.runs,
        }  # fmt: skip
    return _findings(found, facts, [f"{name} was left out: {why}" for name, why in left_out.items()])


def _impossible(device: str | None) -> dict[str, str]:
    """Return the claims that cannot be shown here, each with the reason."""
    import torch

    missing = "funasr is not installed (pip install 'emotape[peer]')"
    found = {} if installed("funasr") else dict.fromkeys(sorted(_OF_THE_REFERENCE), missing)
    if device is None and not torch.cuda.is_available():
        found["card"] = "there is no graphics card"
    return found


def _findings(found: Sequence[Measured], facts: dict[str, object], left_out: Sequence[str]) -> Findings:
    notes = (*left_out, *(note for one in found for note in one.notes))
    tables, charts = tuple(one.table() for one in found), tuple(one.chart() for one in found)
    samples = tuple(sample for one in found for sample in one.samples())
    return Findings("advice", facts, tables, charts, samples, notes)
