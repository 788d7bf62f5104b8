"""The parity gate: a faster arithmetic is used only if it says what fp32 says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from emotape import EngineOptions, Recognizer, RecognizerOptions
from emotape.engine import loading, resident
from emotape.engine.parity import BOUND, Verdict, compare, recall, remember
from emotape.engine.plan import Accelerator, Machine, plan
from emotape.engine.runner import ClipScores, TorchRunner
from emotape.events import Event, PrecisionRefused
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO, GOLDEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.engine.runner import Clip
    from emotape.model.dims import Dims


class Shifted:
    """A runner whose logits are those of another, moved."""

    device = "fake"

    def __init__(self, inner: TorchRunner, shift: Sequence[float]) -> None:
        self.inner = inner
        self.dims: Dims = inner.dims
        self.shift = np.array(shift, np.float32)

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        return [
            ClipScores(scores.embedding, None if scores.logits is None else scores.logits + self.shift, None)
            for scores in self.inner.run(clips)
        ]


@pytest.fixture(scope="module")
def exact() -> TorchRunner:
    """The bundled network in fp32."""
    return TorchRunner(load(bundled_model().path))


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_the_real_arithmetics_agree_on_the_bundled_weights(exact: TorchRunner, arithmetic: Any) -> None:
    """Trained weights, recorded speech: what the plan chooses on a processor passes the gate."""
    verdict = compare(TorchRunner(load(bundled_model().path, None), arithmetic=arithmetic), exact)
    assert verdict.agrees, verdict


def test_8_bits_name_the_same_labels_on_the_bundled_weights(exact: TorchRunner) -> None:
    """A small network loses more by 8 bits than the gate lets pass; whoever forces them gets the same labels."""
    verdict = compare(TorchRunner(load(bundled_model().path, None), arithmetic="int8"), exact)
    assert verdict.same_labels
    assert verdict.worst < 0.1


@pytest.mark.parametrize("shift", [[8.0] + [0.0] * 8, [20.0] + [0.0] * 8, [float("nan")] * 9])
def test_what_strays_is_refused(exact: TorchRunner, shift: list[float]) -> None:
    """Other scores, other labels, or no numbers at all."""
    verdict = compare(Shifted(exact, shift), exact)
    assert not verdict.agrees
    assert verdict.worst > BOUND


def test_a_label_counts_only_where_fp32_is_clear(exact: TorchRunner) -> None:
    """The same scores moved by next to nothing agree, near ties or not."""
    assert compare(Shifted(exact, [1e-4] + [0.0] * 8), exact).agrees


class Fixed:
    """A runner that gives every clip the same logits."""

    device = "fake"

    def __init__(self, dims: Dims, *logits: float) -> None:
        self.dims = dims
        self.logits = np.array(logits, np.float32)

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        return [ClipScores(self.logits[:1], self.logits, None) for _ in clips]


@pytest.mark.parametrize(("lead", "same"), [(0.10, True), (0.11, True), (0.13, False), (0.14, False)])
def test_another_label_is_forgiven_where_fp32_hardly_prefers_its_own(
    exact: TorchRunner, lead: float, same: bool
) -> None:
    """By less than twice the bound: then either score may have strayed by the bound, one up and one down."""
    wanted, found = Fixed(exact.dims, lead, 0.0), Fixed(exact.dims, 0.0, 0.01)
    assert compare(found, wanted).same_labels is same
    assert compare(wanted, wanted).same_labels


def test_embedding_only_models_are_judged_by_their_embeddings() -> None:
    """Without scores, the embedding's relative error decides."""
    path = GOLDEN / "embedding_only"
    assert compare(TorchRunner(load(path), arithmetic="float32"), TorchRunner(load(path))).worst < 1e-5


def test_auto_falls_back_to_fp32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused arithmetic costs nobody an answer; a named one is used as it is."""
    monkeypatch.setattr("emotape.engine.plan.LARGE", 0)
    monkeypatch.setattr(loading, "compare", lambda reduced, exact: Verdict(0.2, same_labels=False))
    monkeypatch.setattr(resident, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(loading, "recall", lambda notes, key: None)
    monkeypatch.setattr(loading, "remember", lambda notes, key, verdict: None)
    events: list[Event] = []
    with Recognizer(observer=events.append) as recognizer:
        assert recognizer.recognize(AUDIO / "thorsten_neutral.wav").provenance.dtype == "float32"
    assert PrecisionRefused("bfloat16", 0.2, same_labels=False) in events
    forced = RecognizerOptions(engine=EngineOptions(dtype="bfloat16"))
    with Recognizer(options=forced) as recognizer:
        assert recognizer.recognize(AUDIO / "thorsten_neutral.wav").provenance.dtype == "bfloat16"


def test_a_verdict_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start judges nothing; other weights are judged anew."""
    monkeypatch.setattr("emotape.engine.plan.LARGE", 0)
    monkeypatch.setattr(resident, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(loading, "__version__", "a version that judged nothing yet")
    judged = []

    def counted(reduced: TorchRunner, exact: TorchRunner) -> Verdict:
        judged.append(reduced)
        return compare(reduced, exact)

    monkeypatch.setattr(loading, "compare", counted)
    for path, count in ((bundled_model().path, 1), (bundled_model().path, 1), (GOLDEN / "large_like", 2)):
        Recognizer(path).open().close()
        assert len(judged) == count


def test_damaged_or_unwritable_notes_cost_only_a_new_judgement(tmp_path: Path) -> None:
    """Notes are a convenience: nothing depends on them."""
    notes = tmp_path / "folder" / "parity.json"
    verdict = Verdict(0.01, same_labels=True)
    assert recall(notes, "key") is None
    remember(notes, "key", verdict)
    remember(notes, "other", verdict)
    assert recall(notes, "key") == recall(notes, "other") == verdict
    for damage in ("", "[]", '{"key": 3}', '{"key": {"worst": 1}}'):
        notes.write_text(damage)
        assert recall(notes, "key") is None
        remember(notes, "key", verdict)
    remember(tmp_path / "folder" / "parity.json" / "below a file", "key", verdict)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_every_arithmetic_recognizes(dtype: Any) -> None:
    """Whole recordings through the recognizer: scores within the gate's bound of fp32's."""
    with Recognizer(options=RecognizerOptions(engine=EngineOptions(dtype=dtype))) as recognizer:
        found = recognizer.recognize(AUDIO / "jfk.flac")
    with Recognizer(options=RecognizerOptions(engine=EngineOptions(dtype="float32"))) as recognizer:
        wanted = recognizer.recognize(AUDIO / "jfk.flac")
    assert found.provenance.dtype == dtype
    for key, value in wanted.scores.items():
        assert abs(found.scores[key] - value) <= BOUND


def test_the_plan_takes_bf16_where_it_pays() -> None:
    """A processor with bf16 and a large network; never a small network or an old processor. A card takes fp16."""
    large, small = 162_000_000, 2_000_000
    assert plan(Machine(2, bfloat16=True), large).arithmetic == "bfloat16"
    assert plan(Machine(2, bfloat16=True), small).arithmetic == "float32"
    assert plan(Machine(2), large).arithmetic == "float32"
    assert plan(Machine(2, bfloat16=True, accelerators=(Accelerator("cuda:0"),)), large).arithmetic == "float16"
    assert plan(Machine(2, bfloat16=True, accelerators=(Accelerator("cuda:0"),)), small).arithmetic == "float32"
    assert plan(Machine(2, bfloat16=True, accelerators=(Accelerator("mps"),)), large).arithmetic == "float32"
