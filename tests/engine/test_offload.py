"""Offload: weights that stay in the machine's memory change where they lie, and nothing else.

"cpu:0" stands for an accelerator here: to the engine every device but "cpu" is one, so all its lines run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from emotape import EngineOptions, Recognizer, RecognizerOptions
from emotape.engine import loading, resident
from emotape.engine.offload import HostBlock, offload
from emotape.engine.parity import Verdict
from emotape.engine.plan import Accelerator, plan_offload
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import BadRequest, EngineFault
from emotape.events import Event, ModelLoaded, WeightsOffloaded
from emotape.model.dims import read_dims
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO, GOLDEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.engine.plan import Machine, Plan
    from emotape.engine.result import Prediction
    from emotape.model.encoder import Encoder

BUNDLED = bundled_model().path
DIMS = read_dims(BUNDLED / "config.yaml", classes=9)
SPEECH = AUDIO / "jfk.flac"


def options(**engine: Any) -> RecognizerOptions:
    return RecognizerOptions(engine=EngineOptions(device="cpu:0", **engine))


def answer(found: list[Event], chosen: RecognizerOptions) -> Prediction:
    with Recognizer(options=chosen, observer=found.append) as recognizer:
        return recognizer.recognize(SPEECH, granularity="frame", embedding=True)


def same(one: Prediction, other: Prediction) -> bool:
    """Whether all numbers of two predictions are the same to the last bit."""
    assert one.frames is not None
    assert one.embedding is not None
    frames, embedding = other.frames, other.embedding
    return (
        one.scores == other.scores and np.array_equal(one.frames, frames) and np.array_equal(one.embedding, embedding)  # type: ignore[arg-type]
    )


def told(found: Sequence[Event]) -> list[WeightsOffloaded]:
    return [event for event in found if isinstance(event, WeightsOffloaded)]


def on_device(encoder: Encoder, device: str) -> int:
    """Count the parameters that the network holds on a device."""
    return sum(value.numel() for value in encoder.parameters() if value.device.type == device)


@pytest.fixture(scope="module")
def plain() -> Prediction:
    """Real speech through the bundled model, every weight where the network runs."""
    events: list[Event] = []
    prediction = answer(events, options(dtype="float32", offload=0))
    assert not told(events)
    return prediction


@pytest.fixture
def brought() -> Iterator[set[HostBlock]]:
    """The blocks that ran on weights from elsewhere."""
    ran: set[HostBlock] = set()

    def note(module: torch.nn.Module, *_: object) -> None:
        if isinstance(module, HostBlock):
            ran.add(module)

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    yield ran
    handle.remove()


@pytest.mark.parametrize("blocks", [1, 2, DIMS.blocks])
def test_offloaded_answers_are_equal_to_the_last_bit(plain: Prediction, blocks: int, brought: set[HostBlock]) -> None:
    """One block, two or all of them: same scores, frames and embedding, and the fact is stated."""
    events: list[Event] = []
    assert same(plain, answer(events, options(dtype="float32", offload=blocks)))
    assert len(brought) == blocks
    assert [(event.device, event.blocks) for event in told(events)] == [("cpu:0", blocks)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_equal_to_the_last_bit_too(noise: Waveform, dtype: torch.dtype) -> None:
    """Moving weights rounds nothing, whatever the arithmetic; several clips lie on the tape."""
    clips = [Clip(noise.part(0, 9_000), frame_embeddings=True), Clip(noise.part(7_000, 12_000))]
    wanted = TorchRunner(load(GOLDEN / "large_like", dtype))
    halved = load(GOLDEN / "large_like", dtype)
    offload(halved.encoder, 2, "cpu")
    found = TorchRunner(halved)
    for one, other in zip(wanted.run(clips), found.run(clips), strict=True):
        assert np.array_equal(one.embedding, other.embedding)
        assert np.array_equal(one.frame_logits, other.frame_logits)  # type: ignore[arg-type]


@pytest.mark.parametrize("blocks", range(DIMS.blocks + 1))
def test_the_device_holds_less_by_exactly_the_blocks_that_stay(blocks: int) -> None:
    """On torch's device without memory, which counts as well as any."""
    encoder = load(BUNDLED).encoder
    every = on_device(encoder, "cpu")
    moved = offload(encoder, blocks, "meta").to("meta")
    assert on_device(moved, "meta") == every - blocks * DIMS.block_parameters
    assert on_device(moved, "cpu") == 0


def test_weights_at_home_keep_place_and_values_and_let_go_of_the_file() -> None:
    """Moving and converting the network reaches none of them, and they are copies."""
    encoder, original = load(BUNDLED).encoder, load(BUNDLED).encoder
    places = [value.data_ptr() for value in encoder.blocks[-1].parameters()]
    home = encoder.blocks[-1]
    offload(encoder, 1, "cpu").to("meta", torch.float16)
    for value, wanted, place in zip(home.parameters(), original.blocks[-1].parameters(), places, strict=True):
        assert value.data_ptr() != place
        assert torch.equal(value, wanted)


def test_weights_are_brought_to_where_the_input_lies() -> None:
    """The input is on another device than the weights; so is the output, and the weights are home again after."""
    block = load(BUNDLED).encoder.blocks[0]
    x = torch.empty(7, DIMS.embed_dim, device="meta")
    with torch.inference_mode():
        y = HostBlock(block, pinned=False)(x, lambda query, key, value: value)
    assert y.device.type == "meta"
    assert y.shape == x.shape
    assert {value.device.type for value in block.parameters()} == {"cpu"}


def test_a_card_short_of_memory_gets_as_many_blocks_as_the_plan_says(
    plain: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked for: free memory alone decides, and the stated fact holds the reason."""
    free = int(plan_offload(Accelerator("cpu:0"), DIMS, "float32").needed / 0.9) - 4 * DIMS.block_parameters
    monkeypatch.setattr(resident, "_accelerators", lambda device: (Accelerator("cpu:0", free, 2 * free),))
    events: list[Event] = []
    assert same(plain, answer(events, options(dtype="float32")))
    assert told(events) == [
        WeightsOffloaded("cpu:0", 2, plan_offload(Accelerator("cpu:0"), DIMS, "float32").needed, free)
    ]


def test_a_refused_arithmetic_is_planned_for_anew(plain: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in fp32 take twice the room of the halves that were planned: more of them stay off the card."""
    free = int(plan_offload(Accelerator("cpu:0"), DIMS, "bfloat16").needed / 0.9) + 1
    made: list[Plan] = []

    def planned(chosen: EngineOptions, directory: Path, machine: Machine) -> Plan:
        dtype = "bfloat16" if chosen.dtype == "auto" else chosen.dtype
        made.append(make_plan(replace(chosen, dtype=dtype), directory, machine))
        return made[-1]

    make_plan = resident.make_plan
    monkeypatch.setattr(resident, "make_plan", planned)
    monkeypatch.setattr(resident, "_accelerators", lambda device: (Accelerator("cpu:0", free, free),))
    refused, fine = Verdict(1.0, same_labels=False), Verdict(0.0, same_labels=True)
    monkeypatch.setattr(loading, "recall", lambda notes, key: refused if "bfloat16" in key else fine)
    events: list[Event] = []
    assert same(plain, answer(events, options()))
    assert [(each.arithmetic, each.host_blocks("cpu:0")) for each in made] == [
        ("bfloat16", 0),
        ("float32", DIMS.blocks),
    ]
    assert [event.blocks for event in told(events)] == [DIMS.blocks]
    assert [event.dtype for event in events if isinstance(event, ModelLoaded)] == ["float32"]


@pytest.mark.parametrize("wanted", [-1, DIMS.blocks + 1])
def test_blocks_that_the_network_does_not_have_are_refused(wanted: int) -> None:
    """The text says how many there are."""
    with pytest.raises(BadRequest, match=rf"offload_beyond_network.*{DIMS.blocks} blocks"):
        Recognizer(options=options(offload=wanted)).open()


def test_without_an_accelerator_offload_is_refused_unless_it_is_none() -> None:
    """Whoever saves a card's memory believes that there is one; 0 asks for nothing."""
    refused = EngineOptions(device="cpu", offload=1)
    with pytest.raises(BadRequest, match="offload_needs_accelerator"):
        Recognizer(options=RecognizerOptions(engine=refused)).open()
    Recognizer(options=RecognizerOptions(engine=EngineOptions(device="cpu", offload=0))).open().close()


def test_a_card_too_full_for_the_network_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch raises at loading becomes one of ours, which names the option that helps."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 26 MiB.\nmore lines")

    monkeypatch.setattr("emotape.engine.offload.offload", full)
    with pytest.raises(EngineFault, match=r"device_full.*cpu:0.*26 MiB.*--offload") as caught:
        Recognizer(options=options()).open()
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
