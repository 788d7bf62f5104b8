"""The monitor's view: the machine, the queue and the counts of the last seconds, with advice."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from emotape.delivery.metrics import Meter
from emotape.delivery.monitor import FRESH_SECONDS, Monitor
from emotape.delivery.page.monitor import Monitor as PageMonitor
from emotape.delivery.readings import Gpu
from emotape.events import CacheHit, CacheMiss, Decoded, ModelLoaded, Settled, TapeRan

if TYPE_CHECKING:
    from tests.observe.conftest import Observed


class Cards:
    """One card whose use is what the test says."""

    def __init__(self) -> None:
        self.utilisation: float | None = 10.0
        self.asked: list[tuple[str, ...]] = []

    def read(self, devices: Any) -> tuple[Gpu, ...]:
        self.asked.append(tuple(devices))
        return (Gpu("Card", self.utilisation, 1, 10),)


class Hall:
    """A meter and a monitor whose clocks the test sets."""

    def __init__(self, desk: Observed) -> None:
        self.now = 1000.0
        self.cards = Cards()
        self.meter = Meter(self.cards)
        self.meter.recent._clock = self.meter.machine._clock = lambda: self.now
        self.meter.recent._started = 1000
        self.monitor = Monitor(desk.service.recognizer, self.meter, lambda: self.now)
        self.meter(ModelLoaded("m", "d", "cuda:0", "float16", 1.0))

    def work(self, count: int, **stages: float) -> None:
        for _ in range(count):
            self.meter(Decoded("wav", "pcm", 10.0, stages.get("decode", 0.0)))
            self.meter(Settled(1.0, stages, 10.0))
        self.meter(TapeRan(count, 100, 200, 10.0 * count, 0.02, "cuda:0"))


def test_figures_are_of_the_last_seconds(desk: Observed) -> None:
    hall = Hall(desk)
    hall.work(20, decode=0.3, window=0.1, wait=0.5)
    for event in (CacheHit(1.0, 0.1), CacheMiss(1.0, 0.1), CacheMiss(1.0, 0.1), CacheMiss(1.0, 0.1)):
        hall.meter(event)
    hall.now += 10
    seen = hall.monitor.snapshot()
    assert (seen.requests_per_second, seen.realtime_factor) == (2.0, 20.0)
    assert (seen.cache_hit_rate, seen.cache_lookups) == (0.25, 4)
    assert {stage: round(seconds, 6) for stage, seconds in seen.stages.items()} == {
        "decode": 6.0, "window": 2.0, "run": 0.02,
    }  # fmt: skip
    assert seen.waiting_share == 0.5
    assert seen.queue_bound == desk.service.recognizer.plan.queue_seconds
    assert hall.cards.asked == [("cuda:0",)]
    assert [advice.code for advice in seen.advice] == ["advice_gpu_starved_decode"]


def test_one_look_serves_everybody_for_a_while(desk: Observed) -> None:
    hall = Hall(desk)
    first = hall.monitor.snapshot()
    assert hall.monitor.snapshot() is first
    hall.now += FRESH_SECONDS
    assert hall.monitor.snapshot() is not first
    assert len(hall.cards.asked) == 2


def test_the_use_of_a_card_is_steady_and_advice_does_not_flicker(desk: Observed) -> None:
    """A card's own figure jumps from tape to tape."""
    hall = Hall(desk)
    hall.work(20, decode=0.5, wait=0.4)
    said = []
    for use in (10.0, 60.0, 10.0, 60.0, 10.0, 10.0):
        hall.cards.utilisation = use
        hall.now += 1
        said.append([advice.code for advice in hall.monitor.snapshot().advice])
    assert said == [["advice_gpu_starved_decode"]] * 6
    for _ in range(12):
        hall.cards.utilisation = 95.0
        hall.now += 1
        last = hall.monitor.snapshot()
    assert last.gpus[0].utilisation == 95.0
    assert last.advice == ()


def test_a_card_that_does_not_say_is_in_use_while_tapes_run(desk: Observed) -> None:
    hall = Hall(desk)
    hall.cards.utilisation = None
    for _ in range(4):
        hall.meter(TapeRan(1, 100, 200, 10.0, 0.5, "cuda:0"))
    hall.now += 10
    assert hall.monitor.snapshot().gpus[0].utilisation == 20.0


def test_the_page_can_tell_it_in_json_and_both_languages(desk: Observed) -> None:
    """What its tab asks for has no value that JSON lacks, before the first request as well."""
    hall = Hall(desk)
    empty = hall.monitor.snapshot()
    assert (empty.cache_hit_rate, empty.realtime_factor, empty.advice) == (None, 0.0, ())
    json.dumps(asdict(empty), allow_nan=False)
    hall.work(20, decode=0.5, wait=0.4)
    hall.now += 2
    english, chinese = (PageMonitor(hall.monitor).document(language) for language in ("en", "zh"))
    assert english["advice"][0]["text"] != chinese["advice"][0]["text"]
    assert replace(empty).memory_total == english["memory_total"]


def test_it_looks_at_a_real_service(desk: Observed, speech: bytes) -> None:
    desk.send(speech)
    seen = desk.observation.monitor(desk.service.recognizer).snapshot()
    assert seen.process_memory > 50_000_000
    assert seen.queue_seconds == 0.0
    assert seen.gpus == ()
