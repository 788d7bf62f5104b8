# ruff: noqa: E501 - the table is read row by row
"""What is decided on thirty machines: a table to read, so that a change of the plan shows whom it touches.

GB are 10^9 bytes. A card is (title, free GB, total GB, capability, multiprocessors).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from emotape.delivery.bench import random_model
from emotape.engine.choices import Planned, choices
from emotape.engine.plan import Accelerator, Machine
from emotape.engine.resident import EngineOptions, make_plan
from emotape.wording import interface_text

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.engine.plan import Plan

GB = 10**9
AVX2 = ("avx2", "fma")
BF16 = (*AVX2, "avx512f", "avx512_bf16", "avx512_vnni")
AMX = (*BF16, "amx_bf16", "amx_int8")
Card = tuple[str, float, float, tuple[int, int], int]

GT_1030: Card = ("NVIDIA GeForce GT 1030", 1.7, 2.1, (6, 1), 3)
MX_150_FULL: Card = ("NVIDIA GeForce MX150", 0.6, 2.1, (6, 1), 3)
RTX_3060: Card = ("NVIDIA GeForce RTX 3060 Laptop GPU", 5.6, 6.4, (8, 6), 30)
T4: Card = ("Tesla T4", 15.3, 15.8, (7, 5), 40)
A10: Card = ("NVIDIA A10", 23.2, 23.8, (8, 6), 72)
A100_FULL: Card = ("NVIDIA A100-SXM4-40GB", 0.5, 42.4, (8, 0), 108)
H200: Card = ("NVIDIA H200", 149.0, 150.1, (9, 0), 132)
MIG_10: Card = ("NVIDIA A100-SXM4-40GB MIG 2g.10gb", 10.0, 10.4, (8, 0), 28)
MIG_1: Card = ("NVIDIA H200 MIG 1g.18gb", 1.0, 18.2, (9, 0), 16)
MIG_03: Card = ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 0.3, 5.0, (8, 0), 14)


@dataclass(frozen=True)
class Row:
    """A machine, a size of network, and what is decided."""

    name: str
    size: str
    machine: Machine
    decided: str


def machine(cores: int, gigabytes: float | None, sets: tuple[str, ...] = AVX2, *cards: Card, **more: object) -> Machine:
    accelerators = tuple(
        Accelerator(f"cuda:{place}", int(free * GB), int(total * GB), title, capability, units)
        for place, (title, free, total, capability, units) in enumerate(cards)
    )
    memory = None if gigabytes is None else int(gigabytes * GB)
    known = {"memory": memory, "memory_free": memory, "instruction_sets": sets, **more}
    return Machine(cores, "avx512_bf16" in sets, accelerators, **known)  # type: ignore[arg-type]


ROWS = [
    Row(
        "a laptop with a 2 GB card",
        "large",
        machine(8, 16, AVX2, GT_1030, physical=4),
        "cuda:0 float32 1x4 tape 4096 off 0 decode 8t8p queue 14400 cache 62 sound 7585",
    ),
    Row(
        "a laptop whose 2 GB card others fill",
        "large",
        machine(8, 8, AVX2, MX_150_FULL, physical=4),
        "cuda:0 float32 1x4 tape 1620 off 12 decode 8t8p queue 12500 cache 31 sound 3600",
    ),
    Row(
        "a laptop with an RTX 3060 of 6 GB",
        "large",
        machine(12, 16, AVX2, RTX_3060, physical=6),
        "cuda:0 float16 1x6 tape 16384 off 0 decode 8t12p queue 21600 cache 62 sound 7425",
    ),
    Row(
        "a laptop without a card",
        "large",
        machine(8, 16, AVX2, physical=4),
        "cpu float32 1x4 tape 128 off - decode 8t8p queue 14400 cache 62 sound 7260",
    ),
    Row(
        "the same, bundled model",
        "small",
        machine(8, 16, AVX2, physical=4),
        "cpu float32 4x1 tape 1620 off - decode 8t8p queue 14400 cache 62 sound 7580",
    ),
    Row(
        "an old desktop",
        "base",
        machine(4, 8, ()),
        "cpu float32 1x4 tape 128 off - decode 4t4p queue 7200 cache 31 sound 3574",
    ),
    Row(
        "a T4 beside 8 GB of memory",
        "large",
        machine(4, 8, AVX2, T4),
        "cuda:0 float16 1x4 tape 16384 off 0 decode 4t4p queue 7200 cache 31 sound 3760",
    ),
    Row(
        "two T4",
        "large",
        machine(8, 30, AVX2, T4, T4),
        "cuda:0+cuda:1 float16 1x8 tape 16384 off 0/0 decode 8t8p queue 14400 cache 117 sound 14557",
    ),
    Row(
        "a T4, bundled model",
        "small",
        machine(4, 16, AVX2, T4),
        "cuda:0 float32 1x4 tape 16384 off 0 decode 4t4p queue 7200 cache 62 sound 7745",
    ),
    Row(
        "an A10 in a 32-core server",
        "large",
        machine(64, 256, BF16, A10, physical=32),
        "cuda:0 float16 1x32 tape 16384 off 0 decode 8t32p queue 115200 cache 256 sound 126528",
    ),
    Row(
        "an A100 that others fill",
        "large",
        machine(16, 128, AVX2, A100_FULL),
        "cuda:0 float16 1x16 tape 1620 off 9 decode 8t16p queue 28800 cache 256 sound 63168",
    ),
    Row(
        "an H200",
        "large",
        machine(16, 137, AMX, H200),
        "cuda:0 float16 1x16 tape 16384 off 0 decode 8t16p queue 28800 cache 256 sound 67668",
    ),
    Row(
        "an H200, base size",
        "base",
        machine(16, 137, AMX, H200),
        "cuda:0 float16 1x16 tape 16384 off 0 decode 8t16p queue 28800 cache 256 sound 67668",
    ),
    Row(
        "eight H200",
        "large",
        machine(192, 2000, AMX, *([H200] * 8), physical=96),
        "cuda:0+cuda:1+cuda:2+cuda:3+cuda:4+cuda:5+cuda:6+cuda:7 float16 1x96 tape 16384 off 0/0/0/0/0/0/0/0 decode 8t32p queue 345600 cache 256 sound 998528",
    ),
    Row(
        "a slice of 10 GB",
        "large",
        machine(8, 64, AVX2, MIG_10),
        "cuda:0 float16 1x8 tape 16384 off 0 decode 8t8p queue 14400 cache 250 sound 31491",
    ),
    Row(
        "a slice with 1 GB left",
        "large",
        machine(8, 64, AVX2, MIG_1),
        "cuda:0 float16 1x8 tape 8192 off 0 decode 8t8p queue 14400 cache 250 sound 31491",
    ),
    Row(
        "a slice with 0.3 GB left",
        "large",
        machine(8, 64, AVX2, MIG_03),
        "cuda:0 float16 1x8 tape 1620 off 12 decode 8t8p queue 14400 cache 250 sound 31491",
    ),
    Row(
        "a quota of 1.5 on 4 cores",
        "large",
        machine(4, 8, BF16, quota=1.5),
        "cpu bfloat16 1x2 tape 128 off - decode 2t0p queue 3600 cache 31 sound 3758",
    ),
    Row(
        "the same, bundled model",
        "small",
        machine(4, 8, BF16, quota=1.5),
        "cpu float32 2x1 tape 1620 off - decode 2t0p queue 3600 cache 31 sound 3916",
    ),
    Row(
        "a quota of 1.1 on 8 cores",
        "large",
        machine(8, 8, BF16, quota=1.1),
        "cpu bfloat16 1x1 tape 128 off - decode 1t0p queue 1800 cache 31 sound 3758",
    ),
    Row(
        "a quota of half a core",
        "large",
        machine(4, 2, AVX2, quota=0.5),
        "cpu float32 1x1 tape 128 off - decode 1t0p queue 1800 cache 16 sound 603",
    ),
    Row(
        "a quota above the cores",
        "large",
        machine(2, 8, AVX2, quota=16.0),
        "cpu float32 1x2 tape 128 off - decode 2t0p queue 3600 cache 31 sound 3596",
    ),
    Row(
        "a container with 1 GB",
        "small",
        machine(8, 1, AVX2),
        "cpu float32 8x1 tape 1620 off - decode 8t3p queue 1562 cache 16 sound 303",
    ),
    Row(
        "a container with 1 GB, large",
        "large",
        machine(8, 1, AVX2),
        "cpu float32 1x8 tape 128 off - decode 8t3p queue 1562 cache 16 sound 100",
    ),
    Row(
        "a board with 4 cores and 2 GB",
        "small",
        machine(4, 2, ("asimd",)),
        "cpu float32 4x1 tape 1620 off - decode 4t4p queue 3125 cache 16 sound 763",
    ),
    Row(
        "a board with 4 cores and 2 GB, large",
        "large",
        machine(4, 2, ("asimd",)),
        "cpu float32 1x4 tape 128 off - decode 4t4p queue 3125 cache 16 sound 443",
    ),
    Row(
        "a virtual machine with 1 core",
        "small",
        machine(1, 1, AVX2),
        "cpu float32 1x1 tape 1620 off - decode 1t0p queue 1562 cache 16 sound 423",
    ),
    Row(
        "a virtual machine with 2 cores and bf16",
        "large",
        machine(2, 25.3, BF16, physical=2),
        "cpu bfloat16 1x2 tape 128 off - decode 2t0p queue 3600 cache 98 sound 12374",
    ),
    Row(
        "the same, bundled model",
        "small",
        machine(2, 25.3, BF16, physical=2),
        "cpu float32 2x1 tape 1620 off - decode 2t0p queue 3600 cache 98 sound 12532",
    ),
    Row(
        "a server with 64 cores",
        "large",
        machine(128, 256, BF16, physical=64),
        "cpu bfloat16 4x16 tape 128 off - decode 8t8p queue 230400 cache 256 sound 127325",
    ),
    Row(
        "the same, bundled model",
        "small",
        machine(128, 256, BF16, physical=64),
        "cpu float32 8x1 tape 1620 off - decode 8t8p queue 230400 cache 256 sound 127483",
    ),
    Row(
        "a server with 24 cores and AMX",
        "large",
        machine(24, 96, AMX),
        "cpu bfloat16 2x12 tape 128 off - decode 8t8p queue 43200 cache 256 sound 47325",
    ),
    Row(
        "macOS, which tells neither affinity nor what is free",
        "large",
        machine(10, None, ()),
        "cpu float32 1x10 tape 128 off - decode 8t8p queue 18000 cache 64 sound 2147",
    ),
    Row(
        "macOS on its own accelerator",
        "large",
        Machine(10, accelerators=(Accelerator("mps"),), memory=16 * GB),
        "mps float32 1x10 tape 1620 off 0 decode 8t10p queue 18000 cache 62 sound 3505",
    ),
]


def words(plan: Plan) -> str:
    """Put what was decided on one line."""
    off = "/".join(str(each.blocks) for each in plan.offload)
    return (
        f"{'+'.join(plan.devices)} {plan.arithmetic} {plan.replicas}x{plan.compute_threads} tape {plan.tape_tokens}"
        f" off {off or '-'} decode {plan.decode_threads}t{plan.decode_processes}p queue {plan.queue_seconds:.0f}"
        f" cache {plan.cache_megabytes:.0f} sound {plan.decoded_megabytes:.0f}"
    )


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Configurations of the published sizes, and of one so small that its time goes into calls."""
    found = {}
    for name, size in (random_model.SIZES | {"small": random_model.Size(192, 3, 2, 2, 64)}).items():
        found[name] = tmp_path_factory.mktemp(name)
        (found[name] / "config.yaml").write_text(yaml.safe_dump(random_model._config(size)), encoding="utf-8")
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_table_of_machines(row: Row, sizes: dict[str, Path]) -> None:
    """Every decision on every machine; and threads that multiply are never more than can run."""
    plan = make_plan(EngineOptions(), sizes[row.size], row.machine)
    assert words(plan) == row.decided
    assert plan.replicas * plan.compute_threads <= row.machine.running <= row.machine.cores


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_choice_has_its_reason_in_both_languages(row: Row, sizes: dict[str, Path]) -> None:
    """And the figures that the sentences need are there."""
    plan = make_plan(EngineOptions(), sizes[row.size], row.machine)
    found = choices(Planned(row.machine, EngineOptions(), 162_000_000 if row.size == "large" else 2_000_000, plan))
    for choice in found:
        english, chinese = (interface_text(choice.reason, language, **choice.facts) for language in ("en", "zh"))
        assert english != chinese
        assert "{" not in english + chinese
        assert interface_text(f"plan_name_{choice.name}", "zh")


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("a laptop with a 2 GB card", "card float32 one_for_each_card physical tape_card fits"),
        ("a laptop whose 2 GB card others fill", "card float32 one_for_each_card physical tape_card offload"),
        ("a laptop without a card", "no_card float32 one_team physical tape_large offload_processor"),
        ("the same, bundled model", "no_card small_exact small_side_by_side small_alone tape_small offload_processor"),
        ("a T4, bundled model", "card small_exact one_for_each_card cores tape_card fits"),
    ],
)
def test_a_choice_is_told_with_its_own_reason(name: str, reasons: str, sizes: dict[str, Path]) -> None:
    row = next(row for row in ROWS if row.name == name)
    plan = make_plan(EngineOptions(), sizes[row.size], row.machine)
    told = choices(Planned(row.machine, EngineOptions(), 162_000_000 if row.size == "large" else 2_000_000, plan))
    found = {choice.name: choice.reason.removeprefix("plan_") for choice in told}
    assert list(found.values())[:6] == reasons.split()


def test_what_the_user_decides_is_taken_and_said(sizes: dict[str, Path]) -> None:
    """Every option that overrides a choice shows up as the user's own."""
    here = machine(8, 16, BF16)
    options = EngineOptions("cpu", "int8", 3, 5, 999, 77.0, 0, 2, 55.0)
    plan = make_plan(options, sizes["large"], here)
    taken = (plan.arithmetic, plan.compute_threads, plan.decode_threads, plan.tape_tokens, plan.queue_seconds)
    assert taken == ("int8", 3, 5, 999, 77.0)
    assert (plan.decode_processes, plan.decoded_megabytes) == (2, 55.0)
    reasons = {choice.name: choice.reason for choice in choices(Planned(here, options, 162_000_000, plan))}
    assert {name for name, reason in reasons.items() if reason != "plan_asked"} == {"replicas", "cache_megabytes"}


def test_threads_that_are_asked_for_are_shared_out_in_a_small_network(sizes: dict[str, Path]) -> None:
    """Three threads are three tapes with one thread each, on however many cores."""
    plan = make_plan(EngineOptions(compute_threads=3), sizes["small"], machine(8, 16))
    assert (plan.replicas, plan.compute_threads) == (3, 1)
