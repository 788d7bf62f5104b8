"""A real engine that is steered: what changes, what is told, what is read of memory, and what comes back."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from emotape import Recognizer, RecognizerOptions
from emotape.delivery.adaptations import AdaptationLog
from emotape.engine.control.adaptation import Adaptation, Look, measure
from emotape.engine.control.course import Bounds, Course
from emotape.engine.control.memory import MemoryReading
from emotape.engine.control.pressure import MemoryWatch
from emotape.engine.control.ticker import Ticker
from emotape.engine.control.work import Work, WorkMeter
from emotape.engine.decoding_pool import DecodingPool
from emotape.engine.resident import EngineOptions
from emotape.errors import Overloaded
from emotape.events import Adapted, Event, ModelLoaded, ModelUnloaded
from emotape.settings import read_settings, recognizer_options
from emotape.store.cache.layered import LayeredCache
from emotape.store.cache.memory import MemoryCache
from emotape.store.cache.result_cache import FakeCache, keeper
from tests.conftest import AUDIO
from tests.engine.test_scheduler import Clock, GatedRunner, clip, scheduler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEECH = AUDIO / "thorsten_neutral.wav"
MB = 1_000_000


class FakeEngine:
    """An engine that says what a test tells it, and notes how it is steered."""

    def __init__(self) -> None:
        self.now = Look(Work(0.0, 0.0, 0, 0, 0.0), runners=1, backlog=0.0, undecoded=0)
        self.courses: list[Course] = []
        self.released = self.trimmed = 0

    def look(self) -> Look:
        return self.now

    def bounds(self) -> Bounds:
        return Bounds(decoders=4, tape_tokens=1_000, queue_seconds=600.0, decoded_megabytes=800.0)

    def steer(self, course: Course) -> None:
        self.courses.append(course)

    def release(self) -> None:
        self.released += 1

    def trim(self) -> None:
        self.trimmed += 1


def test_every_change_is_steered_and_told_once() -> None:
    engine, cache, told = FakeEngine(), MemoryCache(megabytes=1.0), list[Event]()
    readings = iter([MemoryReading(10, 100), MemoryReading(99, 100), MemoryReading(99, 100)])
    adaptation = Adaptation(
        engine,
        memory=lambda: next(readings),
        keep=keeper(cache),
        release=engine.release,
        trim=engine.trim,
        observer=told.append,
    )
    cache.put("key", b"entry")
    adaptation.tick()
    assert (engine.courses, told, cache.get("key")) == ([], [], b"entry")
    adaptation.tick()
    adaptation.tick()
    assert engine.courses == [Course(1, 1_000, 30.0, 100.0, 0.0)]
    assert told == [
        Adapted("decoders", 4, 1, "memory_short"),
        Adapted("queue_seconds", 600.0, 30.0, "memory_short"),
        Adapted("decoded_megabytes", 800.0, 100.0, "memory_short"),
        Adapted("cache_share", 1.0, 0.0, "memory_short"),
    ]
    assert cache.get("key") is None
    assert (engine.released, engine.trimmed) == (2, 2)


def test_a_tick_measures_what_happened_in_it() -> None:
    before = Look(Work(10.0, 3.0, 1, 100, 0.5), runners=2, backlog=1.0, undecoded=7)
    now = Look(Work(12.0, 6.0, 5, 500, 2.5), runners=2, backlog=0.5, undecoded=3)
    measured = measure(before, now, None)
    assert (measured.supply.busy, measured.supply.backlog, measured.supply.waiting) == (0.75, 0.5, 3)
    throughput = measured.throughput
    assert (throughput.tapes, throughput.tokens, throughput.seconds, throughput.saturated) == (4, 400, 2.0, True)


def test_a_tape_under_way_counts_as_work() -> None:
    clock = Clock()
    meter = WorkMeter(clock)
    with meter.tape():
        clock.now = 2.0
        assert meter.look().busy == 2.0
        with meter.tape():
            clock.now = 3.0
    clock.now = 9.0
    meter.ran(100, 3.0)
    assert meter.look() == Work(9.0, 4.0, 1, 100, 3.0)


# ---- what is steered


def test_a_lower_bound_refuses_and_shorter_tapes_answer_the_same() -> None:
    runner = GatedRunner()
    with scheduler(runner, tape_tokens=10_000) as (made, _):
        first = made.submit([clip(0.5)])
        assert runner.entered.acquire(timeout=60)
        waiting = [made.submit([clip(0.25, seconds=1.0)]) for _ in range(8)]
        made.shape_tapes(130)  # two of 49 frames and 10 tokens
        made.queue_seconds = 8.5
        with pytest.raises(Overloaded):
            made.submit([clip(0.25, seconds=1.0)])
        runner.open()
        assert all(future.result(60).scores for future in (first, *waiting))
        assert [len(tape) for tape in runner.ran] == [1, 2, 2, 2, 2]
        made.shape_tapes(10**9)
        assert made.most_tape_tokens == 10_000


def test_only_so_many_decode_at_once_and_the_number_can_change() -> None:
    pool = DecodingPool(4, lambda: None)
    pool.limit = 1
    entered, gate = threading.Semaphore(0), threading.Semaphore(0)
    together, most = [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        entered.release()
        assert gate.acquire(timeout=60)
        with lock:
            together[0] -= 1

    for _ in range(12):
        pool.submit(work)
    for _ in range(4):
        assert entered.acquire(timeout=60)
        gate.release()
    assert most[0] == 1
    pool.limit = 9
    assert pool.limit == 4
    until(lambda: together[0] == 4)
    gate.release(12)
    pool.shutdown()
    assert pool.waiting == 0
    with pytest.raises(RuntimeError):
        pool.submit(work)
    assert pool.waiting == 0


def test_a_cache_keeps_its_share_and_has_all_its_room_again() -> None:
    cache = MemoryCache(megabytes=1.0)
    entry = bytes(9_400)
    for number in range(100):
        cache.put(str(number), entry)
    full = cache.bytes
    cache.keep_share(0.5)
    assert 0.45 * full < cache.bytes <= 0.5 * MB
    assert cache.get("99") == entry
    assert cache.get("0") is None
    cache.keep_share(0.0)
    cache.put("new", b"")
    assert cache.bytes == 0
    cache.keep_share(1.0)
    for number in range(100):
        cache.put(str(number), entry)
    assert cache.bytes == full


def test_of_two_caches_the_one_in_this_process_gives_way() -> None:
    near, far = MemoryCache(megabytes=1.0), FakeCache()
    both = LayeredCache(near, far)
    both.put("key", b"entry")
    keeper(both)(0.0)
    assert near.bytes == 0
    assert both.get("key") == b"entry"
    keeper(far)(0.0)
    keeper(None)(0.0)
    assert far.entries


# ---- what is read of memory


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "ascii")
    return root


MACHINE = {"proc/meminfo": "MemTotal:       10000 kB\nMemFree: 10 kB\nMemAvailable:    6000 kB\n"}
STALLED = "some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n"
GROUP = {
    "proc/self/cgroup": "0::/service\n",
    "sys/fs/cgroup/service/memory.current": "900000\n",
    "sys/fs/cgroup/service/memory.stat": "anon 1\ninactive_file 100000\n",
    "sys/fs/cgroup/service/memory.pressure": STALLED,
}
FIRST = {
    "proc/self/cgroup": "4:memory:/service\n0::/\n",
    "sys/fs/cgroup/memory/service/memory.limit_in_bytes": "1000000\n",
    "sys/fs/cgroup/memory/service/memory.usage_in_bytes": "900000\n",
    "sys/fs/cgroup/memory/service/memory.stat": "total_inactive_file 100000\n",
}
MAXIMUM = {"sys/fs/cgroup/service/memory.max": "1000000\n"}
HIGH = {"sys/fs/cgroup/service/memory.high": "850000\n"}
NO_HIGH = {"sys/fs/cgroup/service/memory.high": "max\n", "sys/fs/cgroup/service/memory.max": "max\n"}


@pytest.mark.parametrize(
    ("files", "reading"),
    [
        ({}, None),
        ({"proc/meminfo": "nonsense"}, None),
        (MACHINE, MemoryReading(4_096_000, 10_240_000)),
        (MACHINE | {"proc/pressure/memory": STALLED}, MemoryReading(4_096_000, 10_240_000, 12.5)),
        (MACHINE | GROUP | MAXIMUM, MemoryReading(800_000, 1_000_000, 12.5)),
        (MACHINE | GROUP | MAXIMUM | HIGH, MemoryReading(800_000, 850_000, 12.5)),
        (MACHINE | GROUP | HIGH, MemoryReading(800_000, 850_000, 12.5)),
        (MACHINE | GROUP | NO_HIGH, MemoryReading(4_096_000, 10_240_000)),
        (MACHINE | FIRST, MemoryReading(800_000, 1_000_000)),
    ],
)
def test_memory_is_read_where_the_system_tells_of_it(
    tmp_path: Path, files: dict[str, str], reading: MemoryReading | None
) -> None:
    """The group's limit or the machine's, whichever leaves less; and the time lost to its lack."""
    assert MemoryWatch(system(tmp_path, files))() == reading


def test_this_machine_can_be_read() -> None:
    reading = MemoryWatch()()
    assert reading is None or 0 <= reading.used <= 1 << 50


# ---- the thread


def test_a_ticker_survives_a_failure_and_ends_when_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ended, ticks = threading.Event(), iter([ValueError("once"), True, False])

    def tick() -> bool:
        told: Any = next(ticks)
        if isinstance(told, Exception):
            raise told
        return bool(told)

    with caplog.at_level(logging.ERROR, "emotape"):
        ticker = Ticker(tick, 0.001, ended.set)
        ticker.start()
        assert ended.wait(60)
    assert "could not be adapted" in caplog.text
    ticker.stop()


def test_stopping_from_within_a_tick_waits_for_nobody() -> None:
    ended = threading.Event()

    def tick() -> bool:
        ticker.stop()
        return False

    ticker = Ticker(tick, 0.001, ended.set)
    ticker.start()
    assert ended.wait(60)


# ---- the recognizer


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine be looked at a hundred times as often."""
    monkeypatch.setattr("emotape.engine.host.TICK_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_model_that_was_let_go_comes_back_for_the_next_request() -> None:
    """Its digest, labels and plan stay known meanwhile, and the answer is the same."""
    told: list[Event] = []
    options = RecognizerOptions(adapt=True, idle_unload_seconds=0.05)
    with Recognizer(options=options, observer=told.append, cache=MemoryCache()) as recognizer:
        scores = recognizer.recognize(SPEECH).scores
        until(lambda: recognizer.is_asleep)
        known = recognizer.digest, recognizer.labels, recognizer.plan.devices
        assert recognizer.queue_seconds is None
        assert recognizer.is_ready
        pending = recognizer.submit(AUDIO / "jfk.flac")
        assert pending.progress().stage == "loading" or not recognizer.is_asleep
        assert pending.result(60).emotion
        assert recognizer.recognize(SPEECH).scores == pytest.approx(scores)
        assert (recognizer.digest, recognizer.labels, recognizer.plan.devices) == known
    facts = [type(event) for event in told if isinstance(event, ModelLoaded | ModelUnloaded)]
    assert facts[:3] == [ModelLoaded, ModelUnloaded, ModelLoaded]


@pytest.mark.usefixtures("quick")
def test_requests_at_the_border_are_all_answered() -> None:
    """A time so short that the model goes whenever nobody is inside: from three threads, every request is answered."""
    told: list[Event] = []
    options = RecognizerOptions(idle_unload_seconds=1e-9)
    answered: list[bool] = []

    def ask(recognizer: Recognizer, pauses: int) -> None:
        for number in range(12):
            answered.append(bool(recognizer.submit(SPEECH).result(60).emotion))
            if number % pauses == 0:
                until(lambda: recognizer.is_asleep or len(answered) % 5 == 0)

    with Recognizer(options=options, observer=told.append) as recognizer:
        threads = [threading.Thread(target=ask, args=(recognizer, pauses)) for pauses in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert answered == [True] * 36
    assert sum(isinstance(event, ModelUnloaded) for event in told) >= 1


@pytest.mark.usefixtures("quick")
def test_who_leaves_while_the_model_comes_back_keeps_nobody_inside() -> None:
    options = RecognizerOptions(idle_unload_seconds=0.02)
    with Recognizer(options=options) as recognizer:
        until(lambda: recognizer.is_asleep)
        pending = recognizer.submit(SPEECH)
        pending.cancel()
        until(pending.cancelled)
        until(lambda: recognizer.is_asleep)
        assert recognizer.recognize(SPEECH).emotion


@pytest.mark.usefixtures("quick")
def test_short_memory_is_given_back_while_requests_are_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue's bound, the cache and the idle decoding process go, and come back; nobody's answer changes."""
    used = [10]
    monkeypatch.setattr("emotape.engine.host.MemoryWatch", lambda: lambda: MemoryReading(used[0], 100))
    cache = MemoryCache()
    options = RecognizerOptions(adapt=True, engine=EngineOptions(decode_processes=1))
    with Recognizer(options=options, cache=cache) as recognizer:
        processes = recognizer._ready()._processes
        assert processes is not None
        scores = recognizer.recognize(SPEECH).scores
        whole = recognizer.plan.queue_seconds
        assert (recognizer.queue_seconds, len(processes.pids)) == (whole, 1)
        assert cache.bytes > 0
        used[0] = 99
        until(lambda: recognizer.queue_seconds == 30.0 and cache.bytes == 0 and not processes.pids)
        assert recognizer.recognize(SPEECH).scores == pytest.approx(scores)
        assert cache.bytes == 0
        used[0] = 10
        until(lambda: recognizer.queue_seconds == whole)
        assert recognizer.recognize(SPEECH).scores == pytest.approx(scores)
        assert cache.bytes > 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_nothing_is_started_before_it_is_needed_or_unless_it_is_wanted() -> None:
    def control() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "emotape-control"]

    with Recognizer() as plain:
        assert plain.recognize(SPEECH).emotion
        assert control() == []
    adapting = Recognizer(options=RecognizerOptions(adapt=True))
    assert control() == []
    with adapting:
        assert control() == ["emotape-control"]
    assert control() == []


def test_the_settings_reach_the_recognizer() -> None:
    """A command adapts unless it is told otherwise, and keeps its model unless it is told when to let go."""
    found = recognizer_options(read_settings())
    assert (found.adapt, found.idle_unload_seconds) == (True, None)
    found = recognizer_options(read_settings(adapt=False, idle_unload_minutes=1.5))
    assert (found.adapt, found.idle_unload_seconds) == (False, 90.0)
    assert (RecognizerOptions().adapt, RecognizerOptions().idle_unload_seconds) == (False, None)


# ---- what is told


@pytest.mark.parametrize(("language", "words"), [("en", "Adapted queue_seconds"), ("zh", "自动调整 queue_seconds")])
def test_the_log_warns_of_memory_and_notes_the_rest(
    caplog: pytest.LogCaptureFixture, language: Any, words: str
) -> None:
    log = AdaptationLog(language)
    loaded = ModelLoaded("starter", "abc", "cpu", "float32", 0.5)
    with caplog.at_level(logging.INFO):
        for event in (
            loaded,
            Adapted("queue_seconds", 600.0, 300.0, "memory_tight"),
            Adapted("decoders", 1, 2, "starved"),
            ModelUnloaded("starter", 600.0),
            loaded,
        ):
            log(event)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO", "INFO"]
    assert words in caplog.records[0].getMessage()
    assert caplog.records[0].emotape_facts == {  # type: ignore[attr-defined]
        "event": "adapted", "what": "queue_seconds", "before": 600.0, "after": 300.0, "reason": "memory_tight",
    }  # fmt: skip
    assert "starter" in caplog.records[2].getMessage()
    assert "starter" in caplog.records[3].getMessage()
