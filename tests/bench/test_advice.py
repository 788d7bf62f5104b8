"""What tuning guides advise, measured in small: the rules of the verdicts, and every claim's ways at work."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from typer.testing import CliRunner

from emotape.delivery.bench import advice, claims_turns, fresh, speech
from emotape.delivery.bench.advice import AdviceOptions
from emotape.delivery.bench.claim import Given, Measured, verdict
from emotape.delivery.bench.claims_child import VARIABLES
from emotape.delivery.bench.pairing import spread
from emotape.delivery.bench.reference import relative_error
from emotape.delivery.bench.subject import Choice, subject
from emotape.delivery.cli import app
from emotape.errors import BadRequest
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = GOLDEN / "large_like"


def silent(_: str) -> None:
    """Tell nobody."""


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([1.0, 1.01, 0.99, 1.02], "no difference"),
        ([1.3, 1.2, 1.4], "helps"),
        ([0.8, 0.7, 0.9], "harms"),
        ([0.9, 1.0, 1.3], "unclear"),
        ([2.0, 2.0], "too few rounds"),
    ],
)
def test_a_verdict_needs_quartiles_on_one_side(ratios: list[float], said: str) -> None:
    assert verdict(spread(ratios)) == said


def test_ways_are_compared_round_by_round() -> None:
    """A busy moment that hits both ways of a round leaves the ratio alone; a yardstick has no verdict."""
    ways = {
        "plain": [{"ms": 10.0}, {"ms": 40.0}, {"ms": 10.0}],
        "advised": [{"ms": 20.0, "MB": 5.0}, {"ms": 80.0, "MB": 5.0}, {"ms": 20.0, "MB": 5.0}],
    }
    measured = Measured("a-claim", "it helps", ways, {"advised": "plain"})
    plain, advised = measured.table().rows
    assert list(plain) == list(advised) == ["way", "ms", "MB", "× better", "than", "verdict"]
    assert (plain["× better"], plain["verdict"], plain["MB"]) == (None, None, None)
    assert (advised["× better"].median, advised["× better"].highest) == (0.5, 0.5)  # type: ignore[union-attr]
    assert (advised["than"], advised["verdict"]) == ("plain", "harms")
    assert [bar.group for bar in measured.chart().bars] == ["advised"]
    assert [sample["way"] for sample in measured.samples()] == ["plain", "advised"]


def test_a_claim_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadRequest, match="bench_unknown"):
        advice.measure(AdviceOptions(claims=("layers",)), silent)


def test_what_this_machine_cannot_show_is_left_out_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a card and without the reference; the rest would still be measured."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(advice, "installed", lambda package: False)
    left_out = advice._impossible(None)
    assert set(left_out) == {"resident", "halves", "halves-speed", "batches", "card"}
    assert left_out["card"] == "there is no graphics card"
    with pytest.raises(BadRequest, match="bench_no_card"):
        advice.measure(AdviceOptions(Choice(NETWORK), ("card",)), silent)


def test_the_variables_are_set_before_anything_reads_them() -> None:
    """Importing the child brings neither numpy nor torch, so what a role sets is what torch finds."""
    code = (
        "import sys, emotape.delivery.bench.child; from emotape.delivery.bench import claims_child as roles\n"
        "assert not {'numpy', 'torch', 'av'} & set(sys.modules), 'too early'\n"
        "roles._set_variables(1); import torch; one = torch.get_num_threads(); print(one)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]
    assert set(VARIABLES) == {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"}


@pytest.mark.slow
@pytest.mark.parametrize("variables", [1, None])
def test_callers_are_answered_as_the_variables_say_and_as_the_plan_does(variables: int | None) -> None:
    asked = {"variables": variables, "directory": NETWORK, "seconds": 0.2, "requests": 3}
    found = fresh.play("claim_network", **asked)
    assert list(found) == ["1 at once, ms", "2 at once, ms", "3 at once, ms"]
    assert min(found.values()) > 0


@pytest.mark.slow
def test_cleaning_up_is_counted_with_the_request() -> None:
    asked = {"directory": NETWORK, "threads": 1, "seconds": 0.2, "requests": 3, "page": 0}
    found = fresh.play("claim_collecting", cleaning=1, **asked)
    assert 0 < found["of it cleaning"] < found["ms"]


def test_the_command_measures_one_claim_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_turns, "_RECORDING_SECONDS", 2.0)
    path = tmp_path / "advice.json"
    words = f"bench advice --claim cache --threads 1 --runs 3 --language en --output {path}"
    done = CliRunner().invoke(app, [*words.split(), "--model", str(NETWORK)])
    assert done.exit_code == 0, done.output
    record = json.loads(path.read_text("utf-8"))
    assert record["settings"]["claims"] == ["cache"]
    (table,) = record["tables"]
    assert [row["way"] for row in table["rows"]] == ["no cache", "memory"]
    assert table["rows"][1]["verdict"] == "helps"
    assert record["notes"] == ["Redis was left out: name one with --redis"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with subject(Choice(NETWORK), official=True) as model:
        yield Given(model, 0.6, 1, 1, "cpu", None, tmp_path_factory.mktemp("claims"), silent)


@pytest.mark.peer
def test_a_list_and_a_tape_equal_single_clips_and_padding_does_not(given: Given) -> None:
    """With clips of one length nothing is padded, and padding equals them, too: the difference is the padding's."""
    ways = claims_turns.batches(given).ways
    errors = {way: max(found["error"] for found in rounds) for way, rounds in ways.items()}
    assert errors["reference, as a list"] == 0
    assert max(errors["emotape, one by one"], errors["emotape, one tape"]) <= 1e-5
    assert errors["reference, padded"] > 1e-3
    reference = claims_turns._BatchReference(given.model.official, "cpu", half=False)  # type: ignore[arg-type]
    clips = [speech.clip(0.5, number) for number in range(2)]
    from emotape.model.weights import load

    equal = reference.padded(clips, load(NETWORK).dims.frames)
    for found, clip in zip(equal, clips, strict=True):
        assert relative_error(found, reference.hear(clip).embedding) <= 1e-5


@pytest.mark.peer
def test_residence_halves_and_a_cards_settings_are_measured_on_any_device(given: Given) -> None:
    resident = claims_turns.resident(given)
    assert set(resident.compared) == {"reference, resident", "emotape, resident"}
    halved = claims_turns.halves_speed(given)
    assert set(halved.compared.values()) == {"reference"}
    card = claims_turns.card(given)
    assert list(card.ways) == ["neither", "cudnn.benchmark", "empty_cache() after every clip"]
    assert not torch.backends.cudnn.benchmark
