"""`emotape.adapt` does what the command does: the same model, in silence, in any thread, and it can be interrupted."""

from __future__ import annotations

import json
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import emotape
from emotape.delivery.adapting.manifest import read_samples
from emotape.model.weights import read_labels, verify
from tests.adapting.conftest import CLIPS
from tests.conftest import AUDIO, GOLDEN, example_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = 3 * CLIPS


@pytest.fixture(scope="module")
def folder(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the collection as a folder of LABEL/SPEAKER/FILE."""
    made = tmp_path_factory.mktemp("folder")
    for sample in read_samples(collection):
        place = made / sample.label / sample.speaker / sample.file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sample.path, place)
    return made


def after(done: int, total: int) -> Callable[[int, int], None]:
    """Press Ctrl-C when a stage is so far."""

    def hear(*said: int) -> None:
        if said == (done, total):
            signal.raise_signal(signal.SIGINT)

    return hear


def test_the_function_makes_the_model_that_the_command_makes_and_prints_nothing(
    adapted: Path, collection: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    heard: list[tuple[int, int]] = []
    made = emotape.adapt(
        collection, tmp_path / "mine", model="starter-v2", seed=3, progress=lambda *said: heard.append(said)
    )
    assert capfd.readouterr() == ("", "")
    assert heard == [(done, ALL) for done in range(1, ALL + 1)]
    assert verify(made.path).digest == verify(adapted).digest
    assert (made.failed, made.interrupted) == ({}, False)
    wanted = json.loads((adapted / "figures.json").read_text("utf-8"))
    assert {**made.figures, "largest_difference": 0} == {**wanted, "largest_difference": 0}
    assert json.loads((made.path / "figures.json").read_text("utf-8")) == made.figures
    assert made.as_dict() == {"path": str(made.path), "interrupted": False, "unreadable": 0, **made.figures}
    assert repr(made) == f"Adapted(path={str(made.path)!r}, uar={wanted['uar']:.3f}, n=6, failed=0, interrupted=False)"
    assert [step.code for step in made.steps] == ["adapt_split", "adapt_checking"]
    assert "18" in made.steps[0].text("zh")


def test_a_folder_teaches_and_a_folder_judges_in_a_thread_of_its_own(folder: Path, tmp_path: Path) -> None:
    """Signals are the main thread's; nobody else may touch them."""
    dev = tmp_path / "dev"
    for label in ("angry", "平静"):
        shutil.copytree(folder / label / "s1", dev / label / "s1")
    asked: dict[str, Any] = {"dev": dev, "labels": ["平静", "angry"], "model": "starter-v2", "seed": 5}
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(emotape.adapt, folder, tmp_path / "mine", **asked).result()
    assert [label.key for label in read_labels(made.path) if label] == ["平静", "angry"]
    assert (made.figures["split"], made.figures["train"], made.figures["n"]) == ("given", 2 * CLIPS, 4)
    assert [step.code for step in made.steps][:2] == ["adapt_left_out", "adapt_split"]
    call = f"emotape.adapt(recordings={str(folder)!r}, output={str(tmp_path / 'mine')!r}, dev={str(dev)!r}, "
    call += "labels=['平静', 'angry'], seed=5, model='starter-v2')"
    assert call in (made.path / "README.md").read_text("utf-8")


def test_ctrl_c_in_training_keeps_the_best_so_far_and_the_same_call_goes_on(folder: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"unfreeze": 1, "epochs": 2, "batch_seconds": 4, "model": GOLDEN / "large_like"}
    broken = emotape.adapt(folder, tmp_path / "mine", progress=after(1, 2), **asked)
    assert broken.interrupted
    assert verify(broken.path).ok
    assert "ended early" in (broken.path / "README.md").read_text("utf-8")
    heard: list[tuple[int, int]] = []
    done = emotape.adapt(folder, tmp_path / "mine", force=True, progress=lambda *said: heard.append(said), **asked)
    assert not done.interrupted
    assert heard[-1] == (2, 2)
    assert (1, 2) not in heard


def test_ctrl_c_before_that_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        emotape.adapt(folder, tmp_path / "mine", model="starter-v2", progress=after(3, ALL))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"head": "deep"}, "adapt_numbers"),
        ({"epochs": 0}, "adapt_numbers"),
        ({"labels": ["angry"]}, "adapt_one_label"),
        ({"labels": ["angry", "a,b"]}, "adapt_no_such_label"),
        ({"labels": ()}, "adapt_one_label"),
        ({"dev": "gone.csv"}, "unreadable"),
        ({"options": emotape.RecognizerOptions(engine=emotape.EngineOptions(dtype="int8"))}, "adapt_base_quantised"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_runs(
    folder: Path, tmp_path: Path, asked: dict[str, Any], code: str
) -> None:
    with pytest.raises(emotape.BadRequest) as refused:
        emotape.adapt(folder, tmp_path / "mine", model="starter-v2", **asked)
    assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_there_must_be_such_a_model(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(emotape.ModelFault):
        emotape.adapt(folder, tmp_path / "mine", model=tmp_path / "gone")


def test_the_example_of_the_document_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for taken, label in zip(sorted(folder.iterdir()), ("满意", "不满", "中性"), strict=True):
        shutil.copytree(taken, tmp_path / "calls" / label)
    shutil.copy(AUDIO / "thorsten_neutral.wav", "call.wav")
    exec(example_of("adapt"), {})  # noqa: S102 - it is our own
    figures, emotion = capfd.readouterr().out.splitlines()
    assert 0 <= float(figures.split()[0]) <= 1
    assert emotion in ("满意", "不满", "neutral")
