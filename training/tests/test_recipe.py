"""From audio files to a model directory, with a random teacher and seconds instead of hours."""

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from emotape.model.note import uncertain_below
from emotape.model.weights import verify
from training import corpora, lessons, teacher
from training.__main__ import main
from training.corpora import EMOTIONS
from training.export import read_model
from training.lessons import Piece, join

SPEAKERS = {"train": ("1", "2", "3", "4", "5", "6"), "dev": ("7",), "test": ("8",)}


def voice(pitch: float, seconds: float) -> npt.NDArray[np.float64]:
    time = np.arange(int(seconds * 16_000), dtype=np.float64) / 16_000
    tone: npt.NDArray[np.float64] = 0.3 * np.sin(2 * math.pi * pitch * time) * (1 + np.sin(20 * time))
    return tone


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora of tones: one of files with labels, one of shards without."""
    root = tmp_path_factory.mktemp("corpora")
    (root / "emodb").mkdir()
    rows = ["file,label,speaker"]
    for speaker in sum(SPEAKERS.values(), ()):
        for place, emotion in enumerate((*EMOTIONS, "other")):
            name = f"{speaker}-{emotion}.wav"
            soundfile.write(root / "emodb" / name, voice(150 + 40 * place + 3 * int(speaker), 1.0), 16_000)
            rows.append(f"{name},{emotion},{speaker}")
    (root / "emodb" / "manifest.csv").write_text("\n".join(rows))
    for corpus, label in (("emogator", "angry"), ("asterisk", None)):
        (root / corpus).mkdir()
        soundfile.write(root / corpus / "00.opus", voice(200, 9.0), 16_000, format="OGG", subtype="OPUS")
        shard = [
            json.dumps({"file": str(n), "speaker": str(n), "label": label, "off": 16_000 * n, "n": 16_000})
            for n in range(9)
        ]
        (root / corpus / "00.jsonl").write_text("\n".join(shard))
    splits = {split: list(names) for split, names in SPEAKERS.items() if split != "train"}
    (root / "splits.json").write_text(json.dumps({"emodb": splits, "emogator": splits}))
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a random Whisper encoder of four blocks."""
    torch.manual_seed(0)
    width = teacher.WIDTH
    shapes = {"conv1/weight": (width, 80, 3), "conv2/weight": (width, width, 3), "layer_norm/gamma": (width,)}
    shapes |= {"conv1/bias": (width,), "conv2/bias": (width,), "layer_norm/beta": (width,)}
    shapes |= {"position_encodings/encodings": (1500, width)}
    for block in range(4):
        for part, out, into in (
            ("self_attention/linear_0", 3 * width, width),
            ("self_attention/linear_1", width, width),
            ("ffn/linear_0", 4 * width, width),
            ("ffn/linear_1", width, 4 * width),
        ):
            shapes |= {f"layer_{block}/{part}/weight": (out, into), f"layer_{block}/{part}/bias": (out,)}
        for norm in ("self_attention/layer_norm", "ffn/layer_norm"):
            shapes |= {f"layer_{block}/{norm}/gamma": (width,), f"layer_{block}/{norm}/beta": (width,)}
    path = tmp_path_factory.mktemp("teacher") / "encoder.safetensors"
    save_file({f"encoder/{name}": 0.05 * torch.randn(shape).half() for name, shape in shapes.items()}, path)
    return path


@pytest.fixture(scope="module")
def work(root: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    main(["prepare", "--corpora", str(root), "--work", str(work)])
    main(["teach", "--teacher", str(encoder), "--work", str(work)])
    return work


def stream(work: Path, seed: int = 0) -> lessons.LessonStream:
    soft, _ = torch.load(work / "soft.pt")
    diet = lessons.Diet({"emodb": 0.5, "asterisk": 0.5}, seconds=8, seed=seed)
    return lessons.LessonStream(corpora.load(work), teacher.load_lessons(work, "train"), soft, diet, 100)


def test_a_step_has_the_same_batch_on_every_run_and_another_seed_another(work: Path) -> None:
    first, again, other = stream(work)[5], stream(work)[5], stream(work, seed=1)[5]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.waves, other.waves)


def test_batches_hold_training_speakers_only(work: Path) -> None:
    """Held-out clips have no pooled features among the lessons, so one of them would show as NaN."""
    held_out = corpora.load(work).select("dev") + corpora.load(work).select("test")
    assert np.isnan(teacher.load_lessons(work, "train").pooled[held_out]).all()
    for step in range(6):
        batch = stream(work)[step]
        assert all(torch.isfinite(part.float()).all() for part in batch)


def test_every_frame_belongs_to_the_piece_its_centre_lies_in() -> None:
    first = Piece(0, np.zeros(3200, np.float32), 0, 11, 0, 1.0, 1.0)
    second = Piece(1, np.zeros(3200, np.float32), 50, 11, 640, 1.0, 1.0)
    joined = join([first, second])
    assert joined.teacher_frames[:9].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert joined.teacher_frames[10:].tolist() == [53, 54, 55, 56, 57, 58, 59, 60, 60]
    assert joined.positions[10:].tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 10]


@pytest.mark.slow
def test_the_whole_recipe_ends_in_a_model_directory(work: Path, encoder: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "model"
    distil = ["distil", "--work", str(work), "--out", str(run), "--batch-seconds", "4"]
    main([*distil, "--seconds", "3"])
    steps = json.loads((run / "best" / "dev.json").read_text())["step"]
    main([*distil, "--seconds", "6"])  # resumes
    assert json.loads((run / "last" / "dev.json").read_text())["step"] > steps
    main(["refit", "--work", str(work), "--run", str(run)])
    assert "penalty" in json.loads((run / "refit" / "dev.json").read_text())["head"]
    main(["bar", "--work", str(work), "--teacher", str(encoder), "--baseline", str(run / "last")])
    main(["finish", "--work", str(work), "--run", str(run), "--out", str(out)])
    assert read_model(out).dimensions.width == 192
    figures = json.loads((out / "figures.json").read_text())
    assert figures["test"]["clean"]["emodb"]["clips"] == 7
    assert uncertain_below(out) == figures["uncertain"]["below"]
    assert verify(out).ok
    dev = sum(splits["dev"]["labelled"] for splits in figures["clips"].values())
    assert figures["uncertain"]["n"] == dev  # no training or test speaker's clip among them
    assert "emodb: recall, at least the probe's" in (out / "MODEL_CARD.md").read_text()
