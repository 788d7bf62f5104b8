"""Benchmarks, what they leave behind: tables, JSON, a plot, and the machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.machine import look
from emotape.delivery.bench.pairing import spread
from emotape.delivery.bench.report import Findings, Report, Surroundings, Table, shown
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def report() -> Report:
    times = spread([0.25, 0.5, 1.5])
    bars = tuple(Bar(group, series, times) for group in ("3 s", "10 s") for series in ("ours", "theirs"))
    table = Table("Peers", ({"side": "ours", "ms": times, "error": 1.5e-7}, {"side": "theirs", "ms": 1234.5}))
    samples = ({"side": "ours", "took": (0.25, 0.5, 1.5)},)
    found = Findings("peers", {"seconds": (3.0,)}, (table,), (Chart("Peers", "ms", bars),), samples, ("left out",))
    return Report(found, Surroundings())


def test_the_json_holds_every_measurement_and_the_machine(report: Report, tmp_path: Path) -> None:
    path, picture = report.write(tmp_path / "results" / "peers-1.2")
    assert (path.name, picture.name) == ("peers-1.2.json", "peers-1.2.png")
    found = json.loads(path.read_text("utf-8"))
    assert found["samples"] == [{"side": "ours", "took": [0.25, 0.5, 1.5]}]
    assert found["tables"][0]["rows"][0]["ms"]["median"] == 0.5
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["packages"]["torch"]
    assert set(found["load_average"]) == {"before", "after"}
    assert found["notes"] == ["left out"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_report_without_charts_has_no_plot(tmp_path: Path) -> None:
    report = Report(Findings("parity", {}, (Table("Agreement", ({"other labels": 0},)),), (), ()), Surroundings())
    assert report.write(tmp_path / "parity") == (tmp_path / "parity.json",)


def test_the_text_shows_medians_with_their_extremes_and_the_load(report: Report) -> None:
    text = report.text()
    assert "| ours   | 0.5 (0.25–1.5) | 1.5e-07 |" in text
    assert "| theirs | 1,234          | –       |" in text
    for line in ("Note: left out", "Settings: seconds 3", "Machine: ", "Load average before and after: "):
        assert line in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1


def test_a_place_that_cannot_be_written_is_an_error_of_ours(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest) as caught:
        report.write(tmp_path / "file" / "peers.json")
    assert caught.value.code == "output_unwritable"


def test_cells_have_three_figures() -> None:
    cells = ("a", 7, 0.012345, 12.345, 12345.6, None)
    assert [shown(cell) for cell in cells] == ["a", "7", "0.0123", "12.3", "12,346", "–"]


def test_the_machine_is_named() -> None:
    assert look().processor
    assert look() == look()
