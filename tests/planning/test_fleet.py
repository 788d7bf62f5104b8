"""How many machines: laws of the sums, rates that say where they come from, and what users are told."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.delivery.planning.fleet import Work, cheapest, hours_of, size
from emotape.delivery.planning.fleet_machines import FLEET, MEASURED_MACHINE, Offer, assumed_price, chosen, offers
from emotape.delivery.planning.fleet_network import published
from emotape.delivery.planning.fleet_rates import (
    BUILT_IN,
    DECODED,
    START,
    Audio,
    Rates,
    moved_bytes,
    planned_on,
    rates,
    read_measured,
)
from emotape.errors import BadRequest
from tests.engine.test_tape import OFFICIAL

if TYPE_CHECKING:
    from emotape.delivery.planning.fleet import Sized

RESULTS = Path(__file__).parents[2] / "results"
LARGE = published("plus-large")
names = st.sampled_from(sorted(FLEET))
hours = st.floats(1.0, 1e6)
days = st.floats(0.5, 1_000.0)


def of(name: str, audio: Audio, link: float = 1.0) -> tuple[Offer, Rates]:
    machine = FLEET[name]
    offer = Offer(name, machine, link, assumed_price(machine))
    return offer, rates(name, planned_on(machine, LARGE), LARGE, audio, link)


def sized(name: str, work: Work, link: float = 1.0) -> Sized:
    return size(*of(name, work.audio, link), work)


@given(names, hours, days, st.floats(1.0, 5.0))
def test_a_fleet_is_in_time_and_one_machine_fewer_is_not(name: str, audio: float, within: float, peak: float) -> None:
    work = Work(audio, within, peak=peak)
    found = sized(name, work)
    assert found.count is not None
    assert found.hours <= within * (1 + 1e-9)
    assert found.cost == pytest.approx(found.machine_hours * found.offer.price)
    if found.count > 1:
        fewer = 3600 * (within - _start(found)) * work.used * (found.count - 1) * found.rates.throughput
        assert fewer < work.seconds * (1 + 1e-9)


@given(names, hours, days)
def test_more_work_or_less_time_never_takes_fewer_machines(name: str, audio: float, within: float) -> None:
    least, more, sooner = (
        sized(name, work).count for work in (Work(audio, within), Work(2 * audio, within), Work(audio, within / 2))
    )
    assert least is not None
    assert more is not None
    assert least <= more
    assert sooner is None or least <= sooner


@given(names, st.floats(16.0, 2_000.0), st.floats(0.01, 100.0))
def test_a_machine_is_as_fast_as_its_slowest_part_and_its_relief_is_the_next(
    name: str, kilobits: float, link: float
) -> None:
    found = sized(name, Work(1_000.0, 24.0, Audio(kilobits=kilobits)), link)
    parts = found.rates.parts()
    assert parts[found.bottleneck] == found.rates.throughput == min(parts.values())
    assert found.gigabits <= link * (1 + 1e-9)
    assert found.cores <= found.offer.machine.running * (1 + 1e-9)
    assert found.relief is not None
    assert found.relief.bottleneck != found.bottleneck
    assert found.relief.throughput >= found.rates.throughput
    assert found.relief.count is None or found.count is None or found.relief.count <= found.count


@given(names, hours, days)
def test_one_machine_more_is_sooner_and_costs_only_its_start(name: str, audio: float, within: float) -> None:
    """The work is the same, however many share it."""
    found = sized(name, Work(audio, within))
    assert found.one_more is not None
    assert found.one_more.saved > 0
    assert found.one_more.cost == pytest.approx(_start(found) * found.offer.price, abs=1e-6, rel=1e-3)


def _start(found: Sized) -> float:
    return (60.0 if found.offer.machine.accelerators else START) / 3600


def test_a_slow_store_bounds_all_machines_together() -> None:
    slow = Work(1_000.0, 24.0, store=0.001)
    found = sized("16 cores, NVIDIA H100 80 GB", slow)
    assert found.count is None
    assert found.bottleneck == "store"
    enough = sized("4 cores (AVX2)", replace(slow, store=0.006))
    assert enough.bottleneck == "store" or enough.count is not None
    free = sized("4 cores (AVX2)", replace(slow, store=100.0))
    assert free.count is not None
    assert free.bottleneck == "device"


def test_a_start_longer_than_the_time_there_is_leaves_none() -> None:
    assert sized("8 cores, NVIDIA L4 24 GB", Work(1.0, 0.01)).count is None


def test_the_cheapest_is_in_time_has_the_memory_and_nothing_able_costs_less() -> None:
    fleets = [sized(name, Work(10_000.0, 24.0)) for name in FLEET]
    best = cheapest(fleets)
    assert best is not None
    assert all(best.cost <= fleet.cost for fleet in fleets if fleet.count and fleet.enough)
    assert cheapest([replace(fleet, enough=False) for fleet in fleets]) is None


def test_decoding_takes_turns_with_the_network_on_cores_and_runs_beside_a_card() -> None:
    _, cores = of("8 cores (AVX2)", Audio())
    _, card = of("16 cores, NVIDIA H200 141 GB", Audio(), 1_000.0)
    assert 1 / cores.throughput == pytest.approx(1 / cores.device + 1 / cores.decoding)
    assert card.throughput == min(card.device, card.decoding)
    _, slow = of("16 cores, NVIDIA H200 141 GB", Audio(decoded=100.0), 1_000.0)
    assert slow.bottleneck == "decoding"


def test_what_was_measured_says_so_and_cards_are_estimates() -> None:
    """Of the machines that emotape knows, one was measured; no card was."""
    for name in FLEET:
        _, found = of(name, Audio())
        assert found.measured == (name == MEASURED_MACHINE)
        assert found.source.startswith("card" if FLEET[name].accelerators else ("results/", "cores"))


def test_the_built_in_figures_are_those_of_the_result_files() -> None:
    """Within what one run differs from the next."""
    bundled, large = BUILT_IN
    found, _ = read_measured(RESULTS / Path(bundled.source).name)
    assert bundled.realtime == pytest.approx(found.realtime, rel=0.5)
    assert found.model.startswith("starter-")
    rows = json.loads((RESULTS / Path(large.source).name).read_text())["tables"][0]["rows"]
    (ten,) = (row for row in rows if row["clip s"] == 10.0 and row["side"] == "emotape bfloat16")
    assert large.realtime == pytest.approx(ten["× real time"], rel=0.5)
    for row in json.loads((RESULTS / "decode.json").read_text())["tables"][0]["rows"]:
        decoded = 30_000 / row["emotape"]["median"]
        assert DECODED[row["file"].split(",")[0]] == pytest.approx(decoded, rel=0.5)


def test_a_published_network_has_the_official_numbers() -> None:
    assert replace(LARGE.dims, classes=0) == OFFICIAL
    assert not LARGE.present
    assert moved_bytes(OFFICIAL) > moved_bytes(published("plus-base").dims)


def bench_file(folder: Path, benchmark: str = "gpu") -> Path:
    """Write what `emotape bench` writes, as far as a fleet reads it."""
    machine = {"processor": "Some CPU", "cores": 24, "instruction_sets": ["avx2"], "memory": 64 * 10**9}
    tables: list[dict[str, Any]] = [{"rows": [{"audio s/s": {"median": 77.0}}, {"audio s/s": {"median": 70.0}}]}]
    if benchmark == "gpu":
        row = {"side": "float16", "× real time": {"median": 5_000.0}, "share of the limit": 0.4}
        tables = [{"rows": [{"tokens": 5}]}, {"rows": [row]}]
    record = {
        "benchmark": benchmark,
        "machine": machine,
        "settings": {"model": "large, random weights", "card": "NVIDIA L40S"},
        "tables": tables,
    }
    path = folder / f"{benchmark}.json"
    path.write_text(json.dumps(record))
    return path


def test_a_users_own_figures_count_before_estimates(tmp_path: Path) -> None:
    found, machine = read_measured(bench_file(tmp_path))
    known = rates(found.machine, planned_on(machine, LARGE), LARGE, Audio(), 100.0, (found,))
    assert (known.device, known.measured) == (5_000.0, True)
    assert known.source == str(tmp_path / "gpu.json")
    found, machine = read_measured(bench_file(tmp_path, "throughput"))
    assert (found.realtime, found.machine, found.model) == (77.0, "Some CPU, 24 cores", "plus-large")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmark": "decode"}', '{"benchmark": "gpu", "tables": 1}'])
def test_files_that_hold_no_rate_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(BadRequest, match="fleet_results_unreadable"):
        read_measured(path)


def test_machines_are_chosen_and_priced_by_parts_of_their_names() -> None:
    assert list(chosen(FLEET, ("h100",))) == ["16 cores, NVIDIA H100 80 GB"]
    assert list(chosen(FLEET, ("2 cores", "A10"))) == [MEASURED_MACHINE, "8 cores, NVIDIA A10 24 GB"], "whole words"
    assert all(machine.accelerators for machine in chosen(FLEET, ("cuda",)).values())
    assert chosen(FLEET, ()) == FLEET
    with pytest.raises(BadRequest, match="fleet_unknown_machine"):
        chosen(FLEET, ("abacus",))
    priced = {offer.name: offer for offer in offers(FLEET, {"": 9.0, "H100": 2.0}, 1.0)}
    assert priced["16 cores, NVIDIA H100 80 GB"].price == 2.0
    assert priced["4 cores (AVX2)"].price == 9.0
    assert all(not offer.priced and offer.price > 0 for offer in offers(FLEET, {}, 1.0))


def test_times_are_read_with_their_units() -> None:
    for text, expected in {"36h": 36.0, "2d": 48.0, "90m": 1.5, "24": 24.0, "1w": 168.0, "7200s": 2.0}.items():
        assert hours_of(text) == pytest.approx(expected)
    for wrong in ("", "soon", "-3h", "0h", "5y", "nan", "inf"):
        with pytest.raises(BadRequest, match="fleet_duration"):
            hours_of(wrong)


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)


def asked(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plan", "--fleet", *arguments])
    return done.exit_code, done.stdout


SIZING = ("--hours", "10000", "--within", "24h", "--model", "plus-large")


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_fleet_in_words_says_what_is_measured_what_limits_and_what_one_more_buys(language: str) -> None:
    status, text = asked(*SIZING, "--device", "cpu", "--device", "L4", "--language", language)
    assert status == 0
    lines = text.splitlines()
    assert any(MEASURED_MACHINE in line and " m " in line for line in lines)
    assert any("L4" in line and " e " in line for line in lines)
    assert "results/peers-large-2-threads.json" in text
    assert "33" in text
    assert "this machine" in text
    for english, chinese in (
        ("Bottleneck", "瓶颈"),
        ("One machine more", "再加一台"),
        ("no card was", "未实测任何显卡"),
    ):
        assert (english if language == "en" else chinese) in text


@pytest.mark.usefixtures("surroundings")
def test_a_fleet_as_json_follows_the_users_figures(tmp_path: Path) -> None:
    """Prices, and rates that the user measured."""
    path = bench_file(tmp_path)
    arguments = ("--device", "L40S; H100", "--measured", str(path), "--price", "H100=4", "--network", "100", "--json")
    status, text = asked(*SIZING, *arguments)
    found = json.loads(text)
    assert status == 0
    own, known = found["machines"]
    assert (own["rate"]["measured"], own["rate"]["parts"]["device"]) == (True, 5_000.0)
    assert (known["price"], known["price_assumed"]) == (4.0, False)
    assert own["count"] == math.ceil(1e4 * 3600 / (0.9 * 5_000 * 3600 * (24 - 1 / 60)))
    assert found["cheapest"] in (own["name"], known["name"])


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_simulation_in_words_and_as_a_picture(language: str, tmp_path: Path) -> None:
    path = tmp_path / "flash.png"
    status, text = asked(
        "--rate", "1", "--seconds", "5", "--traffic", "flash", "--peak", "8", "--model", "plus-large", "--device",
        MEASURED_MACHINE, "--policy", "max=6,boot=30", "--plot", str(path), "--language", language,
    )  # fmt: skip
    assert status == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "p99" in text
    assert str(path) in text


@pytest.mark.usefixtures("surroundings")
def test_a_simulation_as_json_is_the_same_each_time() -> None:
    arguments = ("--rate", "0.5", "--traffic", "loss", "--device", "T4", "--json", "--seed", "4")
    first, second = asked(*arguments), asked(*arguments)
    assert first == second
    found = json.loads(first[1])
    counts = found["outcome"]
    assert counts["arrived"] == counts["answered"] + counts["refused"] + counts["waiting"]
    assert found["machine"]["rate"]["measured"] is False
    assert found["policy"]["max"] == 16


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--hours", "5"],
        ["--hours", "5", "--within", "1d", "--rate", "3"],
        ["--hours", "5", "--within", "1d", "--plot", "x.png"],
        ["--rate", "5", "--store", "1"],
        ["--hours", "0", "--within", "1d"],
        ["--hours", "5", "--within", "1d", "--price", "cheap"],
        ["--hours", "5", "--within", "1d", "--format", "8track"],
        ["--hours", "5", "--within", "1d", "--device", "abacus"],
        ["--hours", "5", "--within", "1d", "--for", "team"],
        ["--rate", "5", "--device", "cuda"],
        ["--rate", "5", "--traffic", "nowhere.csv"],
    ],
)
def test_what_makes_no_sense_is_wrong_usage(arguments: list[str]) -> None:
    assert asked(*arguments)[0] == 2


@pytest.mark.usefixtures("surroundings")
def test_options_of_a_fleet_need_a_fleet() -> None:
    assert CliRunner().invoke(app, ["plan", "--hours", "5", "--within", "1d"]).exit_code == 2
