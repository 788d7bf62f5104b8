"""Requests that are decoded in processes: the same answers, one for each, also when a process is killed."""

from __future__ import annotations

import os
import signal
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emotape import Recognizer
from emotape.engine.control.course import Course
from emotape.engine.plan import Accelerator, Machine, plan
from emotape.engine.resident import EngineOptions
from emotape.engine.room import NoRoom
from emotape.errors import BadAudio
from emotape.events import Event, TapeRan
from emotape.recognizer import RecognizerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.audio.processes import DecodingProcesses

AUDIO = Path(__file__).parents[1] / "data" / "audio"
FORMATS = ("wav", "flac", "mp3", "m4a", "ogg", "opus", "webm", "amr")


def recognizer(processes: int) -> Recognizer:
    return Recognizer(options=RecognizerOptions(engine=EngineOptions(decode_processes=processes)))


@pytest.fixture(scope="module")
def in_threads() -> Iterator[dict[str, dict[str, float]]]:
    """The scores of a clip in every format, decoded in threads."""
    with recognizer(0) as here:
        yield {name: dict(here.recognize(clip(name)).scores) for name in FORMATS}


def clip(extension: str) -> Path:
    return AUDIO / f"thorsten_neutral.{extension}"


def pool(of: Recognizer) -> DecodingProcesses:
    processes = of._ready()._processes
    assert processes is not None
    return processes


def test_a_process_killed_under_load_costs_nobody_an_answer(in_threads: dict[str, dict[str, float]]) -> None:
    """Every request is answered once: good ones with their scores, bad ones with their error."""
    with recognizer(2) as there:
        first = pool(there).pids
        asked = [FORMATS[number % len(FORMATS)] for number in range(64)]
        answers = [there.submit(clip(name)) for name in asked]
        bad = [there.submit(b"this is no recording") for _ in range(8)]
        wait(answers[:8])
        os.kill(pool(there).pids[0], signal.SIGKILL)
        for name, answer in zip(asked, answers, strict=True):
            assert dict(answer.result(timeout=120).scores) == pytest.approx(in_threads[name], abs=1e-5)
        for answer in bad:
            with pytest.raises(BadAudio):
                answer.result(timeout=120)
        assert len(first) == 1  # warm before the first request
    assert pool_is_gone(first)


def pool_is_gone(pids: tuple[int, ...]) -> bool:
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    return True


def test_a_course_steers_all_that_it_names() -> None:
    """Decoders, tapes, the queue, and the room for what is decoded."""
    told: list[Event] = []
    options = RecognizerOptions(engine=EngineOptions(decode_processes=0))
    with Recognizer(options=options, observer=told.append) as steered:
        pipeline = steered._ready()
        pipeline.steer(Course(1, 123, 45.0, 1.0, 1.0))
        assert (pipeline._decoders.limit, pipeline.resident.scheduler.queue_seconds) == (1, 45.0)
        with pytest.raises(NoRoom):
            pipeline.room.lease(pipeline.room.largest)
        steered.recognize(clip("wav"))
    assert [event.capacity for event in told if isinstance(event, TapeRan)] == [123]


def test_processes_decode_where_there_is_an_accelerator_or_there_are_cores_to_spare() -> None:
    card = (Accelerator("cuda:0"),)
    planned = {
        (cores, bool(cards)): plan(Machine(cores, accelerators=cards), 1_000_000).decode_processes
        for cores in (1, 2, 4, 16, 64)
        for cards in ((), card)
    }
    assert {cores: planned[cores, False] for cores in (1, 2, 4, 16, 64)} == {1: 0, 2: 0, 4: 4, 16: 8, 64: 8}
    assert {cores: planned[cores, True] for cores in (1, 2, 4, 16, 64)} == {1: 1, 2: 2, 4: 4, 16: 16, 64: 32}
