"""The simulation beside the real engine: the bundled model under arrivals that were drawn beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from emotape.delivery.bench.fleet import FITTED, FleetOptions, Stream, fitted, measure, predicted
from emotape.delivery.cli import app
from emotape.delivery.planning.simulation_replica import Served
from emotape.delivery.planning.simulation_traffic import poisson
from emotape.events import TapeRan

RESULTS = Path(__file__).parents[2] / "results"
BARE = Served(lanes=2, tape_tokens=1_620, queue=3_600.0, per_tape=0.0, per_clip=0.0, pace=0.0)


def test_costs_are_found_again_in_tapes_that_have_them() -> None:
    true = Served(2, 1_620, 3_600.0, per_tape=0.004, per_clip=0.002, pace=0.01)
    random = np.random.default_rng(1)
    tapes = [
        TapeRan(clips, 100, 1_620, audio, true.cost(clips, audio), "cpu")
        for clips, audio in zip(random.integers(1, 9, 40).tolist(), random.uniform(1, 30, 40).tolist(), strict=True)
    ]
    found = fitted(tapes, BARE)
    assert (found.per_tape, found.per_clip, found.pace) == pytest.approx((0.004, 0.002, 0.01), rel=1e-6)


def test_an_overloaded_engine_is_predicted_to_give_what_its_costs_allow() -> None:
    """Two lanes at a hundredth of a second for each second of audio take 200 of them a second."""
    served = Served(2, 1, 1e9, 0.0, 0.0, pace=0.01)
    stream = predicted(poisson(100.0, 20.0, lambda count: np.full(count, 4.0), seed=3), served)
    assert stream.throughput == pytest.approx(200.0, rel=0.02)


def test_the_recorded_check_is_within_a_quarter() -> None:
    """Of a quiet run of `emotape bench fleet`: throughput at every load, by both kinds of costs."""
    record = json.loads((RESULTS / "fleet-check.json").read_text(encoding="utf-8"))
    rows = record["tables"][1]["rows"]
    assert max(row["load"] for row in rows) > 1, "below capacity throughput is what arrives"
    assert all(0.75 < row["predicted / measured"] < 1.25 for row in rows)


@pytest.mark.slow
def test_the_engine_answers_every_clip_of_a_stream_and_is_reported_beside_its_simulation() -> None:
    """How close they come depends on what else the machine does meanwhile: results/fleet-check.json has a quiet run."""
    told: list[str] = []
    found = measure(FleetOptions(loads=(0.5, 1.5), seconds=0.5, runs=1, longest=2.0, warm=24), told.append)
    assert len(told) == 2
    assert len(found.samples) == 2
    cases: Any = found.samples
    for case in cases:
        sides = [case["measured"], *case["predicted"].values()]
        assert len({round(side["audio"], 6) for side in sides}) == 1, "the same arrivals"
        for side in sides:
            assert side["took"] > 0
            assert 0 <= side["queued"]["p50"] <= side["queued"]["p99"] <= side["answered_after"]["longest"]
        costs = case["costs"][FITTED]
        assert max(costs["per_tape"], costs["per_clip"], costs["pace"]) > 0


def test_loads_that_make_no_sense_are_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["bench", "fleet", "--loads", "much"]).exit_code == 2


def test_throughput_counts_from_the_first_arrival_to_the_last_answer() -> None:
    stream = predicted(poisson(5.0, 10.0, np.ones, seed=1), Served(1, 1, 1e9, 0.0, 0.0, pace=0.001))
    assert isinstance(stream, Stream)
    assert stream.throughput == pytest.approx(stream.audio / stream.took)
