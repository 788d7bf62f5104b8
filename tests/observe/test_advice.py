"""Advice: which measurements lead to which lines, in words that give the reason, and that they do not flicker."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from emotape.delivery.advice import Snapshot, advise
from emotape.delivery.readings import Gpu
from emotape.wording import interface_text, known_codes

GB = 10**9
H200 = Gpu("NVIDIA H200", 80.0, 30 * GB, 150 * GB)
IDLE = replace(H200, utilisation=12.0)
WELL = Snapshot(
    cpu_percent=55.0,
    memory_used=6 * GB,
    memory_total=16 * GB,
    process_memory=2 * GB,
    process_swap=0,
    swap_used=3 * GB,
    gpus=(H200,),
    queue_seconds=100.0,
    queue_bound=3600.0,
    requests_per_second=40.0,
    realtime_factor=300.0,
    cache_hit_rate=0.2,
    cache_lookups=4000,
    stages={"decode": 20.0, "window": 2.0, "run": 50.0, "finish": 1.0},
    waiting_share=0.01,
)
STARVED: dict[str, Any] = {"gpus": (IDLE,), "waiting_share": 0.4}
RECORDED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    (STARVED, ["advice_gpu_starved_decode"]),
    (STARVED | {"stages": {"decode": 3.0, "window": 9.0, "run": 5.0}}, ["advice_gpu_starved_window"]),
    (STARVED | {"stages": {"decode": 3.0, "window": 2.0, "finish": 5.0}}, ["advice_gpu_starved_finish"]),
    ({"gpus": (IDLE,), "cpu_percent": 97.0}, ["advice_gpu_starved_decode"]),
    ({"gpus": (H200, IDLE), "waiting_share": 0.4}, ["advice_gpu_starved_decode"]),
    ({"gpus": (IDLE,)}, []),  # little to do is no fault
    (STARVED | {"stages": {}}, []),  # nothing was asked at all
    ({"gpus": (), "waiting_share": 0.4, "cpu_percent": 100.0}, []),  # there is no card to starve
    ({"gpus": (replace(H200, utilisation=None),), "waiting_share": 0.4}, []),
    ({"memory_used": int(14.5 * GB)}, ["advice_memory_full"]),
    ({"process_swap": 400_000_000}, ["advice_swap_process"]),
    ({"process_swap": None}, ["advice_swap_machine"]),  # where a process does not say, the machine does
    ({"process_swap": None, "swap_used": 0}, []),
    ({"queue_seconds": 3000.0}, ["advice_queue_full"]),
    ({"queue_seconds": 3000.0, "queue_bound": None}, []),
    ({"cache_hit_rate": 0.001}, ["advice_cache_useless"]),
    ({"cache_hit_rate": 0.0, "cache_lookups": 20}, []),  # too few to judge by
    ({"cache_hit_rate": None, "cache_lookups": 0}, []),
    ({"gpus": (replace(H200, memory_used=149 * GB),)}, ["advice_gpu_memory_full"]),
    (
        {"memory_used": 15 * GB, "process_swap": GB, "queue_seconds": 3600.0},
        ["advice_memory_full", "advice_swap_process", "advice_queue_full"],
    ),
]


@pytest.mark.parametrize(("differences", "codes"), RECORDED)
def test_a_measurement_leads_to_its_advice_the_most_urgent_first(differences: dict[str, Any], codes: list[str]) -> None:
    assert [advice.code for advice in advise(replace(WELL, **differences))] == codes


def test_every_advice_is_worded_with_its_figures_in_both_languages() -> None:
    """All codes there are occur among the recorded measurements, and none has a text of its own alone."""
    found = {advice.code: advice for changes, _ in RECORDED for advice in advise(replace(WELL, **changes))}
    assert set(found) == {code for code in known_codes("texts") if code.startswith("advice_")}
    for advice in found.values():
        english, chinese = (interface_text(advice.code, language, **advice.facts) for language in ("en", "zh"))
        assert re.search(r"[\u4e00-\u9fff]", chinese)
        figures = [sorted(re.findall(r"\d+(?:\.\d+)?", text)) for text in (english, chinese)]
        assert figures[0] == figures[1] != []


def test_a_starving_card_is_told_with_the_stage_and_the_figures_that_prove_it() -> None:
    (advice,) = advise(replace(WELL, **STARVED, cpu_percent=93.0))
    text = interface_text(advice.code, "en", **advice.facts)
    assert "NVIDIA H200 is only 12 % busy" in text
    assert "decoding on the processor is the bottleneck, because it takes 87 %" in text
    assert "93 % busy" in text
    assert "40 %" in text


@pytest.mark.parametrize(
    ("prefix", "figure", "appears", "stays", "goes"),
    [
        ("advice_memory", "memory_used", 14.4 * GB, 13.7 * GB, 13.5 * GB),
        ("advice_swap", "process_swap", 32_000_000, 16_000_000, 15_000_000),
        ("advice_queue", "queue_seconds", 2880.0, 2160.0, 2100.0),
        ("advice_gpu_starved", "waiting_share", 0.2, 0.1, 0.09),
        ("advice_cache", "cache_hit_rate", 0.009, 0.029, 0.03),
    ],
)
def test_advice_stays_until_things_are_clearly_better(
    prefix: str, figure: str, appears: float, stays: float, goes: float
) -> None:
    """A figure between the two limits changes nothing: what was said is still said, what was not is still not."""
    base = replace(WELL, gpus=(IDLE,))

    def codes(value: float, standing: tuple[str, ...] = ()) -> tuple[str, ...]:
        seen = replace(base, **{figure: value})  # type: ignore[arg-type]
        return tuple(advice.code for advice in advise(seen, standing) if advice.code.startswith(prefix))

    said = codes(appears)
    assert said
    assert codes(stays) == ()
    assert codes(stays, said) == said
    assert codes(goes, said) == ()


def test_the_use_of_a_card_has_two_limits_as_well() -> None:
    between = replace(WELL, **(STARVED | {"gpus": (replace(H200, utilisation=35.0),)}))
    assert advise(between) == ()
    assert [advice.code for advice in advise(between, ("advice_gpu_starved_window",))] == ["advice_gpu_starved_decode"]
