"""What the tests of batches start from: short recordings, one recognizer, and results read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile

from emotape.delivery.offline.forms import JsonRows
from emotape.delivery.offline.parquet import ParquetRows
from emotape.delivery.offline.rows import Asked
from emotape.recognizer import Recognizer
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emotape.delivery.offline.forms import Form


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run without the settings, the models and the language of whoever runs the tests."""
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer() as opened:
        yield opened


@pytest.fixture
def speech(tmp_path: Path) -> Callable[[int], Path]:
    """Write a folder of short recordings, no two of them alike, and one file that is none."""
    samples, rate = soundfile.read(AUDIO / "thorsten_neutral.flac", dtype="float32")

    def write(count: int) -> Path:
        folder = tmp_path / "calls"
        for number in range(count):
            path = folder / f"{number % 3}" / f"{number:03}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples[400 * number : 400 * number + rate // 2 + 800 * number], rate)
        (folder / "text.wav").write_text("not a sound")
        (folder / "notes.md").write_text("passed over")
        return folder

    return write


@dataclass(frozen=True)
class Results:
    """The rows of an output, in whatever form it is."""

    output: Path

    def rows(self) -> list[dict[str, Any]]:
        parts = [self.output] if self.output.is_file() else sorted(self.output.glob("part-*"))
        return [row for part in parts for row in self._read(part)]

    def by_path(self) -> dict[str, dict[str, Any]]:
        rows = self.rows()
        found = {row["path"]: row for row in rows}
        assert len(found) == len(rows), "a recording stands twice"
        return found

    def _read(self, part: Path) -> list[dict[str, Any]]:
        if part.suffix == ".jsonl":
            return [json.loads(line) for line in part.read_text("utf-8").splitlines()]
        rows: list[dict[str, Any]] = pa.parquet.read_table(part).to_pylist()
        return rows


def form(name: str, **asked: Any) -> Form:
    """Return a form for two labels."""
    wanted = Asked(**{"scores": ("angry", "happy"), **asked})
    return JsonRows(wanted) if name == "jsonl" else ParquetRows(wanted)


@dataclass
class Numbers:
    """A source of numbered items that need no file."""

    count: int
    columns: tuple[Any, ...] = ()
    given: list[int] = field(default_factory=list)

    def items(self) -> Iterator[Any]:
        from emotape.delivery.offline.item import Item

        for number in range(self.count):
            self.given.append(number)
            yield Item(f"{number}.wav", b"%d" % number)

    def marks(self) -> range:
        return range(self.count)


def row_of(item: Any, *, error: str | None = None, passing: bool = False) -> dict[str, Any]:
    """Return a row such as an engine makes."""
    facts: dict[str, Any] = {"error_code": error, "error_message": "it failed", "error_passing": passing}
    if error is None:
        calculated = {"model": "m", "model_digest": "d", "dtype": "float32", "version": "1"}
        facts = {
            "emotion": "happy",
            "score_happy": float(np.float32(0.7)),
            "seconds": 1.5,
            "warnings": [],
            **calculated,
        }
    return {"key": item.key(), "path": item.name, "id": None, **item.carried, **facts}
