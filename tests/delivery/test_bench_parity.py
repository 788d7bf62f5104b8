"""`bench parity` counts labels and differences on real recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emotape.delivery.bench.parity import ParityOptions, measure
from emotape.delivery.bench.subject import Choice
from emotape.errors import BadRequest
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from pathlib import Path


def test_reduced_arithmetics_are_counted_against_fp32(tmp_path: Path) -> None:
    """Three recordings, one of them no audio: two are heard, fp32 agrees with itself, int8 strays a little."""
    manifest = tmp_path / "manifest.csv"
    files = [AUDIO / "jfk.flac", AUDIO / "thorsten_angry.mp3", AUDIO.parent / "README.md"]
    manifest.write_text("file,label\n" + "".join(f"{file},angry\n" for file in files), encoding="utf-8")
    told: list[str] = []
    found = measure(ParityOptions(manifest, Choice(bundled_model().path), ("int8",)), told.append)
    exact, reduced = found.tables[0].rows
    assert (exact["arithmetic"], exact["same label"], exact["worst difference of a score"]) == (
        "float32", "100.00 %", "0.0000",
    )  # fmt: skip
    assert reduced["arithmetic"] == "int8"
    assert 0 < float(str(reduced["worst difference of a score"])) < 1  # how far it may stray is for the report to say
    assert found.notes == ("1 recordings could not be heard and are left out.",)
    assert len(told) == 2


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    """The evaluation's own errors."""
    with pytest.raises(BadRequest):
        measure(ParityOptions(tmp_path / "missing.csv", Choice()), print)
