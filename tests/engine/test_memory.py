"""An answered request leaves nothing behind: its sound is let go at once, not when Python next looks for cycles."""

from __future__ import annotations

import gc
import io
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest

from emotape import MemoryCache, Recognizer, Waveform
from emotape.engine.progress import Pending, Progress
from emotape.errors import EmotapeError, Overloaded
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def _no_cycles_are_looked_for() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_cycles_are_looked_for")
def test_the_sound_of_an_answered_request_is_let_go() -> None:
    """Several clients, with the cycle collector off: every array is gone once its answer was given."""
    sounds: list[weakref.ref[Any]] = []
    random = np.random.default_rng(2)

    def ask(samples: int) -> str | None:
        waveform = Waveform(random.standard_normal(samples).astype(np.float32) * 0.1)
        sounds.append(weakref.ref(waveform.samples))
        return recognizer.recognize(waveform, embedding=True).emotion

    with Recognizer() as recognizer, ThreadPoolExecutor(3) as clients:
        assert all(clients.map(ask, range(4_000, 24_000, 2_000)))
    assert len(sounds) == 10
    assert [sound() for sound in sounds] == [None] * 10


@pytest.mark.usefixtures("_no_cycles_are_looked_for")
@pytest.mark.parametrize("cache", [None, MemoryCache()], ids=["without a cache", "with one"])
def test_a_request_that_is_refused_is_let_go_too(cache: MemoryCache | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that was uploaded, at whatever stage it met its error, and though somebody keeps the error."""
    uploads: list[weakref.ref[Any]] = []
    errors: list[EmotapeError] = []
    speech = (AUDIO / "thorsten_neutral.opus").read_bytes()

    def ask(recognizer: Recognizer, content: bytes, **wanted: Any) -> str:
        upload = _Upload(content)
        uploads.append(weakref.ref(upload))
        answer = recognizer.submit(upload, **wanted)
        error = answer.exception()  # not raised: that would lead through this test's own frames
        assert isinstance(error, EmotapeError)
        errors.append(error)
        return error.code

    with Recognizer(cache=cache) as recognizer:
        assert ask(recognizer, b"no sound") == "text_not_audio"
        assert ask(recognizer, b"RIFF" + speech[4:300])
        assert ask(recognizer, speech, deadline=1e-9) == "expired"
        monkeypatch.setattr(recognizer._ready().resident, "submit", _refuse)
        assert ask(recognizer, speech, granularity="frame") == "overloaded"
    assert len(errors) == 4
    assert [upload() for upload in uploads] == [None] * 4


def _refuse(*_: object) -> NoReturn:
    raise Overloaded(retry_after=1.0, waiting=60)


class _Upload(io.BytesIO):
    """Bytes whose end can be seen."""


@pytest.mark.usefixtures("_no_cycles_are_looked_for")
def test_two_answers_that_follow_each_other_do_not_keep_each_other() -> None:
    """Each was called by the other, and says how far the other is; neither remembers it."""
    kept = _pair_that_is_done()
    assert [answer() for answer in kept] == [None, None]


def _pair_that_is_done() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
    one: Pending[int] = Pending()
    other: Pending[int] = Pending()
    one.add_done_callback(lambda _: other.set_result(2))
    other.add_done_callback(lambda _: one.cancel())
    one.follow(other.progress)
    other.follow(one.progress)
    one.set_result(1)
    assert (one.result(), other.result(), one.progress()) == (1, 2, Progress("done"))
    return weakref.ref(one), weakref.ref(other)
