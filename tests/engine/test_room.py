"""Room for decoded recordings: it is never overdrawn, nothing of it leaks, and nobody waits for nothing."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape import MemoryCache, Recognizer
from emotape.audio.decode import DecodeLimits, decode
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.engine.plan import ALONE
from emotape.engine.resident import EngineOptions
from emotape.engine.room import Lease, NoRoom, Room, Waiting
from emotape.engine.roomy_decoder import RoomyDecoder
from emotape.errors import BadAudio, EmotapeError, Expired, Overloaded, TooLong
from emotape.recognizer import RecognizerOptions
from tests.conftest import AUDIO
from tests.engine.test_scheduler import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MB = 1_000_000
LIMITS = DecodeLimits()
SPEECH = AUDIO / "thorsten_neutral.wav"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 2 s be the longest short recording of a small machine."""
    monkeypatch.setattr("emotape.engine.room._SHORT_BYTES", (128_000, 64_000_000))


def room(megabytes: float = 1.0, beside: int = 0) -> Room:
    return Room(megabytes, 8, beside)


def waveform(size: int) -> Waveform:
    return Waveform(np.zeros(size // 4, np.float32))


def refused(made: Room, size: int) -> bool:
    try:
        made.lease(size).end()
    except NoRoom:
        return True
    return False


# ---- the room


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


def until_empty(made: Room) -> None:
    until(lambda: made.held == 0)


class Guest:
    """One who waits for room, and notes what came of it."""

    def __init__(self, made: Room, needed: int, deadline: float | None = None) -> None:
        self.outcome: Future[Lease | EmotapeError] = Future()
        self.waiting = Waiting(needed, deadline, self.outcome.set_result)
        made.wait(self.waiting)

    def lease(self) -> Lease:
        found = self.outcome.result(60)
        assert isinstance(found, Lease)
        return found


def test_room_is_given_back_with_the_last_view_of_the_samples() -> None:
    """Not before: a window of a recording that is on a tape keeps all of it in memory."""
    made = room()
    sound = waveform(400_000)
    lease = made.lease(500_000)
    assert made.held == 500_000
    lease.keep([sound], beside=1_000)
    assert made.held == 401_000
    window = sound.part(0, 10)
    del sound
    assert made.held == 401_000
    del window
    assert made.held == 0


def test_a_short_recording_counts_as_long_as_they_usually_are() -> None:
    """A long one as long as it may become; and what is known to be shorter, as it is."""
    made = room()
    for _ in range(100):
        made.lease(made.short).keep([waveform(64_000)])
    assert [made.seconds(size) for size in (made.short, 32_000, 320_000)] == pytest.approx([1.0, 0.5, 5.0], rel=0.001)


class House:
    """A room with those who hold some of it and those who wait."""

    def __init__(self, beside: int) -> None:
        self.room = room(beside=beside)
        self.leases: list[Lease] = []
        self.sounds: list[Waveform] = []
        self.guests: list[Guest] = []

    def take(self, size: int) -> None:
        with suppress(NoRoom, TooLong):
            self.leases.append(self.room.lease(size))

    def keep(self, size: int) -> None:
        with suppress(NoRoom, TooLong):
            lease = self.room.lease(size)
            self.sounds.append(waveform(size))
            lease.keep([self.sounds[-1]])

    def wait(self, size: int) -> None:
        self.guests.append(Guest(self.room, min(size, self.room.largest)))

    def drop(self, _: int) -> None:
        del self.sounds[:1]
        for lease in self.leases[:1]:
            lease.end()
        del self.leases[:1]

    def leave(self, _: int) -> None:
        for guest in self.guests[-1:]:
            self.room.forget(guest.waiting)

    def press(self, size: int) -> None:
        self.room.allow(size / MB)

    def empty(self) -> None:
        """Let everybody go, also those who are let in just now."""
        for lease in self.leases:
            lease.end()
        self.sounds.clear()
        for guest in self.guests:
            self.room.forget(guest.waiting)
            guest.outcome.add_done_callback(lambda done: getattr(done.result(), "end", lambda: None)())


sizes = st.integers(125_000, 900_000) | st.integers(1, 128_000)
steps = st.lists(st.tuples(st.sampled_from(["take", "keep", "wait", "drop", "leave", "press"]), sizes), max_size=40)


@settings(deadline=None, max_examples=60)
@given(steps, st.integers(0, 200_000))
def test_nothing_leaks_and_nothing_is_overdrawn(todo: list[tuple[str, int]], beside: int) -> None:
    """Whatever is taken, kept, waited for and left: twice the room is never held, and in the end nobody holds any."""
    house = House(beside)
    for what, size in todo:
        getattr(house, what)(size)
        assert house.room.held <= 2 * MB
    house.empty()
    until_empty(house.room)
    assert house.room.waiting == 0


def test_short_recordings_never_wait_behind_long_ones() -> None:
    """Neither behind those that are held, nor behind those that wait."""
    made = room()
    first = made.lease(700_000)
    assert refused(made, 500_000)
    waits = Guest(made, 500_000)
    short = made.lease(100_000)
    assert not waits.outcome.done()
    first.end()
    waits.lease().end()
    short.end()
    assert made.held == 0


def test_short_recordings_never_starve_a_long_one() -> None:
    """They may fill the room while nobody waits; then they keep to their quarter until it has had its turn."""
    made = room()
    shorts = [made.lease(100_000) for _ in range(10)]
    waits = Guest(made, 1_500_000)
    for lease in shorts[:5]:
        assert refused(made, 100_000)
        assert not waits.outcome.done()
        lease.end()
    waits.lease().end()
    assert not refused(made, 100_000)


def test_long_recordings_come_in_order() -> None:
    made = room()
    first = made.lease(700_000)
    second, third = Guest(made, 600_000), Guest(made, 200_000)
    assert refused(made, 140_000)  # there is room, but others came before
    first.end()
    held = second.lease()
    assert not third.outcome.done()
    held.end()
    third.lease().end()


def test_one_larger_than_the_room_runs_without_other_long_ones_and_never_beyond_the_memory() -> None:
    made = room()
    assert made.largest == int(ALONE * MB)
    other = made.lease(200_000)
    alone = Guest(made, 1_500_000)
    short = made.lease(100_000)
    assert not alone.outcome.done()
    other.end()
    alone.lease().end()
    short.end()
    with pytest.raises(TooLong) as found:
        made.lease(made.largest + 1)
    assert found.value.code == "too_long_for_memory"


def test_where_memory_is_short_a_long_one_is_refused_rather_than_left_to_wait() -> None:
    """Nothing that others give back would make room for it; short ones go on, one after the other."""
    made = room()
    made.allow(0.125)
    assert refused(made, 600_000)
    guest = Guest(made, 600_000)
    refusal = guest.outcome.result(60)
    assert isinstance(refusal, Overloaded)
    assert refusal.code == "too_little_memory"
    lease = made.lease(128_000)
    assert refused(made, 128_000)
    lease.end()
    made.allow(1.0)
    assert not refused(made, 600_000)


def test_who_waits_too_long_expires_and_who_leaves_is_forgotten() -> None:
    clock = Clock()
    made = Room(1.0, 8, clock=clock)
    lease = made.lease(700_000)
    late, gone, last = Guest(made, 600_000, deadline=5.0), Guest(made, 600_000), Guest(made, 600_000)
    made.forget(gone.waiting)
    clock.now = 6.0
    made.allow(1.0)  # a reason to look
    assert isinstance(late.outcome.result(60), Expired)
    lease.end()
    last.lease().end()
    assert not gone.outcome.done()
    assert made.held == made.waiting == 0


def test_what_is_in_memory_already_is_counted_without_asking() -> None:
    made = room()
    lent = made.lend(3 * MB)
    assert refused(made, 600_000)
    lent.end()
    assert made.held == 0


# ---- decoding within it


_SEEDS = count()


def flac(seconds: float) -> bytes:
    """Noise that was never heard before."""
    written = io.BytesIO()
    noise = np.random.default_rng(next(_SEEDS)).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)
    soundfile.write(written, noise, SAMPLE_RATE, format="FLAC")
    return written.getvalue()


def endless(seconds: float) -> bytes:
    """A WAV whose header does not say how long it is."""
    header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\xff\xff\xff\xff"
    return header + np.zeros(int(seconds * SAMPLE_RATE), np.int16).tobytes()


class Stream(io.RawIOBase):
    """Bytes that can be read only once."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 9.0])
@pytest.mark.parametrize("form", ["bytes", "file", "stream", "endless"])
def test_whatever_it_comes_as_a_recording_is_decoded_whole_and_holds_what_it_became(form: str, seconds: float) -> None:
    """Also a file that was read from already; and one that does not say how long it is."""
    made = room()
    data = flac(seconds) if form != "endless" else endless(seconds)
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    source: Any = {"file": file, "stream": Stream(data)}.get(form, data)
    recording = RoomyDecoder(made, decode)(source, LIMITS, "mix")
    assert len(recording.waveforms[0]) == int(seconds * SAMPLE_RATE)
    assert made.held == recording.waveforms[0].samples.nbytes + (len(data) if source is data else 0)
    del recording
    assert made.held == 0


@pytest.mark.parametrize("data", [flac(60.0), endless(60.0), Stream(flac(60.0))], ids=["stated", "unstated", "stream"])
def test_what_never_has_room_is_refused(data: Any) -> None:
    """Before it is decoded where it says how long it is, and on the way where it does not."""
    made = room()
    with pytest.raises(TooLong) as found:
        RoomyDecoder(made, decode)(data, LIMITS, "mix")
    assert found.value.code in ("too_long_for_memory", "too_much_memory")
    assert made.held == 0


def test_a_users_own_limit_is_told_as_before() -> None:
    made = room(10.0)
    with pytest.raises(TooLong) as found:
        RoomyDecoder(made, decode)(flac(9.0), DecodeLimits(memory=400_000), "mix")
    assert (found.value.code, found.value.facts["limit"]) == ("too_much_memory", 400_000)


def test_each_channel_takes_room() -> None:
    made, written = room(), io.BytesIO()
    soundfile.write(written, np.zeros((3 * SAMPLE_RATE, 2), np.float32), SAMPLE_RATE, format="FLAC")
    recording = RoomyDecoder(made, decode)(written.getvalue(), LIMITS, "split")
    assert made.held == 2 * 3 * 4 * SAMPLE_RATE + len(written.getvalue())
    del recording
    assert made.held == 0


# ---- requests


@pytest.fixture(scope="module")
def shared() -> Iterator[Recognizer]:
    """A recognizer with a megabyte for sound, and a cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotape.engine.room._SHORT_BYTES", (128_000, 64_000_000))
        engine = EngineOptions(decoded_megabytes=1.0, decode_processes=0)
        with Recognizer(options=RecognizerOptions(engine=engine), cache=MemoryCache()) as recognizer:
            yield recognizer


def room_of(recognizer: Recognizer) -> Room:
    return recognizer._ready().room


def test_a_request_without_room_waits_without_a_decoder_and_is_then_answered(shared: Recognizer) -> None:
    """Meanwhile others are decoded; and a known recording is decoded once more where something new is asked of it."""
    made = room_of(shared)
    taken = made.lease(800_000)
    known = flac(5.0)
    long = [shared.submit(known), shared.submit(io.BytesIO(known), granularity="frame")]
    until(lambda: made.waiting >= 2)
    assert shared.recognize(SPEECH.read_bytes()[: 44 + 32_000]).emotion
    assert [each.progress().stage for each in long] == ["waiting", "waiting"]
    taken.end()
    assert [each.result(60).seconds for each in long] == [pytest.approx(5.0, abs=0.1)] * 2
    assert shared.recognize(known, granularity="segment").emotion
    until_empty(made)


def test_every_fate_gives_its_room_back(shared: Recognizer) -> None:
    """Results, bad audio, cancelled and expired requests, some of them while they wait for room."""
    made = room_of(shared)
    taken = made.lease(800_000)
    bad = shared.submit(b"no sound at all")
    gone, late, good = shared.submit(flac(5.0)), shared.submit(flac(5.0), deadline=0.2), shared.submit(flac(5.0))
    short = [shared.submit(SPEECH, quality=bool(number % 2)) for number in range(6)]
    until(lambda: made.waiting >= 1)
    assert gone.cancel()
    with pytest.raises(Expired):
        late.result(20)
    with pytest.raises(BadAudio):
        bad.result(20)
    taken.end()
    assert good.result(60).emotion
    assert all(each.result(60).emotion for each in short)
    until_empty(made)
    assert made.waiting == 0


def test_more_than_the_queue_may_hold_does_not_wait_for_room(shared: Recognizer) -> None:
    """The first long one may wait however long it is; those behind it are told to come again."""
    made, scheduler = room_of(shared), shared._ready().resident.scheduler
    taken, before = made.lease(800_000), scheduler.queue_seconds
    scheduler.queue_seconds = 8.0
    try:
        first = shared.submit(flac(5.0))
        until(lambda: made.waiting >= 1)
        with pytest.raises(Overloaded):
            shared.recognize(flac(5.0))
    finally:
        scheduler.queue_seconds = before
        taken.end()
    assert first.result(60).emotion
    until_empty(made)


def test_a_recording_that_is_only_decoded_waits_in_its_callers_thread(shared: Recognizer) -> None:
    made = room_of(shared)
    taken, found = made.lease(800_000), list[float]()
    caller = threading.Thread(target=lambda: found.append(shared.decode(flac(5.0)).waveforms[0].seconds))
    caller.start()
    until(lambda: made.waiting >= 1)
    taken.end()
    caller.join(60)
    assert found == [pytest.approx(5.0, abs=0.1)]
    until_empty(made)


def test_a_recording_for_more_memory_than_there_is_says_so(shared: Recognizer) -> None:
    with pytest.raises(TooLong) as found:
        shared.recognize(flac(40.0))
    assert found.value.code == "too_long_for_memory"
    assert found.value.text("en").cause != found.value.text("zh").cause


def test_embeddings_of_frames_take_room_until_they_are_an_answer(
    shared: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice what the answer holds: windows' and joined. What never has room is refused before anything runs."""
    made, lent = room_of(shared), list[int]()
    lend = made.lend

    def noted(size: int) -> Lease:
        lent.append(size)
        return lend(size)

    monkeypatch.setattr(made, "lend", noted)
    found = shared.recognize(flac(5.0), granularity="frame", embedding=True)
    assert found.embedding is not None
    assert lent == [2 * found.embedding.nbytes]
    until_empty(made)
    long = flac(25.0)
    with pytest.raises(TooLong) as refused:
        shared.recognize(long, granularity="frame", embedding=True)
    assert refused.value.code == "too_long_for_memory"
    assert shared.recognize(long, embedding=True).emotion
    assert len(lent) == 1
    until_empty(made)


def test_closing_answers_those_who_wait_and_processes_count_both_copies() -> None:
    engine = EngineOptions(decoded_megabytes=2.0, decode_processes=1)
    with Recognizer(options=RecognizerOptions(engine=engine)) as recognizer:
        made = room_of(recognizer)
        taken = made.lease(800_000)
        assert made.held == 1_600_000
        waits = recognizer.submit(flac(9.0))
        until(lambda: made.waiting >= 1)
        threading.Timer(0.05, taken.end).start()
    assert waits.result(0).emotion
    until_empty(made)
