"""The part that is trained: it hears what the engine hears, batches equal clips, and broken runs end as whole ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from emotape.audio.decode import decode
from emotape.delivery.adapting.heads import Head
from emotape.delivery.adapting.lora import add_adapters
from emotape.delivery.adapting.prefix import FrozenPart, Prefix
from emotape.delivery.adapting.split import Split
from emotape.delivery.adapting.trunk import Trunk
from emotape.delivery.adapting.tuning import Lesson, TuneOptions, Tuning
from emotape.engine.runner import Clip, TorchRunner
from emotape.model import team
from emotape.model.encoder import Encoder, GeluLinear
from emotape.model.weights import load
from tests.conftest import AUDIO, GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.delivery.adapting.tuning import Course

MODEL = GOLDEN / "large_like"  # five blocks of width 32
CLASSES = 3


@pytest.fixture(scope="module")
def clips() -> list[Waveform]:
    speech = decode(AUDIO / "jfk.flac").waveforms[0]
    return [
        speech.part(5000 * start, 5000 * start + samples) for start, samples in enumerate(3 * [8000, 401, 5000, 9999])
    ]


@pytest.fixture
def encoder() -> Encoder:
    return load(MODEL).encoder


@pytest.fixture(params=[0, 24], ids=["linear", "mlp"])
def head(request: pytest.FixtureRequest) -> Head:
    return make_head(request.param)


def make_head(hidden: int = 0) -> Head:
    random = np.random.default_rng(2)
    layer = (random.standard_normal((hidden, 32)).astype(np.float32), np.zeros(hidden, np.float32)) if hidden else None
    weight = random.standard_normal((CLASSES, hidden or 32)).astype(np.float32)
    return Head(weight, np.arange(CLASSES, dtype=np.float32), layer, {})


def prefix_of(encoder: Encoder, first: int, clips: list[Waveform], folder: Path) -> Prefix:
    frozen = FrozenPart(encoder, first, "cpu")
    prefix = Prefix(folder / "prefix", frozen.width)
    for clip in clips:
        prefix.add(frozen.tokens(clip))
    return prefix.sealed()


def said(trunk: Trunk, prefix: Prefix, places: list[int]) -> np.ndarray:
    with torch.no_grad():
        logits: torch.Tensor = trunk.eval()(prefix.batch(places), [prefix.tokens[place] for place in places])
    return logits.numpy()


@pytest.mark.parametrize("first", [0, 3, 4])
def test_before_training_the_trunk_says_what_the_engines_embeddings_say(
    encoder: Encoder, clips: list[Waveform], head: Head, first: int, tmp_path: Path
) -> None:
    heard = TorchRunner(load(MODEL), threads=1).run([Clip(clip) for clip in clips])
    embeddings = np.stack([found.embedding for found in heard])
    prefix = prefix_of(encoder, first, clips, tmp_path)
    found = said(Trunk(encoder, first, head), prefix, list(range(len(clips))))
    np.testing.assert_allclose(found, head.logits(embeddings), atol=1e-4)


def test_a_batch_equals_its_clips_alone_gradients_included(
    encoder: Encoder, clips: list[Waveform], tmp_path: Path
) -> None:
    """There is no padding that a clip could read."""
    prefix = prefix_of(encoder, 2, clips, tmp_path)
    gradients = []
    for batches in ([[0, 1, 2, 3]], [[0], [1], [2], [3]]):
        trunk = Trunk(encoder, 2, make_head()).eval()
        trunk.requires_grad_(requires_grad=True)
        for batch in batches:
            trunk(prefix.batch(batch), [prefix.tokens[place] for place in batch]).square().sum().backward()
        gradients.append([values.grad for values in trunk.parameters()])
    for together, alone in zip(*gradients, strict=True):
        assert together is not None
        assert torch.allclose(together, alone, rtol=1e-3, atol=1e-4 * float(together.abs().max()))


def test_making_activations_anew_changes_no_gradient(encoder: Encoder, clips: list[Waveform], tmp_path: Path) -> None:
    prefix = prefix_of(encoder, 3, clips, tmp_path)
    gradients = []
    for again in (False, True):
        trunk = Trunk(encoder, 3, make_head())
        trunk.requires_grad_(requires_grad=True)
        trunk.again = again
        torch.manual_seed(0)
        trunk(prefix.batch([0, 1]), prefix.tokens[:2]).sum().backward()
        gradients.append([values.grad for values in trunk.parameters()])
    assert all(torch.allclose(kept, made, atol=1e-6) for kept, made in zip(*gradients, strict=True))


def test_training_leaves_the_base_alone(encoder: Encoder, clips: list[Waveform], tmp_path: Path) -> None:
    prefix_of(encoder, 4, clips, tmp_path)
    before = load(MODEL).encoder.blocks[4].state_dict()
    trunk = Trunk(encoder, 4, make_head())
    with torch.no_grad():
        for values in trunk.parameters():
            values.add_(1)
    after = load(MODEL).encoder.blocks[4].state_dict()
    assert all(torch.equal(values, after[name]) for name, values in before.items())


def test_merged_adapters_say_what_they_said_beside_the_weights(
    encoder: Encoder, clips: list[Waveform], tmp_path: Path
) -> None:
    """And before they learn anything, they change nothing; afterwards the layers are the network's own again."""
    prefix = prefix_of(encoder, 3, clips, tmp_path)
    plain = said(Trunk(encoder, 3, make_head()), prefix, [0, 1, 2])
    trunk = Trunk(encoder, 3, make_head())
    adapters = add_adapters(trunk, 4)
    np.testing.assert_allclose(said(trunk, prefix, [0, 1, 2]), plain, atol=1e-5)
    learned = {name for name, values in trunk.named_parameters() if values.requires_grad}
    assert {name for name in learned if "lora_" not in name} == {"head.weight", "head.bias"}
    assert len(learned) == 2 + 2 * 4 * 2, "two matrices for each of four layers in two blocks"
    with torch.no_grad():
        for name, values in trunk.named_parameters():
            if "lora_B" in name:
                values.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    beside = said(trunk, prefix, [0, 1, 2])
    adapters.merge()
    assert np.abs(beside - plain).max() > 0.01
    np.testing.assert_allclose(said(trunk, prefix, [0, 1, 2]), beside, atol=1e-4)
    assert {name for name, _ in trunk.named_parameters()} == {
        name for name, _ in Trunk(encoder, 3, make_head()).named_parameters()
    }
    assert all(type(block.get_submodule("fc1")) is GeluLinear for block in trunk.blocks)


class Course3:
    """Three epochs on a dozen clips, whose class follows from their number."""

    def __init__(self, prefix: Prefix, notebook: Path) -> None:
        places = np.arange(len(prefix.tokens))
        self._lesson = Lesson(
            prefix, places % CLASSES, Split(places[places % 4 > 0], places[places % 4 == 0], "given"), CLASSES
        )
        self._notebook = notebook

    def tuning(self, device: str = "cpu", **options: int) -> Tuning:
        trunk = Trunk(load(MODEL).encoder, 4, make_head())
        trunk.requires_grad_(requires_grad=True)
        asked = TuneOptions(**{"epochs": 3, "patience": 9, "frames": 60, **options})
        return Tuning(trunk, self._lesson, asked, device, self._notebook)


@pytest.fixture
def course(encoder: Encoder, clips: list[Waveform], tmp_path: Path) -> Course3:
    return Course3(prefix_of(encoder, 4, clips, tmp_path), tmp_path / "run")


def weights_of(tuning: Tuning) -> dict[str, torch.Tensor]:
    return {name: values.detach().clone() for name, values in tuning._trunk.named_parameters()}


def after(epoch: int) -> object:
    """Press Ctrl-C after an epoch."""

    def tell(done: int, _: float, __: float) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    return tell


def ignored(*_: object) -> None:
    """Listen to nobody."""


@pytest.mark.parametrize(("large", "threads"), [(True, 2), (False, 1)])
def test_a_block_of_a_large_network_is_trained_by_all_threads(
    course: Course3, monkeypatch: pytest.MonkeyPatch, large: bool, threads: int
) -> None:
    """What counts is how wide products are, so the whole network, not how few of its blocks learn."""
    tuning = course.tuning(epochs=1)
    network, trunk = load(MODEL).dims.parameters, sum(values.numel() for values in tuning._trunk.parameters())
    assert trunk < network
    monkeypatch.setattr(team, "LARGE", network if large else network + 1)
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        tuning.run(lambda *_: seen.append(torch.get_num_threads()))
    finally:
        torch.set_num_threads(before)
    assert seen == [threads]


def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(course: Course3, tmp_path: Path) -> None:
    whole = course.tuning()
    wanted: Course = whole.run(ignored)
    (tmp_path / "run").unlink()
    broken = course.tuning().run(after(2))  # type: ignore[arg-type]
    assert (broken.interrupted, broken.epoch) == (True, 2)
    resumed = course.tuning()
    found = resumed.run(ignored)
    assert (found.epoch, found.best_epoch, found.recalls) == (3, wanted.best_epoch, wanted.recalls)
    for name, values in weights_of(whole).items():
        assert torch.equal(values, weights_of(resumed)[name]), name


def test_the_best_epoch_is_kept_and_an_interruption_keeps_it_too(course: Course3) -> None:
    for tell in (ignored, after(1)):
        tuning = course.tuning()
        done = tuning.run(tell)  # type: ignore[arg-type]
        assert done.recalls[done.best_epoch] == max(done.recalls)
        assert all(torch.equal(values, done.best[name]) for name, values in weights_of(tuning).items())


def test_training_ends_when_dev_gets_no_better(course: Course3) -> None:
    done = course.tuning(epochs=30, patience=2).run(ignored)
    assert done.epoch == min(30, done.best_epoch + 2)


def test_a_damaged_notebook_is_no_harm(course: Course3, tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"no notebook")
    assert course.tuning(epochs=1).run(ignored).epoch == 1


def test_batches_hold_every_recording_once_and_about_the_frames_asked_for(course: Course3) -> None:
    tuning = course.tuning(frames=60)
    batches = list(tuning._batches(range(12)))
    assert [place for batch in batches for place in batch] == list(range(12))
    tokens = tuning._lesson.prefix.tokens
    assert all(sum(tokens[place] for place in batch[:-1]) < 60 for batch in batches)


def test_a_card_that_learns_in_bfloat16_is_judged_in_fp32(course: Course3) -> None:
    """As on a card, with a processor's products: loss and figures are made of fp32, and weights stay so."""
    plain, halved = course.tuning(epochs=1), course.tuning(epochs=1)
    halved._halves = True
    losses: list[float] = []
    assert np.array_equal(halved.logits(range(12)), plain.logits(range(12)))
    halved.run(lambda _, loss, __: losses.append(loss))
    assert losses
    halved._trunk.train()
    learned = halved._heard([0, 1])
    assert learned.dtype == torch.float32
    assert {values.dtype for values in weights_of(halved).values()} == {torch.float32}


def test_only_cards_with_units_for_bfloat16_learn_in_it(course: Course3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones emulate it, more slowly than fp32."""
    monkeypatch.setattr(Trunk, "to", lambda trunk, _: trunk)
    monkeypatch.setattr(torch.Tensor, "to", lambda values, *_: values)
    for capability, halves in (((7, 5), False), ((8, 0), True), ((12, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert course.tuning(device="cuda:0")._halves is halves
    assert not course.tuning()._halves


def test_what_is_resumed_on_a_card_counts_its_steps_on_the_processor(course: Course3) -> None:
    """Each count on the card would be waited for at every step."""
    course.tuning().run(after(1))  # type: ignore[arg-type]
    resumed = course.tuning()
    resumed._device = torch.device("meta")
    assert resumed._resume()
    found = [state["step"] for state in resumed._optimizer.state.values()] + list(resumed.course.best.values())
    assert {values.device.type for values in found} == {"cpu"}
