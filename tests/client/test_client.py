"""The client gives what a Recognizer gives: the same predictions, labels and errors, over a real server."""

from __future__ import annotations

import asyncio
import io
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import emotape
from emotape.client.connection import ClientOptions
from emotape.client.synchronous import Client
from emotape.delivery.export.document import details
from emotape.errors import BadAudio, BadRequest, Denied, Expired, NotFound, TooLong
from tests.client.conftest import Sleeper
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emotape.engine.result import Prediction
    from emotape.recognizer import Recognizer
    from emotape.wording import Language
    from tests.client.conftest import Place

SPEECH = AUDIO / "thorsten_neutral.opus"
JFK = AUDIO / "jfk.flac"


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[Client]:
    with Client(place.url, place.key) as opened:
        yield opened


@pytest.fixture(params=["blocking", "asynchronous"])
def ask(request: pytest.FixtureRequest, place: Place) -> Callable[..., Any]:
    """Call a method of either client."""

    def blocking(method: str, *given: Any, **wanted: Any) -> Any:
        with Client(place.url, place.key) as opened:
            return getattr(opened, method)(*given, **wanted)

    def asynchronous(method: str, *given: Any, **wanted: Any) -> Any:
        async def asked() -> Any:
            async with emotape.AsyncClient(place.url, place.key) as opened:
                return await getattr(opened, method)(*given, **wanted)

        return asyncio.run(asked())

    return {"blocking": blocking, "asynchronous": asynchronous}[request.param]


def same(remote: Prediction, local: Prediction) -> None:
    """Two predictions are equal in everything but the time they took, to the six digits that JSON carries."""
    rounded = [details(replace(found, stages={})) for found in (remote, local)]
    assert rounded[0] == rounded[1]
    assert (remote.emotion, remote.granularity, remote.labels) == (local.emotion, local.granularity, local.labels)
    assert dict(remote.scores) == pytest.approx(dict(local.scores), abs=1e-6)
    assert remote.confidence == pytest.approx(local.confidence, abs=1e-6)
    assert asdict(remote.provenance) == asdict(local.provenance)
    for kind in ("frames", "embedding"):
        mine, theirs = getattr(remote, kind), getattr(local, kind)
        if kind == "frames" and local.granularity == "segment":
            continue  # these are not sent
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("granularity", ["utterance", "frame", "segment"])
def test_a_prediction_is_that_of_a_recognizer(
    ask: Callable[..., Any], recognizer: Recognizer, granularity: Any
) -> None:
    wanted = {"granularity": granularity, "embedding": True, "quality": True}
    same(ask("recognize", JFK, **wanted), recognizer.recognize(JFK, **wanted))


@pytest.mark.parametrize("given", ["path", "text", "bytes", "file", "pipe", "waveform"])
def test_a_recording_may_be_given_as_to_a_recognizer(
    ask: Callable[..., Any], recognizer: Recognizer, given: str
) -> None:
    class Pipe(io.RawIOBase):
        """A stream that cannot go back."""

        def __init__(self) -> None:
            self._file = io.BytesIO(JFK.read_bytes())

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            block = self._file.read(len(buffer))
            buffer[: len(block)] = block
            return len(block)

    kinds: dict[str, Callable[[], Any]] = {
        "path": lambda: JFK,
        "text": lambda: str(JFK),
        "bytes": JFK.read_bytes,
        "file": lambda: io.BytesIO(JFK.read_bytes()),
        "pipe": Pipe,
        "waveform": lambda: emotape.decode(JFK).waveforms[0],
    }
    same(ask("recognize", kinds[given]()), recognizer.recognize(JFK))


def test_channels_labels_and_chosen_labels_are_those_of_a_recognizer(
    ask: Callable[..., Any], client: Client, recognizer: Recognizer
) -> None:
    stereo = io.BytesIO()
    left, right = (emotape.decode(path).waveforms[0].samples[:24_000] for path in (JFK, SPEECH))
    soundfile.write(stereo, np.stack([left, right], 1), 16_000, format="WAV", subtype="FLOAT")
    both = ask("recognize_channels", stereo.getvalue())
    for remote, local in zip(both, recognizer.recognize_channels(stereo.getvalue()), strict=True):
        same(remote, local)
    assert client.labels == recognizer.labels
    assert client.digest == recognizer.digest
    two = ask("recognize", SPEECH, labels=["开心", "sad"])
    assert list(two.scores) == ["happy", "sad"]
    assert sum(two.scores.values()) == pytest.approx(1, abs=1e-5)


def test_errors_are_of_the_classes_that_a_recognizer_raises(ask: Callable[..., Any], tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no sound")
    for kind, code, given, wanted in (
        (BadAudio, "text_not_audio", text, {}),
        (BadAudio, "empty_file", b"", {}),
        (BadRequest, "no_such_file", tmp_path / "nothing.wav", {}),
        (BadRequest, "label_not_in_model", SPEECH, {"labels": ["hungry"]}),
        (Expired, "expired", JFK, {"deadline": 1e-9}),
    ):
        with pytest.raises(kind) as raised:
            ask("recognize", given, **wanted)
        assert raised.value.code == code


def test_an_error_speaks_the_servers_words_in_the_language_asked_for(place: Place) -> None:
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        with Client(place.url, place.key, options=ClientOptions(language=language)) as opened:
            with pytest.raises(BadAudio) as raised:
                opened.recognize(b"no sound at all")
            assert raised.value.text() == BadAudio("text_not_audio").text(language)
            assert raised.value.facts["request_id"]


def test_a_key_that_is_missing_or_wrong_is_denied(place: Place) -> None:
    for key, code in ((None, "key_missing"), ("emo_nonsense", "key_wrong")):
        with Client(place.url, key) as opened, pytest.raises(Denied) as raised:
            opened.recognize(SPEECH)
        assert raised.value.code == code


def test_many_recordings_come_back_in_order_each_with_its_own_error(place: Place, recognizer: Recognizer) -> None:
    sources: list[Any] = [SPEECH, b"no sound at all", JFK] * 5
    local: dict[Any, Prediction] = {path: recognizer.recognize(path) for path in (SPEECH, JFK)}

    async def asynchronously() -> list[Any]:
        async with emotape.AsyncClient(place.url, place.key) as opened:
            return [answered async for answered in opened.many(sources)]

    with Client(place.url, place.key) as opened:
        both: tuple[list[Any], ...] = (list(opened.many(sources)), asyncio.run(asynchronously()))
        for found in both:
            assert [answered.source for answered in found] == sources
            for answered in found:
                if isinstance(answered.source, bytes):
                    assert isinstance(answered.error, BadAudio)
                else:
                    same(answered.prediction, local[answered.source])


def test_comparing_gives_the_cosines_between_embeddings(ask: Callable[..., Any], recognizer: Recognizer) -> None:
    found = ask("compare", [SPEECH, JFK, SPEECH])
    rows = np.stack([recognizer.recognize(path, embedding=True).embedding for path in (SPEECH, JFK)])  # type: ignore[misc]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert found.names == (SPEECH.name, JFK.name, SPEECH.name)
    assert found.similarities[0, 2] == pytest.approx(1)
    assert found.similarities[0, 1] == pytest.approx(rows[0] @ rows[1], abs=1e-5)


def test_a_job_is_submitted_watched_and_answered(ask: Callable[..., Any], recognizer: Recognizer) -> None:
    job = ask("submit_job", [SPEECH, b"no sound at all"], quality=True)
    seen: list[Any] = []
    ended = ask("wait", job.id, progress=seen.append)
    assert ended.is_over
    assert (ended.state, ended.files, ended.finished) == ("done", 2, 2)
    assert seen[-1] == ended
    good, bad = ask("results", job.id)
    same(good.predictions[0], recognizer.recognize(SPEECH, quality=True))
    assert (good.file, bad.predictions) == (SPEECH.name, ())
    assert isinstance(bad.error, BadAudio)
    assert ask("cancel", job.id) == ended  # it had ended
    ask("delete", job.id)
    with pytest.raises(NotFound):
        ask("job", job.id)


def test_waiting_for_a_job_ends_when_it_was_to(place: Place) -> None:
    sleeper = Sleeper()
    with Client(place.url, place.key, sleep=sleeper) as opened:
        job = opened.submit_job([JFK] * 60)
        with pytest.raises(Expired) as raised:
            opened.wait(job.id, seconds=0.3)
        opened.delete(job.id)
    assert raised.value.code == "job_stopped"
    assert sleeper.slept == pytest.approx([0.2, 0.1])


def test_no_proxy_of_the_environment_stands_before_this_machine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(place.url, place.key) as opened:
        assert opened.labels


def test_what_is_too_large_is_refused_in_the_words_of_the_server(recognizer: Recognizer) -> None:
    from emotape.delivery.api.service import ApiOptions
    from tests.api.conftest import ready, running

    with running(ready(recognizer, options=ApiOptions(body_bytes=1000))) as url, Client(url) as opened:
        with pytest.raises(TooLong) as raised:
            opened.recognize(JFK)
        assert raised.value.code == "body_too_large"
