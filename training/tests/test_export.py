"""A model directory holds the whole student."""

from pathlib import Path

import torch

from training.export import NAMES, read_dimensions, read_model, warm_start, write_model
from training.student import Dimensions, Student, frames_of

SMALL = Dimensions(channels=16, width=48, heads=3, prenet_depth=1, depth=2)
WAVES, FRAMES = torch.randn(2, 8000), frames_of(torch.tensor([8000, 8000]))


def written(folder: Path) -> Student:
    torch.manual_seed(0)
    student = Student(SMALL).eval()
    write_model(student, folder)
    return student


def test_what_is_written_is_read_up_to_halves(tmp_path: Path) -> None:
    student = written(tmp_path)
    assert read_dimensions(tmp_path) == SMALL
    with torch.no_grad():
        told, kept = read_model(tmp_path)(WAVES, FRAMES).mean, student(WAVES, FRAMES).mean
    torch.testing.assert_close(told, kept, atol=2e-2, rtol=2e-2)


def test_labels_that_were_never_taught_never_win(tmp_path: Path) -> None:
    written(tmp_path)
    with torch.no_grad():
        chances = read_model(tmp_path)(WAVES, FRAMES).logits.softmax(-1)
    assert chances[:, [NAMES.index("other"), NAMES.index("<unk>")]].max() < 1e-9


def test_a_warm_start_takes_everything_that_fits(tmp_path: Path) -> None:
    written(tmp_path)
    same, other = Student(SMALL), Student(Dimensions(channels=16, width=48, heads=3, prenet_depth=1, depth=1))
    assert warm_start(same, tmp_path) == []
    assert warm_start(other, tmp_path) == []
    wider = Student(Dimensions(channels=16, width=96, heads=3, prenet_depth=1, depth=2))
    assert "modality_encoders.AUDIO.local_encoder.conv_layers.0.0.weight" not in warm_start(wider, tmp_path)
