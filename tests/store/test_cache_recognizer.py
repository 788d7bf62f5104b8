"""A recognizer with a cache: the same answers, calculated once, whatever the cache does."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import soundfile
from tests.conftest import AUDIO
from tests.store.redis_server import RedisServer, needs_redis

from emotape import EngineOptions, MemoryCache, Recognizer, RecognizerOptions, Waveform, WindowOptions
from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE
from emotape.engine.runner import TorchRunner
from emotape.engine.segments import SegmentOptions
from emotape.errors import BadAudio, BadRequest, EngineFault, Expired, TooLong
from emotape.events import Answered, CacheDown, CacheHit, CacheMiss, Event, Settled
from emotape.store.cache.entry import pack
from emotape.store.cache.redis import RedisCache
from emotape.store.cache.result_cache import FakeCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emotape import Prediction
    from emotape.engine.runner import Clip, ClipScores

SPEECH = AUDIO / "thorsten_neutral.wav"
KINDS: list[dict[str, Any]] = [
    {},
    {"embedding": True, "quality": True},
    {"granularity": "frame", "embedding": True},
    {"granularity": "segment"},
]


AFTERWARDS = (Answered, Settled)
"""Facts that may be stated when the caller has already gone on."""


class Desk:
    """A recognizer with a cache, and the facts it stated since the last look."""

    def __init__(self, cache: Any, options: RecognizerOptions | None = None) -> None:
        self._events: list[Event] = []
        self.recognizer = Recognizer(options=options, observer=self._events.append, cache=cache)

    def facts(self) -> Counter[str]:
        counted = Counter(type(event).__name__ for event in self._events if not isinstance(event, AFTERWARDS))
        self._events.clear()
        return counted

    def said(self, kind: type[Any]) -> list[Any]:
        return [event for event in self._events if isinstance(event, kind)]

    def __enter__(self) -> Self:
        self.recognizer.open()
        self.facts()
        return self

    def __exit__(self, *_: object) -> None:
        self.recognizer.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Desk, FakeCache]]:
    cache = FakeCache()
    one_tape_at_once = RecognizerOptions(engine=EngineOptions(compute_threads=1))  # what is behind it can be withdrawn
    with Desk(cache, one_tape_at_once) as desk:
        yield desk, cache


@pytest.fixture
def desk(shared: tuple[Desk, FakeCache]) -> Desk:
    """One recognizer for the module; what it kept and counted is forgotten before each test."""
    shared[1].close()
    shared[0].facts()
    return shared[0]


@pytest.fixture(scope="module")
def speech() -> Waveform:
    return decode(SPEECH).waveforms[0]


def same(one: Prediction, other: Prediction) -> bool:
    """Whether two answers agree to the bit in everything but how long their stages took."""
    return pack([replace(one, stages={})]) == pack([replace(other, stages={})])


class Gate:
    """Holds the network until `open`; `failing` of its runs break."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: int = 0) -> None:
        self.reached, self._go_on = threading.Event(), threading.Event()
        self.failing = failing
        run = TorchRunner.run

        def held(runner: TorchRunner, clips: list[Clip]) -> list[ClipScores]:
            self.reached.set()
            assert self._go_on.wait(60)
            if self.failing:
                self.failing -= 1
                raise MemoryError("no room on the device")
            return run(runner, clips)

        monkeypatch.setattr(TorchRunner, "run", held)

    def open(self) -> None:
        self._go_on.set()


def until(holds: Callable[[], bool]) -> None:
    """Wait for other threads."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.002)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hit_is_the_answer_that_was_calculated(desk: Desk, kind: dict[str, Any]) -> None:
    """To the bit, provenance and warnings as well; its stages are its own and say that nothing ran."""
    first = desk.recognizer.recognize(SPEECH, **kind)
    assert desk.facts() >= Counter(TapeRan=1, CacheMiss=1)
    again = desk.recognizer.recognize(SPEECH, **kind)
    assert same(first, again)
    assert set(again.stages) == {"decode", "cache"}
    assert {"decode", "cache", "window", "queue", "run"} <= set(first.stages)
    assert desk.facts() == Counter(CacheHit=1)


def test_without_a_cache_nothing_is_kept(desk: Desk) -> None:
    """And the answers of both are the same."""
    with Desk(None) as plain:
        answers = [plain.recognizer.recognize(SPEECH) for _ in range(2)]
        assert plain.facts() == Counter(Decoded=2, Admitted=2, TapeRan=2)
    assert all(same(answer, desk.recognizer.recognize(SPEECH)) for answer in answers)


def test_other_wishes_are_other_answers(desk: Desk) -> None:
    kept = [desk.recognizer.recognize(SPEECH, **kind) for kind in KINDS]
    assert desk.facts()["TapeRan"] == len(KINDS)
    for prediction, kind in zip(kept, KINDS, strict=True):
        assert same(prediction, desk.recognizer.recognize(SPEECH, **kind))
    assert desk.facts() == Counter(CacheHit=len(KINDS))


def test_another_network_or_other_options_are_other_answers(speech: Waveform) -> None:
    """Recognizers share a cache; each finds what it would have calculated itself, and nothing else."""
    cache = FakeCache()
    variants = [
        RecognizerOptions(),
        RecognizerOptions(window=WindowOptions(longest=1.0)),
        RecognizerOptions(segment=SegmentOptions(smoothing=0.1, shortest=0.1)),
    ]
    for options in variants:
        with Desk(None, options) as alone, Desk(cache, options) as keeping, Desk(cache, options) as finding:
            wanted = alone.recognizer.recognize(speech, granularity="segment")
            made = keeping.recognizer.recognize(speech, granularity="segment")
            found = finding.recognizer.recognize(speech, granularity="segment")
            assert same(wanted, made)
            assert same(made, found)
            assert keeping.facts()["TapeRan"] > 0
            assert finding.facts() == Counter(CacheHit=1)
    assert len(cache.entries) == len(variants)


def test_the_same_sound_in_another_file_is_a_hit(desk: Desk, speech: Waveform, tmp_path: Path) -> None:
    """And the same file a second time is not even decoded, however it is handed over."""
    other = tmp_path / "speech.flac"
    soundfile.write(other, *soundfile.read(SPEECH, dtype="int16"))
    content = SPEECH.read_bytes()
    first = desk.recognizer.recognize(content)
    assert same(first, desk.recognizer.recognize(speech))
    assert same(first, desk.recognizer.recognize(other))
    desk.facts()
    with SPEECH.open("rb") as file:
        sources: list[Any] = [content, bytearray(content), memoryview(content), SPEECH, str(SPEECH), file, other]
        for source in sources:
            assert same(first, desk.recognizer.recognize(source))
    assert desk.facts() == Counter(CacheHit=len(sources))


def test_another_file_under_the_same_name_is_another_answer(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    path.write_bytes(SPEECH.read_bytes())
    before = desk.recognizer.recognize(path)
    samples, rate = soundfile.read(SPEECH)
    soundfile.write(path, samples[::-1], rate)
    after = desk.recognizer.recognize(path)
    assert before.provenance.audio_sha256 != after.provenance.audio_sha256
    assert before.scores != after.scores


def test_each_file_has_its_own_warnings(desk: Desk) -> None:
    """A cut file and a whole one may hold the same sound; only the cut one is said to be cut."""
    content = SPEECH.read_bytes()
    cut = content[: len(content) // 2 // 2 * 2]
    (sound,) = decode(cut).waveforms
    for _ in range(2):
        assert "truncated" in desk.recognizer.recognize(cut).warnings
        assert "truncated" not in desk.recognizer.recognize(sound).warnings
    assert desk.facts()["TapeRan"] == 1


def test_channels_are_kept_apart_from_their_mixture(desk: Desk, speech: Waveform, tmp_path: Path) -> None:
    stereo = tmp_path / "call.wav"
    channels = np.stack([speech.samples, speech.samples[::-1]], 1)
    soundfile.write(stereo, channels, SAMPLE_RATE, subtype="FLOAT")
    sides, mixed = desk.recognizer.recognize_channels(stereo), desk.recognizer.recognize(stereo)
    again, mixed_again = desk.recognizer.recognize_channels(stereo), desk.recognizer.recognize(stereo)
    assert len(sides) == 2
    assert all(same(one, other) for one, other in zip(sides, again, strict=True))
    assert same(mixed, mixed_again)
    assert len({prediction.provenance.audio_sha256 for prediction in (*sides, mixed)}) == 3


def test_what_a_caller_does_to_an_answer_no_other_sees(desk: Desk) -> None:
    wanted = desk.recognizer.recognize(SPEECH, granularity="frame", embedding=True)
    untouched = pack([replace(wanted, stages={})])
    for _ in range(2):
        for array in (wanted.frames, wanted.embedding):
            assert array is not None
            array[:] = 0
        wanted = desk.recognizer.recognize(SPEECH, granularity="frame", embedding=True)
        assert pack([replace(wanted, stages={})]) == untouched


def test_a_hundred_equal_requests_at_once_are_calculated_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    answers = [desk.recognizer.submit(SPEECH, granularity="frame") for _ in range(100)]
    until(lambda: all(answer.progress().stage not in {"waiting", "decoding"} for answer in answers))
    gate.open()
    predictions = [answer.result(60) for answer in answers]
    assert all(same(predictions[0], other) for other in predictions)
    assert len({id(prediction.frames) for prediction in predictions}) == 100, "each has its own"
    hits = desk.said(CacheHit)
    facts = desk.facts()
    assert (facts["TapeRan"], facts["CacheMiss"], facts["CacheHit"]) == (1, 1, 99)
    assert all(hit.shared for hit in hits)


def test_who_leaves_takes_nobody_along(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one for whom it runs leaves, some others too: the rest is answered. All leave: nothing is calculated."""
    gate = Gate(monkeypatch)
    blocking = desk.recognizer.submit(AUDIO / "jfk.flac")
    assert gate.reached.wait(60)
    answers = [desk.recognizer.submit(SPEECH) for _ in range(10)]
    deserted = [desk.recognizer.submit(SPEECH, embedding=True) for _ in range(3)]
    until(lambda: len(desk.said(CacheMiss)) == 3)
    assert all(answer.cancel() for answer in (*answers[:5], *deserted))
    gate.open()
    assert blocking.result(60).emotion
    assert len({answer.result(60).emotion for answer in answers[5:]}) == 1
    assert all(answer.cancelled() for answer in (*answers[:5], *deserted))
    assert desk.recognizer.recognize(SPEECH).emotion
    assert desk.facts()["TapeRan"] == 2


def test_a_fault_hits_the_one_for_whom_it_ran(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one's turn comes, and the rest has an answer; an error is never kept."""
    gate = Gate(monkeypatch, failing=1)
    answers = [desk.recognizer.submit(SPEECH) for _ in range(5)]
    assert gate.reached.wait(60)
    gate.open()
    errors = [answer.exception(60) for answer in answers]
    assert sum(isinstance(error, EngineFault) for error in errors) == 1
    assert sum(error is None for error in errors) == 4
    assert desk.recognizer.recognize(SPEECH).emotion


def test_an_answer_keeps_no_sound(desk: Desk, noise: Waveform) -> None:
    """Whoever keeps the future of a request does not keep what was run for it; no collector is needed."""
    clip = noise.part(0, 16_000)
    sound = weakref.ref(clip)
    gc.disable()
    try:
        answers = [desk.recognizer.submit(clip) for _ in range(3)]
        del clip
        assert all(answer.result(60).emotion for answer in answers)
        until(lambda: sound() is None)
    finally:
        gc.enable()


def test_a_deadline_passes_for_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the network is busy the first one's time runs out; the one who waited with him is answered."""
    one_tape_at_once = RecognizerOptions(engine=EngineOptions(compute_threads=1))
    with Desk(FakeCache(), one_tape_at_once) as desk:
        gate = Gate(monkeypatch)
        blocking = desk.recognizer.submit(AUDIO / "jfk.flac")
        assert gate.reached.wait(60)
        end = time.monotonic() + 0.3
        hurried = desk.recognizer.submit(SPEECH, deadline=0.3)
        until(lambda: len(desk.said(CacheMiss)) == 2 or hurried.done())
        patient = desk.recognizer.submit(SPEECH)
        until(lambda: time.monotonic() > end)
        gate.open()
        assert isinstance(hurried.exception(60), Expired)
        assert patient.result(60).emotion
        assert blocking.result(60).emotion


def test_closing_answers_those_who_share_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.open()
    with Desk(MemoryCache()) as desk:
        answers = [desk.recognizer.submit(SPEECH) for _ in range(20)]
    assert all(answer.result(0).emotion for answer in answers)


def test_bad_input_is_refused_as_without_a_cache(desk: Desk, tmp_path: Path) -> None:
    """Every time, with the same error."""
    cases: list[tuple[Any, type[Exception]]] = [
        (b"", BadAudio),
        (b"not audio at all", BadAudio),
        (tmp_path / "nowhere.wav", BadRequest),
        (tmp_path, BadAudio),
    ]
    for source, kind in cases:
        for _ in range(2):
            with pytest.raises(kind):
                desk.recognizer.recognize(source)
    limited = RecognizerOptions(decode=replace(RecognizerOptions().decode, bytes=100))
    with Desk(FakeCache(), limited) as strict, SPEECH.open("rb") as file:
        for source in (SPEECH, SPEECH.read_bytes(), file):
            with pytest.raises(TooLong):
                strict.recognizer.recognize(source)


def test_a_cache_that_lies_or_fails_changes_no_answer(desk: Desk) -> None:
    """Rubbish, a part, and an exception are misses."""
    wanted = desk.recognizer.recognize(SPEECH)

    def broken(entry: bytes) -> bytes:
        raise RuntimeError("a bug in the cache")

    lies: list[Callable[[bytes], bytes | None]] = [lambda _: b"rubbish", lambda entry: entry[:-9], broken]
    for lie in lies:
        with Desk(FakeCache(lie)) as deceived:
            assert all(same(wanted, deceived.recognizer.recognize(SPEECH)) for _ in range(2))
            assert deceived.facts()["TapeRan"] == 2


def test_a_cache_that_cannot_keep_costs_no_answer(desk: Desk) -> None:
    class Full(FakeCache):
        def put(self, key: str, entry: bytes) -> None:
            raise OSError(f"no room for {len(entry)} bytes under {key}")

    with Desk(Full()) as unkept:
        assert same(desk.recognizer.recognize(SPEECH), unkept.recognizer.recognize(SPEECH))


def test_answers_that_are_too_large_are_given_and_not_kept() -> None:
    cache = MemoryCache(megabytes=0.05)
    with Desk(cache) as desk:
        for _ in range(2):
            prediction = desk.recognizer.recognize(SPEECH, granularity="frame", embedding=True)
            assert prediction.embedding is not None
            assert prediction.embedding.nbytes > 50_000
        assert desk.facts()["TapeRan"] == 2
        assert cache.bytes == 0


@needs_redis
def test_recognizers_in_several_processes_share_a_redis(tmp_path: Path) -> None:
    """What one calculated the other finds; and with Redis stalled, restarted or empty, each answers for itself."""
    with RedisServer(tmp_path) as server:
        cache = RedisCache(server.url)
        with Desk(cache) as one:
            made = one.recognizer.recognize(SPEECH, granularity="segment", embedding=True)
            cache.close()  # everything is written
        downs: list[Event] = []
        other = RedisCache(server.url, observer=downs.append)
        with Desk(other) as two:
            found = two.recognizer.recognize(SPEECH, granularity="segment", embedding=True)
            assert same(made, found)
            assert two.facts() == Counter(Decoded=1, CacheHit=1)
            server.client.flushall()
            assert two.recognizer.recognize(SPEECH, granularity="segment").emotion == made.emotion
            server.signal(signal.SIGSTOP)
            assert all(two.recognizer.recognize(SPEECH).emotion == made.emotion for _ in range(6))
            server.signal(signal.SIGCONT)
            server.kill()
            assert all(two.recognizer.recognize(SPEECH).emotion == made.emotion for _ in range(6))
            assert {type(event) for event in downs} == {CacheDown}
        other.close()
