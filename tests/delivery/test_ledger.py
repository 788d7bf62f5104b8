"""The ledger: what is done is known again, and nothing else is; a kill at any byte harms at most one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotape.audio.waveform import Waveform
from emotape.delivery.export import Contents, details, result, write_folder
from emotape.delivery.ledger import NAME, Ledger, ledger_key
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

WAVEFORM = Waveform(np.zeros(800, np.float32))
ASKED = {"granularity": "utterance", "arithmetic": "abc float32"}


def recorded(output: Path, noon: datetime, *keys: str) -> None:
    """Record one folder per key."""
    for key in keys:
        folder = write_folder(output, Contents(make_prediction(), WAVEFORM, noon))
        Ledger(output).add(key, "a.wav", [folder])


def test_what_was_recorded_is_found_again_whole(tmp_path: Path, noon: datetime) -> None:
    recorded(tmp_path, noon, "k")
    made = make_prediction()
    folder = str(tmp_path / "outputs_20260104_223000")
    assert Ledger(tmp_path).documents("k") == [{**result(made, noon), "details": details(made) | {"folder": folder}}]
    assert Ledger(tmp_path).documents("other") is None


def test_a_folder_that_is_gone_or_damaged_is_not_done(tmp_path: Path, noon: datetime) -> None:
    recorded(tmp_path, noon, "k")
    folder = tmp_path / "outputs_20260104_223000"
    (folder / "details.json").write_text("{", "utf-8")
    assert Ledger(tmp_path).documents("k") is None
    (folder / "details.json").unlink()
    assert Ledger(tmp_path).documents("k") is None


def test_the_key_changes_exactly_with_content_and_options(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    one.write_bytes(b"sound")
    same.write_bytes(b"sound")
    other.write_bytes(b"noise")
    assert ledger_key(one, ASKED) == ledger_key(same, dict(reversed(ASKED.items())))
    keys = {ledger_key(one, ASKED), ledger_key(other, ASKED), ledger_key(one, ASKED | {"arithmetic": "abd float32"})}
    assert len(keys) == 3
    assert ledger_key(tmp_path / "gone", ASKED) is None
    assert ledger_key(tmp_path / "a\0b", ASKED) is None


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.floats(0, 1))
def test_a_kill_at_any_byte_costs_at_most_the_line_it_cut(tmp_path: Path, noon: datetime, share: float) -> None:
    path = tmp_path / NAME
    path.unlink(missing_ok=True)
    recorded(tmp_path, noon, "first", "second")
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    path.write_bytes(whole[: start + round(share * (len(whole) - start))])
    recorded(tmp_path, noon, "third")
    ledger = Ledger(tmp_path)
    assert ledger.documents("first") is not None
    assert ledger.documents("third") is not None


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"[]\n", b"{}\n", b'{"key": 1, "folders": 2}\n', b"\x00" * 50 + b"\n"])
def test_lines_that_are_no_entries_count_for_nothing(tmp_path: Path, noon: datetime, line: bytes) -> None:
    recorded(tmp_path, noon, "k")
    path = tmp_path / NAME
    path.write_bytes(line + path.read_bytes() + line)
    assert Ledger(tmp_path).documents("k") is not None


def test_an_entry_cannot_lead_out_of_the_output_folder(tmp_path: Path, noon: datetime) -> None:
    recorded(tmp_path / "elsewhere", noon, "k")
    output = tmp_path / "output"
    output.mkdir()
    entry = {"key": "k", "file": "a.wav", "folders": ["../elsewhere/outputs_20260104_223000"]}
    (output / NAME).write_text(json.dumps(entry) + "\n", "utf-8")
    assert Ledger(output).documents("k") is None
