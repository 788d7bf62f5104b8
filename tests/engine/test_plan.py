"""The plan is arithmetic: what it decides follows from what a machine has, and nothing is looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from emotape.engine.plan import Accelerator, Arithmetic, Machine, plan, plan_offload, tape_bytes
from emotape.model.encoder import FeatureExtractor
from tests.engine.test_tape import OFFICIAL

if TYPE_CHECKING:
    import pytest

    from emotape.engine.plan import Offload

GIB = 1 << 30
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "float8": 2}
arithmetics = st.sampled_from(get_args(Arithmetic))
frees = st.integers(0, 4 * GIB)


def offloaded(free: int | None, arithmetic: Arithmetic) -> Offload:
    return plan_offload(Accelerator("cuda:0", free, free), OFFICIAL, arithmetic)


def test_a_machine_without_accelerators_runs_on_its_processor() -> None:
    """And nothing stays off a card that is not there."""
    made = plan(Machine(cores=3), OFFICIAL.parameters)
    assert made.devices == ("cpu",)
    assert made.compute_threads == 3
    assert made.host_blocks("cpu") == 0


def test_every_accelerator_runs_the_network_and_has_its_own_offload() -> None:
    """A card that others use is no burden to its neighbour."""
    cards = (Accelerator("cuda:0", GIB // 2, GIB), Accelerator("cuda:1", 40 * GIB, 80 * GIB))
    made = plan(Machine(cores=3, accelerators=cards), OFFICIAL.parameters)
    made = replace(made, offload=tuple(plan_offload(card, OFFICIAL, "float16") for card in cards))
    assert made.devices == ("cuda:0", "cuda:1")
    assert made.host_blocks("cuda:0") > 0
    assert made.host_blocks("cuda:1") == 0


def test_halves_are_planned_only_where_every_card_multiplies_them() -> None:
    """One arithmetic for all: what the slowest card does well."""
    new, old = Accelerator("cuda:0", capability=(7, 0)), Accelerator("cuda:1", capability=(6, 1))
    planned = [
        plan(Machine(4, accelerators=cards), OFFICIAL.parameters).arithmetic for cards in ((new,), (old,), (new, old))
    ]
    assert planned == ["float16", "float32", "float32"]


@given(frees, arithmetics)
def test_blocks_stay_off_a_card_only_if_and_only_as_many_as_it_takes(free: int, arithmetic: Arithmetic) -> None:
    """What is left on the card fits with a tenth to spare, and with one block more there it would not."""
    found = offloaded(free, arithmetic)
    block = SIZES[arithmetic] * OFFICIAL.block_parameters
    room = int(0.9 * free)

    def taken(blocks: int) -> int:
        """While a block that was offloaded runs, its weights are on the card."""
        return found.needed - max(0, blocks - 1) * block

    assert 0 <= found.blocks <= OFFICIAL.blocks
    assert taken(found.blocks) <= room or found.blocks == OFFICIAL.blocks
    assert found.blocks == 0 or taken(found.blocks - 1) > room


@given(frees, frees, arithmetics)
def test_less_memory_never_means_fewer_blocks_off_the_card(one: int, other: int, arithmetic: Arithmetic) -> None:
    """More memory is never worse."""
    assert offloaded(min(one, other), arithmetic).blocks >= offloaded(max(one, other), arithmetic).blocks


def test_a_device_that_does_not_tell_its_memory_keeps_all_weights() -> None:
    """Running out is dealt with at run time; guessing would slow everybody down."""
    assert offloaded(None, "float32").blocks == 0


def test_the_large_network_in_halves_fits_two_gigabytes_whole() -> None:
    """Small cards need no offload until two thirds of a gigabyte; below half of one every block is brought."""
    assert [offloaded(int(free * GIB), "float16").blocks for free in (2, 0.7, 0.6, 0.3)] == [0, 0, 4, 12]


def test_the_room_that_is_planned_for_a_tape_is_what_a_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of the official size, all frames at once as on a card: within a tenth of what torch counts."""
    monkeypatch.setattr("emotape.model.encoder._FRAMES_IN_CACHE", 1_000_000)
    extractor, frames = FeatureExtractor(OFFICIAL), 60
    wave = torch.randn(OFFICIAL.stride * (frames - 1) + OFFICIAL.field)
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        extractor(wave)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    assert 0.9 * tape_bytes(frames, OFFICIAL, "float32") <= peak <= 1.05 * tape_bytes(frames, OFFICIAL, "float32")
