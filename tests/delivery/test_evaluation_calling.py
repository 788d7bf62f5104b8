"""`emotape.evaluate` gives what the command prints: the same figures, in silence, in any thread."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import emotape
from emotape.delivery.cli import app
from emotape.model.weights import load, verify
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO, example_of

if TYPE_CHECKING:
    from pathlib import Path

CLIPS = {
    "angry/anna": "thorsten_angry.mp3",
    "neutral/anna": "thorsten_neutral.wav",
    "neutral/berta/second day": "thorsten_neutral.opus",
    "happy/berta": "jfk.flac",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of labelled recordings."""
    made = tmp_path_factory.mktemp("folder")
    for place, name in CLIPS.items():
        (made / place).mkdir(parents=True)
        shutil.copyfile(AUDIO / name, made / place / name)
    return made


@pytest.fixture(scope="module")
def manifest(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV that says of the same recordings what the folder says."""
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    rows = [(folder / place / name, *place.split("/")[:2]) for place, name in sorted(CLIPS.items())]
    path.write_text("\n".join(["file,label,speaker", *(f"{file},{a},{b}" for file, a, b in rows)]), "utf-8")
    return path


def flat(found: Any, name: str = "") -> dict[str, Any]:
    """Return the single values of a record by their places."""
    if isinstance(found, dict):
        return {key: value for part, inner in found.items() for key, value in flat(inner, f"{name}/{part}").items()}
    if isinstance(found, list):
        return {key: value for at, inner in enumerate(found) for key, value in flat(inner, f"{name}/{at}").items()}
    return {name: pytest.approx(found, abs=1e-4) if isinstance(found, float) else found}


def test_the_function_returns_what_the_command_prints_and_prints_nothing(
    manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And saves the same model, so that the digest is the same, too."""
    heard: list[tuple[int, int]] = []
    capfd.readouterr()
    found = emotape.evaluate(
        str(manifest), model="starter-v2", bins=4, seed=2, coverage=0.5, save_as=tmp_path / "one",
        progress=lambda *said: heard.append(said),
    )  # fmt: skip
    assert capfd.readouterr() == ("", "")
    assert heard == [(done, 4) for done in range(1, 5)]
    asked = ["evaluate", manifest, "--model", "starter-v2", "--bins", 4, "--seed", 2, "--coverage", 0.5, "--json"]
    said = CliRunner().invoke(app, [*map(str, asked), "--save-as", str(tmp_path / "two")])
    assert said.exit_code == 0, said.output
    assert flat(json.loads(said.stdout)) == flat(found.as_dict())
    assert found.fit is not None
    assert found.fit.threshold is not None
    assert load(tmp_path / "one").uncertain_below == found.fit.threshold.below
    assert verify(tmp_path / "one").digest == verify(tmp_path / "two").digest


def test_a_folder_gives_the_figures_of_the_csv_that_says_the_same_also_in_another_thread(
    folder: Path, manifest: Path, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(emotape.evaluate, folder, model="starter-v2").result()
    assert flat(found.as_dict()) == flat(emotape.evaluate(manifest, model="starter-v2").as_dict())
    uar, accuracy = found.figures.uar, found.figures.accuracy
    assert repr(found) == (
        f"Evaluation(model='starter-v2', n=4, uar={uar:.3f}, accuracy={accuracy:.3f}, failures=0)"
    )  # fmt: skip
    assert list(found.corpora) == [""]
    assert 0 <= found.confidence.ece <= 1
    found.write(str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8")) == found.as_dict()


def test_speakers_are_names_or_a_text_of_names_and_unknown_labels_are_failures(folder: Path, tmp_path: Path) -> None:
    """A folder has no lines, so its failures go by their files."""
    shutil.copytree(folder, tmp_path / "more")
    (tmp_path / "more" / "grumpy" / "anna").mkdir(parents=True)
    shutil.copy(AUDIO / "jfk.flac", tmp_path / "more" / "grumpy" / "anna")
    for speakers in ("anna", ["anna"]):
        found = emotape.evaluate(tmp_path / "more", model="starter-v2", speakers=speakers)
        assert found.figures.n == 2
        ((row, error),) = found.failures
        assert (row.file, row.place, error.code) == ("grumpy/anna/jfk.flac", "grumpy/anna/jfk.flac", "unknown_label")
        assert str(tmp_path / "more" / "grumpy") in error.text("zh").cause
    assert found.as_dict("zh")["details"]["errors"][0]["line"] is None
    said = CliRunner().invoke(app, ["evaluate", str(tmp_path / "more"), "--model", "starter-v2", "--speakers", "anna"])
    assert said.exit_code == 1
    assert "\ngrumpy/anna/jfk.flac: grumpy" in f"\n{said.stderr}"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"bins": 1}, "evaluate_numbers"),
        ({"seed": -1}, "evaluate_numbers"),
        ({"coverage": 1.5}, "evaluate_numbers"),
        ({"save_as": "mine"}, "option_needs"),
        ({"save": True, "coverage": 0.5}, "model_read_only"),
        ({"label_map": "gone.toml"}, "label_map_unreadable"),
        ({"speakers": ["nobody"]}, "manifest_empty"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_runs(
    folder: Path, asked: dict[str, Any], code: str
) -> None:
    with pytest.raises(emotape.BadRequest) as refused:
        emotape.evaluate(folder, model="starter-v2", progress=lambda *_: pytest.fail("it ran"), **asked)
    assert refused.value.code == code


def test_the_example_of_the_document_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundled_model().path, "my-model")
    shutil.copytree(folder, "recordings")
    shutil.copytree(folder / "angry", tmp_path / "recordings" / "grumpy")
    exec(example_of("evaluation"), {})  # noqa: S102 - it is our own
    said = capfd.readouterr().out
    assert "('angry', 'happy', 'neutral')" in said
    assert said.endswith("grumpy/anna/thorsten_angry.mp3 unknown_label\n")
    assert (tmp_path / "evaluation" / "confusion.png").is_file()
