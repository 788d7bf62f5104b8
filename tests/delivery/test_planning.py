"""What to expect of a machine: laws of the costs, what hardware a use needs, and `emotape plan` as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.delivery.planning.cost import Rate, card_peak, expect, typical_rate
from emotape.delivery.planning.hardware import MARKET, NEEDS, judge, market, recommended
from emotape.delivery.planning.measure import measured_rate
from emotape.delivery.threads import COUNTING, UNUSED, heed, settle
from emotape.engine.choices import Planned
from emotape.engine.plan import Accelerator, Machine, plan
from emotape.engine.resident import EngineOptions
from emotape.wording import interface_text
from tests.engine.test_tape import OFFICIAL

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.model.dims import Dims

GB = 10**9
SMALL = replace(OFFICIAL, embed_dim=192, heads=3, prenet_depth=2, depth=2, mlp_dim=768)
cores = st.integers(1, 64)
lengths = st.floats(0.5, 30.0)
dims = st.sampled_from([OFFICIAL, SMALL])


def planned(machine: Machine, network: Dims = OFFICIAL) -> Planned:
    return Planned(machine, EngineOptions(), network.parameters, plan(machine, network.parameters))


@given(cores, cores, lengths, dims)
def test_more_cores_are_never_expected_to_answer_less(one: int, other: int, seconds: float, network: Dims) -> None:
    few, many = (
        expect(planned(Machine(count), network), network, Rate(50), seconds)
        for count in (min(one, other), max(one, other))
    )
    assert many.realtime >= few.realtime
    assert many.work * many.realtime == pytest.approx(seconds)


@given(lengths, lengths, dims)
def test_a_longer_recording_takes_longer(one: float, other: float, network: Dims) -> None:
    here = planned(Machine(4), network)
    short, long = (expect(here, network, Rate(50), seconds) for seconds in (min(one, other), max(one, other)))
    assert short.work <= long.work
    assert short.latency <= long.latency


def test_a_quota_bounds_what_is_expected_whatever_the_threads() -> None:
    """Two threads in one and a half cores' time do not bring two cores' work."""
    free, bound = (expect(planned(Machine(2, quota=quota)), OFFICIAL, Rate(50), 10) for quota in (None, 1.5))
    assert free.work / bound.work == pytest.approx(0.75**0.8, rel=0.05)


def test_answers_wait_for_each_other_and_beyond_capacity_for_ever() -> None:
    found = expect(planned(Machine(4)), OFFICIAL, Rate(50), 10)
    idle, busy = found.answered_after(0.0), found.answered_after(0.8 / found.work)
    assert idle == found.latency
    assert busy is not None
    assert busy > found.latency
    assert found.answered_after(1.01 / found.work) is None


def test_faster_instructions_and_cards_are_typically_faster() -> None:
    plain, wide = Machine(1, instruction_sets=("avx2",)), Machine(1, instruction_sets=("avx2", "avx512f", "amx_bf16"))
    assert typical_rate(plain, "float32").core < typical_rate(wide, "float32").core
    assert typical_rate(wide, "float32").core < typical_rate(wide, "bfloat16").core
    old, new = (
        Accelerator("cuda:0", capability=(6, 1), multiprocessors=20),
        Accelerator("cuda:0", capability=(9, 0), multiprocessors=20),
    )
    consumer, server = (
        Accelerator("cuda:0", title=title, capability=(8, 6), multiprocessors=28) for title in ("GeForce", "A10")
    )
    assert card_peak(old, "float16") < card_peak(new, "float16")
    assert card_peak(consumer, "float16") < card_peak(server, "float16")
    assert card_peak(new, "float32") < card_peak(new, "float16")


def test_two_cards_answer_twice_as_much_and_one_caller_no_sooner() -> None:
    card = Accelerator("cuda:0", 15 * GB, 16 * GB, "Tesla T4", (7, 5), 40)
    one, two = (
        expect(planned(Machine(32, accelerators=cards)), OFFICIAL, Rate(50), 10)
        for cards in ((card,), (card, replace(card, name="cuda:1")))
    )
    assert two.realtime > 1.8 * one.realtime
    assert two.latency == one.latency
    assert one.card > 0


def test_a_measurement_finds_a_rate_and_leaves_torch_as_it_was() -> None:
    import torch

    before = torch.get_num_threads()
    assert measured_rate(SMALL, "float32", 0.05).core > 0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("use", NEEDS)
def test_the_recommended_machine_does_what_is_needed(use: str) -> None:
    """At most 70 % of it is busy and a lone answer comes in time; nothing cheaper on the list is enough."""
    found = market(NEEDS[use], OFFICIAL)
    best = recommended(found)
    assert best.suffices
    assert best.busy <= 0.7
    assert best.expected.latency <= NEEDS[use].patience
    assert not any(each.suffices for each in found[: found.index(best)])
    assert [each.name for each in found] == list(MARKET)


def test_more_than_any_machine_does_takes_several() -> None:
    need = replace(NEEDS["production"], rate=5_000.0)
    best = recommended(market(need, OFFICIAL))
    assert best.count > 1
    assert not judge("this", expect(planned(Machine(1)), OFFICIAL, Rate(10), 10), need).suffices


@pytest.mark.parametrize(
    ("given_", "setting", "threads", "codes"),
    [
        ({}, None, None, []),
        ({"OMP_NUM_THREADS": "3"}, None, 3, ["taken"]),
        ({"OMP_NUM_THREADS": "3,2"}, None, 3, ["taken"]),
        ({"MKL_NUM_THREADS": "2"}, None, 2, ["taken"]),
        ({"OMP_NUM_THREADS": "64"}, None, 4, ["capped"]),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, None, 3, ["taken", "second"]),
        ({"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "2"}, None, 2, ["unreadable", "taken"]),
        ({"OMP_NUM_THREADS": "0"}, None, None, ["unreadable"]),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, 1, None, ["overruled", "overruled"]),
        ({"NUMEXPR_NUM_THREADS": "8"}, None, None, ["unused"]),
    ],
)
def test_what_becomes_of_thread_variables(
    given_: dict[str, str], setting: int | None, threads: int | None, codes: list[str]
) -> None:
    """On a machine that runs four threads at once; each variable gets one line, in both languages."""
    wish = heed(given_, 4, setting)
    assert wish.threads == threads
    assert [remark.code.removeprefix("plan_variable_") for remark in wish.remarks] == codes
    for remark in wish.remarks:
        english, chinese = (interface_text(remark.code, language, **remark.facts) for language in ("en", "zh"))
        assert english.startswith(f"{remark.facts['name']}=")
        assert "\n" not in english + chinese


def test_what_the_user_left_open_is_settled_and_what_was_given_stays() -> None:
    environment = {"OMP_NUM_THREADS": "7", UNUSED: "2", "HOME": "/"}
    assert settle(environment) == {"OMP_NUM_THREADS": "7", UNUSED: "2"}
    assert environment["OMP_NUM_THREADS"] == "7"
    assert int(environment[COUNTING[1]]) >= 1
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*COUNTING, UNUSED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("surroundings")
def test_the_plan_is_the_one_that_the_recognizer_follows() -> None:
    """As JSON, with the user's choices; every value of the running engine is there."""
    from emotape import Recognizer
    from emotape.settings import read_settings, recognizer_options

    flags = {"device": "cpu", "threads": 1}
    done = CliRunner().invoke(app, ["plan", "--json", "--device", "cpu", "--threads", "1"])
    assert done.exit_code == 0
    told = {choice["name"]: choice["value"] for choice in json.loads(done.stdout)["choices"]}
    with Recognizer(options=recognizer_options(read_settings(**flags))) as recognizer:
        followed = recognizer.plan
    of_memory = {"cache_megabytes", "decoded_megabytes"}  # of what is free when it is asked: other programs come and go
    for name in told.keys() - {"devices", "offload"} - of_memory:
        assert told[name] == getattr(followed, name)
    assert told["devices"] == "cpu"


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_plan_in_words_with_a_recommendation(language: str) -> None:
    done = CliRunner().invoke(app, ["plan", "--for", "team", "--rate", "2", "--seconds", "5", "--language", language])
    assert done.exit_code == 0
    assert "queue_seconds = " in done.stdout
    assert all(name in done.stdout for name in MARKET)
    assert interface_text("plan_market_note", language) in done.stdout  # type: ignore[arg-type]


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize(
    "arguments", [["--rate", "2"], ["--for", "team", "--rate", "0"], ["--seconds", "-1"], ["--for", "everybody"]]
)
def test_a_use_that_makes_no_sense_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["plan", *arguments]).exit_code == 2


def test_a_process_of_its_own_heeds_the_variables(tmp_path: Path) -> None:
    """And knows them from what it filled in itself."""
    environment = {**os.environ, "EMOTAPE_LANGUAGE": "en", "XDG_CONFIG_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment.pop("MKL_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-m", "emotape", "plan", "--json"], capture_output=True, check=True, env=environment
    )
    found = json.loads(done.stdout)
    assert [(each["name"], each["outcome"]) for each in found["variables"]] == [("OMP_NUM_THREADS", "taken")]
    values = {choice["name"]: choice["value"] for choice in found["choices"]}
    assert (values["replicas"], values["compute_threads"]) == (1, 1)
