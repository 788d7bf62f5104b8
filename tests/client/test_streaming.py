"""AsyncClient.stream: results as the server gives them, and every way in which a stream can end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import emotape
from emotape.client.errors import RemoteError
from emotape.client.streaming import StreamOptions, StreamResult, StreamSummary
from emotape.errors import BadAudio, BadRequest, Denied
from tests.client.conftest import Flaky
from tests.client.test_client import same
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emotape.recognizer import Recognizer
    from tests.client.conftest import Place

WEBM = AUDIO / "thorsten_neutral.webm"
JFK = AUDIO / "jfk.flac"


async def chunks(data: bytes, size: int = 3_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def streamed(url: str, key: str | None, coming: AsyncIterator[bytes], **options: Any) -> list[Any]:
    async def talk() -> list[Any]:
        async with emotape.AsyncClient(url, key) as client:
            return [told async for told in client.stream(coming, StreamOptions(**options))]

    return asyncio.run(talk())


@pytest.mark.parametrize("path", [WEBM, JFK])
def test_every_result_is_what_a_recognizer_says_of_the_window(place: Place, recognizer: Recognizer, path: Any) -> None:
    *results, summary = streamed(place.url, place.key, chunks(path.read_bytes()), window=1.0, hop=0.5, late="wait")
    whole = emotape.decode(path).waveforms[0]
    assert isinstance(summary, StreamSummary)
    assert (summary.ended, summary.windows) == ("end", len(results))
    assert summary.uncertain == (summary.confidence < (summary.uncertain_below or 0))
    assert {result.prediction.uncertain_below for result in results} == {summary.uncertain_below}
    for result in results:
        part = whole.part(round(result.start * 16_000), round(result.stop * 16_000))
        same(result.prediction, recognizer.recognize(part, quality=True))


def test_a_summary_of_an_older_or_a_newer_server_is_read_all_the_same() -> None:
    older = {"type": "final", "ended": "end", "seconds": 1.0, "emotion": None, "confidence": 0.0, "scores": {}}
    older |= dict.fromkeys(("windows", "skipped", "failed"), 0)
    assert StreamSummary.of(older).uncertain is None
    assert StreamSummary.of(older | {"uncertain": True, "uncertain_below": 0.5, "of tomorrow": 1}).uncertain is True


def test_samples_larger_than_a_message_are_cut(place: Place) -> None:
    result, summary = streamed(place.url, place.key, chunks(bytes(3 * 2**20), 3 * 2**20), format="f32le",
                               rate=384_000, window=4.0, late="wait")  # fmt: skip
    assert isinstance(result, StreamResult)
    assert summary.seconds == pytest.approx(2.048)


def test_what_ends_a_stream_is_raised(place: Place) -> None:
    cases: list[tuple[type[Exception], bytes, dict[str, Any], str]] = [
        (BadAudio, b"this is no sound, but text" * 999, {}, place.key),
        (BadRequest, b"", {"window": 99.0}, place.key),
        (Denied, b"", {}, "emo_nonsense"),
    ]
    for error, data, options, key in cases:
        with pytest.raises(error):
            streamed(place.url, key, chunks(data), **options)


def test_what_the_chunks_raise_is_raised_and_ends_the_stream(place: Place) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield JFK.read_bytes()[:5_000]
        raise ZeroDivisionError("the microphone has gone")

    with pytest.raises(ZeroDivisionError):
        streamed(place.url, place.key, broken())


def test_a_stream_that_is_closed_early_hears_no_more_chunks(place: Place) -> None:
    ended = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield JFK.read_bytes()
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def talk() -> None:
        async with emotape.AsyncClient(place.url, place.key) as client:
            async with aclosing(client.stream(endless(), StreamOptions(window=1.0))) as talking:
                assert isinstance(await anext(talking), StreamResult)
            assert ended

    asyncio.run(talk())


@contextmanager
def gone() -> Iterator[str]:
    with Flaky([]).serving() as flaky:
        pass
    yield flaky.url


@contextmanager
def foreign() -> Iterator[str]:
    with Flaky([(200, {}, b"<html>")]).serving() as flaky:
        yield flaky.url


@pytest.mark.parametrize(("server", "code"), [(gone, "server_unreachable"), (foreign, "server_answer")])
def test_a_server_that_is_none_of_ours_is_told(server: Any, code: str) -> None:
    with server() as url, pytest.raises(RemoteError) as raised:
        streamed(url, None, chunks(b""))
    assert raised.value.code == code
