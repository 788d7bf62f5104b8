"""A small labelled collection of real speech, and the model that a first adaptation to it gave."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
import soundfile
from typer.testing import CliRunner

from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE
from emotape.delivery.cli import app
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

SOURCES = {"平静": "thorsten_neutral.wav", "angry": "thorsten_angry.mp3", "演讲/speech": "jfk.flac"}
CLIPS = 8  # of each label; two by each of four speakers


def invoke(*arguments: object) -> Result:
    """Run the command line with these arguments."""
    return CliRunner().invoke(app, ["--debug", *(str(argument) for argument in arguments)], obj={})


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a manifest of 24 recordings of half a second, with two Chinese labels and an official one."""
    folder = tmp_path_factory.mktemp("collection")
    rows = []
    for index, (label, name) in enumerate(SOURCES.items()):
        waveform = decode(AUDIO / name).waveforms[0]
        for number in range(CLIPS):
            start = 1000 + number * (len(waveform) - 1000 - SAMPLE_RATE // 2) // CLIPS
            file = f"{index}-{number}.wav"
            soundfile.write(folder / file, waveform.samples[start : start + SAMPLE_RATE // 2], SAMPLE_RATE)
            rows.append([file, label, f"s{number % 4}"])
    return write_manifest(folder / "train.csv", rows)


def write_manifest(path: Path, rows: list[list[str]], columns: tuple[str, ...] = ("file", "label", "speaker")) -> Path:
    """Write a manifest."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def rows_of(manifest: Path) -> list[list[str]]:
    """Return the rows of a manifest, without its header."""
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture(scope="session")
def adapted(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model directory of a linear head on the bundled model."""
    output = tmp_path_factory.mktemp("models") / "mine"
    done = invoke("adapt", collection, "--output", output, "--model", "starter-v2", "--seed", 3)
    assert done.exit_code == 0, done.output
    return output
