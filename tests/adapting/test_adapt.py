"""`emotape adapt` from a manifest to a model that every command loads, and what is left when that cannot be."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from emotape.audio.decode import decode
from emotape.delivery.adapting.embeddings import embed, unreadable
from emotape.delivery.adapting.manifest import read_samples
from emotape.delivery.adapting.options import AdaptOptions
from emotape.delivery.adapting.shelf import Embedded, Shelf, audio_digest
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import BadAudio, BadRequest
from emotape.model.mapped import read_mapped
from emotape.model.weights import load, verify
from emotape.recognizer import Recognizer
from emotape.store.catalogue import bundled_model
from tests.adapting.conftest import CLIPS, invoke, rows_of, write_manifest
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emotape.engine.plan import Arithmetic
    from emotape.model.weights import LoadedModel

KEYS = ["angry", "speech", "平静"]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_model_is_loaded_by_path_and_knows_the_labels(adapted: Path) -> None:
    assert verify(adapted).ok
    with Recognizer(adapted) as recognizer:
        assert [label.key for label in recognizer.labels] == KEYS
        found = recognizer.recognize(AUDIO / "jfk.flac")
    assert found.emotion == "speech"
    assert sum(found.scores[key] for key in KEYS) == pytest.approx(1, abs=1e-5)
    assert {label.key: label.zh for label in found.labels}["speech"] == "演讲"


def test_recognize_and_evaluate_take_the_model(adapted: Path, collection: Path) -> None:
    said = invoke("recognize", AUDIO / "jfk.flac", "--model", adapted, "--json")
    assert json.loads(said.stdout)[0]["emotion"] == "speech"
    figures = json.loads(invoke("evaluate", collection, "--model", adapted, "--json").stdout)
    assert figures["n"] == 3 * CLIPS
    assert set(figures["per_class"]) == set(KEYS)
    assert figures["uar"] > 0.8


def test_with_a_linear_head_the_mean_of_frame_logits_is_the_utterances(adapted: Path) -> None:
    model = load(adapted)
    (found,) = TorchRunner(model).run([Clip(decode(AUDIO / "thorsten_angry.mp3").waveforms[0])])
    assert found.logits is not None
    assert found.frame_logits is not None
    np.testing.assert_allclose(found.frame_logits.mean(0), found.logits, atol=1e-4)


def test_weights_that_were_not_trained_are_the_bases_bit_by_bit(adapted: Path) -> None:
    base, mine = (read_mapped(path / "model.safetensors") for path in (bundled_model().path, adapted))
    assert base.keys() == mine.keys()
    for name, values in base.items():
        same = values.shape == mine[name].shape and bool((values == mine[name]).all())
        assert same is not name.startswith("proj."), name


def test_the_card_tells_data_split_figures_seed_and_licence(adapted: Path) -> None:
    text = (adapted / "README.md").read_text(encoding="utf-8")
    figures = json.loads((adapted / "figures.json").read_text(encoding="utf-8"))
    for told in ("starter-v2", "seed 3", "CC-BY-SA-4.0", "24 recordings", "4 speakers", "no speaker is in both",
                 f"{figures['uar']:.3f} [", "演讲"):  # fmt: skip
        assert told in text, told
    note = json.loads((adapted / "emotape.json").read_text(encoding="utf-8"))
    assert (note["license"], note["experimental"], note["adapted"]["head"]) == ("CC-BY-SA-4.0", True, "linear")
    assert (adapted / "LICENSE.weights").is_file()
    assert figures["train"] + figures["n"] == 3 * CLIPS
    assert figures["interval"]["low"] <= figures["uar"] <= figures["interval"]["high"]


def test_a_head_with_a_hidden_layer_is_a_model_like_any_other(collection: Path, tmp_path: Path) -> None:
    """The utterance's scores are the head of the mean vector; every frame has its own."""
    output = tmp_path / "mlp"
    said = invoke("adapt", collection, "--output", output, "--model", "starter-v2", "--head", "mlp", "--json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["train"] == 18
    assert verify(output).ok
    model = load(output)
    (found,) = TorchRunner(model).run([Clip(decode(AUDIO / "jfk.flac").waveforms[0], frame_embeddings=True)])
    assert found.frame_embeddings is not None
    assert found.frame_logits is not None
    assert found.logits is not None
    np.testing.assert_allclose(_logits(model, found.embedding), found.logits, atol=1e-4)
    np.testing.assert_allclose(_logits(model, found.frame_embeddings), found.frame_logits, atol=1e-3)
    assert np.abs(found.frame_logits.mean(0) - found.logits).max() > 1e-3
    arithmetics: tuple[Arithmetic, ...] = ("bfloat16", "int8")
    for arithmetic in arithmetics:
        packed = TorchRunner(load(output), "cpu", arithmetic).run([Clip(decode(AUDIO / "jfk.flac").waveforms[0])])[0]
        assert packed.logits is not None
        assert np.abs(packed.logits - found.logits).max() < 0.5


def _logits(model: LoadedModel, vectors: np.ndarray) -> np.ndarray:
    import torch

    found: np.ndarray = model.encoder.logits(torch.from_numpy(vectors)).numpy()
    return found


@pytest.mark.parametrize("how", [["--unfreeze", 1], ["--lora", 2, "--unfreeze", 1]], ids=["unfreeze", "lora"])
def test_blocks_are_tuned_and_the_rest_is_the_bases(collection: Path, tmp_path: Path, how: list[object]) -> None:
    output = tmp_path / "tuned"
    options = ["--epochs", 2, "--learning-rate", 0.003, "--batch-seconds", 4]
    said = invoke("adapt", collection, "--output", output, "--model", "starter-v2", *how, *options)
    assert said.exit_code == 0, said.output
    assert verify(output).ok
    base, mine = (read_mapped(path / "model.safetensors") for path in (bundled_model().path, output))
    changed = {name for name, values in base.items() if not name.startswith("proj.") and (values != mine[name]).any()}
    assert all(name.startswith("blocks.1.") for name in changed)
    assert leftovers(tmp_path) == ["tuned"]


class Deaf:
    """Stands where a recognizer would, and answers nothing."""

    def recognize_many(self, sources: Iterable[Path], **_: object) -> Iterator[tuple[Path, BadAudio]]:
        return ((source, BadAudio("not_audio")) for source in sources)


def test_a_second_run_embeds_nothing_again(collection: Path, tmp_path: Path) -> None:
    """Also the recordings that a broken run got done with are kept."""
    samples = read_samples(collection)[:3]

    with Shelf(tmp_path, "shelf") as shelf:
        assert len(unreadable_count(embed(samples, Deaf(), shelf, lambda: None))) == 3  # type: ignore[arg-type]
        with Recognizer("starter-v2") as recognizer:
            first = embed(samples[:2], recognizer, shelf, lambda: None)
            assert recognizer.recognize(samples[0].path, embedding=True).embedding == pytest.approx(first[0].vector)  # type: ignore[union-attr]
    with Shelf(tmp_path, "shelf") as shelf:
        again = embed(samples, Deaf(), shelf, lambda: None)  # type: ignore[arg-type]
    for before, after in zip(first, again, strict=False):
        assert isinstance(before, Embedded)
        assert isinstance(after, Embedded)
        np.testing.assert_array_equal(before.vector, after.vector)
        assert before.seconds == after.seconds == 0.5
    assert len(unreadable_count(again)) == 1
    assert audio_digest(tmp_path / "absent") is None


def unreadable_count(found: list[Any]) -> list[Any]:
    return [one for one in found if not isinstance(one, Embedded)]


def test_a_few_unreadable_recordings_are_listed_and_many_are_refused(collection: Path, tmp_path: Path) -> None:
    rows = [[str(collection.parent / file), *rest] for file, *rest in rows_of(collection)]
    one = write_manifest(tmp_path / "one.csv", [*rows, ["absent.wav", "angry", "s1"]])
    said = invoke("adapt", one, "--output", tmp_path / "made", "--model", "starter-v2")
    assert said.exit_code == 0, said.output
    assert "absent.wav" in said.stderr
    assert "1 unreadable" in (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    samples = read_samples(one)
    with pytest.raises(BadRequest) as refused:
        unreadable(samples[:4], [BadAudio("not_audio")] + [Embedded(np.zeros(2, np.float32), 1.0)] * 3)
    assert (refused.value.code, refused.value.facts["count"]) == ("adapt_unreadable", 1)


def test_nothing_is_overwritten_unless_that_is_asked_for(adapted: Path, collection: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in adapted.iterdir()}
    said = invoke("adapt", collection, "--output", adapted, "--model", "starter-v2")
    assert (said.exit_code, "adapt_output_exists" in said.stderr) == (2, True)
    assert {file.name: file.read_bytes() for file in adapted.iterdir()} == before
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear")
    said = invoke("adapt", collection, "--output", tmp_path / "letters", "--force")
    assert (said.exit_code, "adapt_output_foreign" in said.stderr) == (2, True)
    assert (tmp_path / "letters" / "mine.txt").read_text() == "dear"


def test_the_same_seed_makes_the_same_model_in_place_of_the_old_one(
    adapted: Path, collection: Path, tmp_path: Path
) -> None:
    output = tmp_path / "again"
    for _ in range(2):
        said = invoke("adapt", collection, "--output", output, "--model", "starter-v2", "--seed", 3, "--force")
        assert said.exit_code == 0, said.output
    assert verify(output).digest == verify(adapted).digest
    assert leftovers(tmp_path) == ["again"]


def test_a_disk_that_is_full_leaves_nothing_behind(collection: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        said = invoke("adapt", collection, "--output", tmp_path / "made", "--model", "starter-v2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (said.exit_code, "adapt_unwritable" in said.stderr) == (2, True), said.output
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--unfreeze", 99], "adapt_blocks"),
        (["--epochs", 0], "adapt_numbers"),
        (["--dtype", "int8"], "adapt_base_quantised"),
        (["--labels", "angry,bored"], "adapt_no_such_label"),
        (["--output", os.devnull + "/made"], "adapt_unwritable"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_runs(
    collection: Path, tmp_path: Path, options: list[object], code: str
) -> None:
    given = [] if "--output" in options else ["--output", tmp_path / "made"]
    said = invoke("adapt", collection, "--model", "starter-v2", "--language", "zh", *given, *options)
    assert (said.exit_code, code in said.stderr) == (2, True), said.output
    assert leftovers(tmp_path) == []


def test_a_model_without_a_head_gets_one(collection: Path, tmp_path: Path) -> None:
    """Embedding-only checkpoints are what second rounds begin with."""
    from tests.conftest import GOLDEN

    output = tmp_path / "made"
    said = invoke(
        "adapt", collection, "--output", output, "--model", GOLDEN / "embedding_only", "--labels", "angry,平静"
    )
    assert said.exit_code == 0, said.output
    assert "speech × 8" in said.stderr
    assert [label.key for label in load(output).labels if label] == ["angry", "平静"]


def test_options_know_whether_they_tune() -> None:
    plain = AdaptOptions(Path("m.csv"), Path("made"))
    assert not plain.tunes
    assert AdaptOptions(Path("m.csv"), Path("made"), lora=2).tunes
