"""A fitted temperature and threshold, saved: the network's answers follow, and so does its digest."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from emotape.audio.waveform import Waveform
from emotape.audio.window import WindowOptions
from emotape.delivery.cli import app
from emotape.delivery.evaluation.calibration import Threshold
from emotape.delivery.evaluation.fitting import Confidence, Fit
from emotape.delivery.evaluation.saving import check_target, save
from emotape.engine.runner import Clip, ClipScores, TorchRunner
from emotape.engine.segments import SegmentOptions
from emotape.engine.wanted import Wanted
from emotape.errors import BadRequest, ModelFault
from emotape.model.mapped import SAFETENSORS
from emotape.model.note import note, read_note
from emotape.model.weights import convert, load, verify
from emotape.store.cache.key import Network, Sound, cache_key
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO, GOLDEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

NOTHING = Confidence(0.0, 0.0, 0.0, (), 0.0)
HALF = Threshold(0.5, 0.8, 0.7, 0.6, 100)
SOUND = Waveform(np.sin(np.arange(16_000) / 9).astype(np.float32))


def fitted(temperature: float, threshold: Threshold | None) -> Fit:
    return Fit(temperature, NOTHING, NOTHING, threshold)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory that may be changed."""
    convert(GOLDEN / "large_like", tmp_path / "model")
    return tmp_path / "model"


def scores(folder: Path) -> ClipScores:
    return TorchRunner(load(folder)).run([Clip(SOUND, frame_embeddings=True)])[0]


@pytest.mark.parametrize("temperature", [0.5, 1.7])
def test_a_saved_temperature_divides_every_logit_and_leaves_the_rest(
    temperature: float, model: Path, tmp_path: Path
) -> None:
    before = scores(model)
    save(fitted(temperature, None), model, tmp_path / "new")
    after = scores(tmp_path / "new")
    assert before.logits is not None
    assert after.logits is not None
    np.testing.assert_allclose(after.logits * temperature, before.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after.embedding, before.embedding)
    assert verify(tmp_path / "new").ok
    assert verify(model).ok


def test_digest_and_cache_key_change_exactly_when_temperature_or_threshold_does(model: Path, tmp_path: Path) -> None:
    fits = [
        fitted(1.0, None),
        fitted(1.1, None),
        fitted(1.0, HALF),
        fitted(1.0, Threshold(0.6, 0.8, 0.7, 0.6, 100)),
        fitted(1.1, HALF),
    ]
    digests = [save(one, model, tmp_path / str(place)).digest for place, one in enumerate(fits)]
    wanted = Wanted("utterance", embedding=False, quality=False)
    keys = {
        cache_key(Sound.of([SOUND]), wanted, Network(digest, "float32"), WindowOptions(), SegmentOptions())
        for digest in digests
    }
    assert len(set(digests)) == len(keys) == len(fits)
    assert digests[0] == load(model).digest
    assert [load(tmp_path / str(place)).digest for place in range(len(fits))] == digests
    other_reasons = Threshold(0.5, 0.9, 0.1, 0.1, 7)  # what it was chosen by decides no answer
    assert save(fitted(1.0, other_reasons), model, tmp_path / "same").digest == digests[2]


def test_saving_in_place_renews_the_model_and_keeps_what_is_told_of_it(model: Path) -> None:
    note(model, experimental=True, license="CC0")
    first = save(fitted(2.0, HALF), model, model)
    assert load(model).uncertain_below == 0.5
    told = read_note(model)
    assert (told["experimental"], told["license"], told["temperature"]) == (True, "CC0", 2.0)
    second = save(fitted(1.5, None), model, model)
    assert first.digest != second.digest
    assert load(model).uncertain_below is None  # the old one was chosen for other confidences
    assert read_note(model)["temperature"] == 3.0
    assert verify(model).ok


def test_a_copy_says_what_the_original_says_and_converting_keeps_the_threshold(model: Path, tmp_path: Path) -> None:
    note(model, experimental=True, summary={"en": "small"})
    (model / "MODEL_CARD.md").write_text("card", "utf-8")
    made = save(fitted(1.0, HALF), model, tmp_path / "copy")
    assert read_note(tmp_path / "copy")["experimental"] is True
    assert (tmp_path / "copy" / "MODEL_CARD.md").read_text("utf-8") == "card"
    assert convert(tmp_path / "copy", tmp_path / "again").digest == made.digest
    assert load(tmp_path / "again").uncertain_below == 0.5


def test_a_threshold_that_was_changed_by_hand_is_found_out_and_one_that_is_none_refused(model: Path) -> None:
    save(fitted(1.0, HALF), model, model)
    note(model, uncertain={"below": 0.4})
    assert not verify(model).ok
    for wrong in ("0.4", 1.5, True, {"below": None}):
        note(model, uncertain=wrong)
        with pytest.raises(ModelFault) as fault:
            load(model)
        assert fault.value.code == "threshold_unreadable"


def test_neither_the_bundled_model_nor_anything_that_is_there_is_overwritten(model: Path, tmp_path: Path) -> None:
    path = bundled_model().path
    for target, bundled, code in (
        (path, True, "model_read_only"),
        (model, False, "model_folder_taken"),
        (model / SAFETENSORS, False, "model_folder_taken"),
    ):
        with pytest.raises(BadRequest, match=code):
            check_target(path, target, bundled=bundled)
    check_target(path, tmp_path / "new", bundled=True)
    check_target(model, model, bundled=False)


def test_the_bundled_model_has_a_threshold_and_its_digest_is_right() -> None:
    path = bundled_model().path
    found = verify(path)
    assert found.ok
    assert found.digest == found.expected
    told = read_note(path)["uncertain"]
    assert load(path).uncertain_below == told["below"]
    assert told["coverage"] >= 0.8
    assert told["accuracy"] > told["accuracy_of_all"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The command, away from the models and settings of whoever runs the tests; in a folder with a manifest."""
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)
    files = ["thorsten_angry.mp3,Wut", "thorsten_neutral.wav,neutral", "thorsten_neutral.opus,neutral"]
    lines = ["file,label,split", *(f"{AUDIO / name},{place}" for place, name in enumerate(files))]
    Path("manifest.csv").write_text("\n".join(lines), "utf-8")
    Path("names.toml").write_text('wut = "angry"\n', "utf-8")

    def go(*arguments: str | Path) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return go


def test_a_threshold_is_chosen_saved_and_told_wherever_results_are(run: Callable[..., Result]) -> None:
    asked = ("evaluate", "manifest.csv", "--label-map", "names.toml")
    done = run(*asked, "--coverage", "0.5", "--save-as", "mine", "--json", "--output", "out")
    record = json.loads(done.stdout)
    below = record["fit"]["threshold"]["below"]
    assert record["fit"]["threshold"]["coverage"] >= 0.5
    assert list(record["over_folds"]) == ["uar", "accuracy", "macro_f1", "weighted_f1"]
    assert load(Path("mine")).uncertain_below == below
    files = [AUDIO / "thorsten_angry.mp3", AUDIO / "thorsten_neutral.wav", AUDIO / "thorsten_neutral.opus"]
    rows = list(csv.DictReader(io.StringIO(run("recognize", *files, "--model", "./mine", "--csv").stdout)))
    assert [row["uncertain"] for row in rows] == [str(float(row["confidence"]) < below).lower() for row in rows]
    assert {row["uncertain"] for row in rows} == {"true", "false"}
    again = run(*asked, "--model", "./mine")
    assert "leaves" in again.stdout
    assert "mean ± s.d." in again.stdout


def test_what_cannot_be_fitted_or_saved_is_said_before_or_instead(run: Callable[..., Result], model: Path) -> None:
    asked = ("evaluate", "manifest.csv", "--label-map", "names.toml")
    for more, words in (
        (("--save",), "--fit-temperature / --coverage"),
        (("--fit-temperature", "--save"), "--save-as"),
        (("--coverage", "0.8", "--save-as", model), "something there"),
        (("--fit-temperature",), "3 recordings are too few"),
    ):
        done = run(*asked, *more)
        assert done.exit_code == 2
        assert words in " ".join(done.stderr.split())
    shutil.rmtree(model)


def test_every_label_without_a_class_is_named(run: Callable[..., Result]) -> None:
    """Without the mapping, `Wut` is no label: its recording is listed, counted by name, and costs exit code 1."""
    done = run("evaluate", "manifest.csv", "--json")
    record = json.loads(done.stdout)
    assert done.exit_code == 1
    assert record["n"] == 2
    assert record["details"]["unknown_labels"] == {"Wut": 1}
    assert record["details"]["errors"][0]["code"] == "unknown_label"


def test_a_sweep_hears_every_recording_under_every_condition(run: Callable[..., Result]) -> None:
    text = "file,label\n" + f"{AUDIO / 'thorsten_angry.mp3'},angry\n"
    Path("one.csv").write_text(text, "utf-8")
    record = json.loads(run("evaluate", "one.csv", "--robustness", "--no-restrict", "--json").stdout)
    found = record["robustness"]
    assert [one["n"] for one in found] == [1] * len(found)
    assert len(found) + len(record["details"]["missing_conditions"]) == 16
    assert all(one["lost"]["uar"] == pytest.approx(record["uar"] - one["uar"]) for one in found)


def test_golden_weights_stay_as_they_are(model: Path) -> None:
    """A calibration of nothing writes the very same values."""
    convert(model, model)
    same = load_file(model / SAFETENSORS)
    assert all((same[name] == values).all() for name, values in load_file(GOLDEN / "large_like" / SAFETENSORS).items())
