"""WS /v1/stream over the real application: the same numbers as uploads, honest about what it leaves out, bounded."""

from __future__ import annotations

import io
import itertools
import json
import random
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from emotape.audio.decode import DecodeLimits, decode
from emotape.audio.stream import PcmFormat, encoded_blocks, pcm_blocks
from emotape.delivery.api.errors import install
from emotape.delivery.api.guard import Guard
from emotape.delivery.api.keys import KeyRing
from emotape.delivery.api.stream import router
from emotape.delivery.api.stream_options import StreamBounds
from emotape.delivery.api.stream_windows import Summary, Windows
from emotape.errors import Overloaded
from tests.api.conftest import AUDIO, ORIGIN, ready, running, visiting
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.delivery.api.service import Service
    from emotape.engine.result import Prediction
    from emotape.recognizer import Recognizer

JFK = AUDIO / "jfk.flac"
LIMITS = DecodeLimits()


def pieces(data: bytes, seed: int = 7, longest: int = 9_000) -> Iterator[bytes]:
    """Cut bytes anywhere."""
    chance, start = random.Random(seed), 0
    while start < len(data):
        stop = start + chance.randint(1, longest)
        yield data[start:stop]
        start = stop


def sound(path: Path) -> Waveform:
    return decode(path).waveforms[0]


def wav(samples: np.ndarray[Any, Any], rate: int = 16_000, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def talk(client: TestClient, data: bytes, **options: Any) -> list[dict[str, Any]]:
    """Stream a recording and return everything the server said after `ready`."""
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", "late": "wait", **options})
        assert socket.receive_json()["type"] == "ready"
        for piece in pieces(data):
            socket.send_bytes(piece)
        socket.send_json({"type": "end"})
        return heard(socket)


def heard(socket: Any) -> list[dict[str, Any]]:
    """Return the messages up to the last one, after which the server closes."""
    messages = [socket.receive_json()]
    while messages[-1]["type"] != "final":
        messages.append(socket.receive_json())
    with pytest.raises(WebSocketDisconnect):
        socket.receive_json()
    return messages


def uploaded(client: TestClient, samples: np.ndarray[Any, Any], **options: Any) -> dict[str, Any]:
    answered = client.post("/v1/recognize", content=wav(samples), headers={"content-type": "audio/wav"}, params=options)
    assert answered.status_code == 200
    found: dict[str, Any] = answered.json()
    return found


def same(streamed: dict[str, Any], upload: dict[str, Any]) -> None:
    """Two answers have equal numbers, and came from equal samples."""
    assert streamed["emotion"] == upload["emotion"]
    assert streamed["scores"] == pytest.approx(upload["scores"], abs=1e-6)
    for key in ("audio_sha256", "model_digest", "dtype"):
        assert streamed["details"]["provenance"][key] == upload["details"]["provenance"][key]
    for key in ("warnings", "windows", "seconds", "speech_seconds", "quality"):
        assert streamed["details"][key] == upload["details"][key]


@contextmanager
def bounded(service: Service, **bounds: Any) -> Iterator[TestClient]:
    """Serve streams alone, with bounds of the test's own."""
    app = FastAPI()
    install(app)
    app.include_router(router(service, replace(StreamBounds(), **bounds)))
    app.add_middleware(Guard, service=service)
    with TestClient(app, base_url=ORIGIN) as opened:
        yield opened


@pytest.mark.parametrize("name", ["flac", "mp3", "ogg", "opus", "webm", "wav", "amr"])
def test_chunks_cut_anywhere_decode_to_the_samples_of_the_whole_file(name: str) -> None:
    data = (AUDIO / f"thorsten_neutral.{name}").read_bytes()
    whole = decode(data).waveforms[0].samples
    streamed = np.concatenate(list(encoded_blocks(pieces(data), LIMITS)))
    sure = len(whole) - 200 * (name == "mp3")  # an MP3's end is known only to who can look at the end of the file
    assert len(streamed) >= len(whole)
    assert np.array_equal(streamed[:sure], whole[:sure])


@pytest.mark.parametrize(("coding", "subtype"), [("s16le", "PCM_16"), ("f32le", "FLOAT")])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 3)])
def test_bare_samples_decode_to_what_a_wav_of_them_does(coding: Any, subtype: str, rate: int, channels: int) -> None:
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, (rate, channels)).astype(np.float32)
    table = (samples * 32_767).astype("<i2") if coding == "s16le" else samples
    whole = decode(wav(table, rate, subtype)).waveforms[0].samples
    chunks = pieces(table.tobytes(), longest=5_001)
    streamed = np.concatenate(list(pcm_blocks(chunks, PcmFormat(coding, rate, channels), LIMITS)))
    np.testing.assert_allclose(streamed, whole, atol=1e-6)


@pytest.mark.parametrize(("length", "hop"), [(4_000, 1_000), (4_000, 4_000), (5_000, 3_001)])
@pytest.mark.parametrize("total", [0, 399, 3_999, 4_000, 12_345])
def test_windows_are_the_same_however_the_sound_comes_and_leave_nothing_out(length: int, hop: int, total: int) -> None:
    samples = np.arange(total, dtype=np.float32)

    def cut(blocks: list[int]) -> list[tuple[int, bytes]]:
        windows = Windows(length, hop)
        edges = [0, *itertools.accumulate(blocks), total]
        found = [
            window
            for start, stop in itertools.pairwise(edges)
            for window in windows.add(samples[start : max(start, stop)])
        ]
        rest = windows.rest()
        return [(window.begin, window.waveform.samples.tobytes()) for window in (*found, *([rest] if rest else []))]

    whole = cut([])
    assert whole == cut([total // 3, total // 2]) == cut([1] * min(total, 50))
    covered = np.zeros(total, bool)
    for begin, part in whole:
        covered[begin : begin + len(part) // 4] = True
        assert part == samples[begin : begin + len(part) // 4].tobytes()
    assert total - covered.sum() < 400


@pytest.mark.parametrize("name", ["jfk.flac", "thorsten_neutral.webm", "thorsten_angry.mp3"])
def test_every_result_is_that_of_an_upload_of_its_window(client: TestClient, name: str) -> None:
    path = AUDIO / name
    *results, final = talk(client, path.read_bytes(), window=1.5, hop=0.7)
    whole = sound(path).samples
    end = round(final["seconds"] * 16_000)
    assert len(results) == 1 + max(0, -(-(end - 24_000) // 11_200)) == final["windows"]
    for result in results[:-1] if name.endswith("mp3") else results:  # see above: an MP3's end
        start, stop = (round(result[key] * 16_000) for key in ("start", "stop"))
        same(result, uploaded(client, whole[start:stop], quality=True))


def test_samples_give_the_same_as_an_upload_with_frames_and_embedding(client: TestClient) -> None:
    samples = (sound(JFK).samples * 32_767).astype("<i2")
    *results, final = talk(
        client, samples.tobytes(), format="s16le", granularity="frame", embedding=True, window=2.0, hop=2.0
    )
    assert [(result["start"], result["stop"]) for result in results] == [(0, 2), (2, 4), (4, 5)]
    for result in results:
        part = samples[int(result["start"] * 16_000) : int(result["stop"] * 16_000)] / np.float32(32_768)
        upload = uploaded(client, part.astype(np.float32), quality=True, granularity="frame", embedding=True)
        same(result, upload)
        assert result["details"]["frames"] == upload["details"]["frames"]
        assert result["details"]["embedding"] == upload["details"]["embedding"]
    assert final["seconds"] == 5.0


def test_the_final_message_is_the_mean_weighted_by_speech(client: TestClient) -> None:
    *results, final = talk(client, JFK.read_bytes(), window=1.0, hop=1.0)
    weights = [result["details"]["speech_seconds"] for result in results]
    assert sum(weights) > 0
    for label, score in final["scores"].items():
        mean = np.average([result["scores"][label] for result in results], weights=weights)
        assert score == pytest.approx(mean, abs=2e-6)
    assert final["emotion"] == max(final["scores"], key=final["scores"].__getitem__)
    assert (final["ended"], final["skipped"], final["failed"]) == ("end", 0, 0)
    assert Summary().document()["emotion"] is None
    below = {result["details"]["uncertain_below"] for result in results}
    assert below == {final["uncertain_below"]}
    assert final["uncertain"] == (final["confidence"] < final["uncertain_below"])


@pytest.mark.parametrize("threshold", [None, 0.0, 0.84, 1.1])
def test_the_final_message_is_as_sure_as_its_mean_and_says_nothing_without_a_threshold(threshold: float | None) -> None:
    summary, answer = Summary(), make_prediction(uncertain_below=threshold)
    for _ in range(2):
        summary.add(answer)
    told = summary.document()
    assert told.get("uncertain") == answer.uncertain
    assert told.get("uncertain_below") == threshold
    assert ("uncertain" in told) == ("uncertain_below" in told) == (threshold is not None)


def test_chosen_labels_and_language_are_as_for_uploads(client: TestClient) -> None:
    asked = {"labels": "开心,sad", "language": "zh"}
    result, *_, final = talk(client, JFK.read_bytes(), window=2.0, hop=2.0, **asked)
    assert "uncertain" not in final
    upload = uploaded(client, sound(JFK).samples[:32_000], quality=True, **asked)
    same(result, upload)
    assert result["details"]["warnings"] == upload["details"]["warnings"]


class Watched(DecodeLimits):
    """Limits that tell how many seconds of bare samples the decoder has begun with."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "begun", threading.Condition())
        object.__setattr__(self, "seconds_begun", 0.0)

    def check_seconds(self, seconds: float) -> None:
        with self.begun:  # type: ignore[attr-defined]
            object.__setattr__(self, "seconds_begun", seconds)
            self.begun.notify_all()  # type: ignore[attr-defined]

    def wait_for(self, seconds: float) -> None:
        with self.begun:  # type: ignore[attr-defined]
            assert self.begun.wait_for(lambda: self.seconds_begun >= seconds, 20)  # type: ignore[attr-defined]


class Slow:
    """The recognizer with answers that come when the test says so; `refusals` are raised first."""

    def __init__(self, recognizer: Recognizer, refusals: int = 0) -> None:
        self.limits = Watched()
        self.options = replace(recognizer.options, decode=self.limits)
        self.model, self.labels = recognizer.model, recognizer.labels
        self._recognizer = recognizer
        self._refusals = refusals
        self._flows = False
        self.asked: list[tuple[Waveform, Future[Prediction]]] = []
        self.more = threading.Condition()

    def submit(self, source: Waveform, **wanted: Any) -> Future[Prediction]:
        if self._refusals:
            self._refusals -= 1
            raise Overloaded("overloaded", retry_after=1.0, waiting=9.0, limit=1.0)
        if self._flows:
            return self._recognizer.submit(source, **wanted)
        future: Future[Prediction] = Future()
        with self.more:
            self.asked.append((source, future))
            self.more.notify_all()
        return future

    def flow(self) -> None:
        """Answer everything that comes from now on at once."""
        self._flows = True

    def wait_for(self, count: int) -> None:
        with self.more:
            assert self.more.wait_for(lambda: len(self.asked) >= count, 20)

    def answer(self, place: int) -> None:
        waveform, future = self.asked[place]
        future.set_result(self._recognizer.recognize(waveform, quality=True))


@contextmanager
def started(client: TestClient, **options: Any) -> Iterator[Any]:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", "format": "f32le", "window": 0.5, "hop": 0.5} | options)
        assert socket.receive_json()["type"] == "ready"
        yield socket


def refused(client: TestClient, **how: Any) -> tuple[int, str]:
    """Try to open a stream; return the status and code with which that was refused."""
    denied: Any = None
    try:
        client.websocket_connect("/v1/stream", **how).__enter__()
    except WebSocketDenialResponse as error:
        denied = error
    return denied.status_code, denied.json()["error"]["code"]


def test_windows_that_come_too_fast_are_skipped_and_counted(recognizer: Recognizer) -> None:
    slow = Slow(recognizer)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 8_000).astype(np.float32).tobytes()
    with bounded(ready(slow), in_flight=2) as client, started(client) as socket:
        for _ in range(9):
            socket.send_bytes(noise)
        slow.limits.wait_for(4.5)  # the decoder has the ninth window, so that the seventh is skipped already
        slow.flow()
        slow.answer(0)
        slow.answer(1)
        first, second = socket.receive_json(), socket.receive_json()
        socket.send_bytes(noise[:-4])  # after the end nothing is live any more: this one waits for its place
        socket.send_json({"type": "end"})
        *results, final = heard(socket)
    assert [(result["start"], result["skipped"]) for result in (first, second)] == [(0.0, 0), (0.5, 0)]
    assert sum(result["skipped"] for result in results) == final["skipped"] >= 5
    assert final["windows"] + final["skipped"] == 10
    assert results[-1]["stop"] == final["seconds"]


def test_waiting_for_late_answers_leaves_nothing_out(recognizer: Recognizer) -> None:
    slow = Slow(recognizer)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 8_000).astype(np.float32).tobytes()
    with bounded(ready(slow), in_flight=1) as client, started(client, late="wait") as socket:
        for _ in range(5):
            socket.send_bytes(noise)
        socket.send_json({"type": "end"})
        for place in range(5):
            slow.wait_for(place + 1)
            assert len(slow.asked) == place + 1
            slow.answer(place)
        *results, final = heard(socket)
    assert [result["start"] for result in results] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert final["skipped"] == 0


def test_a_window_that_is_refused_is_an_error_and_the_stream_goes_on(recognizer: Recognizer) -> None:
    slow = Slow(recognizer, refusals=1)
    with bounded(ready(slow)) as client, started(client) as socket:
        socket.send_bytes(bytes(64_000))
        socket.send_json({"type": "end"})
        slow.wait_for(1)
        slow.answer(0)
        refused, result, final = heard(socket)
    assert (refused["type"], refused["start"], refused["error"]["code"]) == ("error", 0.0, "overloaded")
    assert (result["type"], result["start"]) == ("result", 0.5)
    assert (final["ended"], final["windows"], final["failed"]) == ("end", 1, 1)


def test_a_client_that_leaves_withdraws_what_it_asked(recognizer: Recognizer) -> None:
    slow = Slow(recognizer)
    with bounded(ready(slow), sessions=1) as client:
        with started(client) as socket:
            socket.send_bytes(bytes(32_000))
            slow.wait_for(1)
        assert slow.asked[0][1].cancelled()
        with started(client):  # its place is free again
            assert len(slow.asked) == 1


@pytest.mark.parametrize(("bounds", "ended"), [({"idle_seconds": 0.05}, "idle"), ({"session_seconds": 0.75}, "limit")])
def test_a_stream_that_pauses_or_goes_on_too_long_is_summarised(
    recognizer: Recognizer, bounds: dict[str, float], ended: str
) -> None:
    with bounded(ready(recognizer), **bounds) as client, started(client, late="wait") as socket:
        socket.send_bytes(bytes(64_000))
        *results, final = heard(socket)
    assert final["ended"] == ended
    assert final["seconds"] == bounds.get("session_seconds", 1.0)
    assert [result["stop"] for result in results] == [0.5, final["seconds"]]


def test_a_stopping_service_answers_what_it_heard(recognizer: Recognizer) -> None:
    service = ready(recognizer)
    with visiting(service) as client:
        with started(client) as socket:
            socket.send_bytes(bytes(32_000))
            result = socket.receive_json()
            service.readiness.drain()
            assert (result["type"], heard(socket)[-1]["ended"]) == ("result", "draining")
        assert service.readiness.under_way == 0
        assert refused(client) == (503, "service_draining")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("nothing", "malformed_body"),
        ("[]", "stream_start"),
        ("[" * 10_000, "malformed_body"),
        (f'{{"type": "start", "surprise": "{"x" * 20_000}"}}', "stream_start"),
        ('{"type": "end"}', "stream_start"),
        ('{"type": "start", "window": 40}', "bad_option"),
        ('{"type": "start", "window": 1, "hop": 2}', "bad_option"),
        ('{"type": "start", "surprise": 1}', "bad_option"),
        ('{"type": "start", "window": NaN}', "bad_option"),
        ('{"type": "start", "rate": "16000"}', "bad_option"),
        ('{"type": "start", "hop": -1e999}', "bad_option"),
        ('{"type": "start", "labels": "hungry"}', "label_not_in_model"),
    ],
)
def test_a_wrong_start_is_told_in_both_languages(client: TestClient, message: str, code: str) -> None:
    told = []
    for language in ("en", "zh"):
        with client.websocket_connect("/v1/stream", headers={"accept-language": language}) as socket:
            socket.send_text(message)
            error = socket.receive_json()["error"]
            assert error["code"] == code
            told.append(error["message"])
            with pytest.raises(WebSocketDisconnect) as closed:
                socket.receive_json()
            assert closed.value.code == 1008
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("data", "options", "code"),
    [
        (b"this is no sound at all, it is text" * 200, {}, "text_not_audio"),
        ((AUDIO / "thorsten_neutral.m4a").read_bytes(), {}, "index_at_end"),
        (b"", {}, "empty_file"),
        (b"", {"format": "s16le"}, "no_samples"),
        (bytes(200), {"format": "s16le"}, "too_short"),
        (bytes(2**20 + 2), {"format": "s16le"}, "stream_chunk"),
    ],
)
def test_sound_that_cannot_be_used_is_an_error_before_the_final_message(
    client: TestClient, data: bytes, options: dict[str, Any], code: str
) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_json({"type": "start", **options})
        socket.receive_json()
        socket.send_bytes(data)
        socket.send_json({"type": "end"})
        error, final = heard(socket)
    assert error["error"]["code"] == code
    assert (final["ended"], final["emotion"], final["windows"]) == ("error", None, 0)


def test_a_message_that_means_nothing_ends_the_stream_with_what_was_heard(client: TestClient) -> None:
    with started(client) as socket:
        socket.send_bytes(bytes(32_000))
        socket.send_text("stop, please")
        *results, error, final = heard(socket)
    assert error["error"]["code"] == "stream_message"
    assert len(results) == final["windows"] == 1


def test_there_is_an_end_to_the_number_of_streams(recognizer: Recognizer) -> None:
    with bounded(ready(recognizer), sessions=1) as client, started(client):
        assert refused(client) == (429, "too_many_streams")


def test_a_stream_needs_the_key_which_a_browsers_script_can_give_as_a_subprotocol(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    keys = KeyRing(tmp_path / "keys.json")
    key = keys.create("notes", audio_seconds=1)
    service = ready(recognizer, keys=keys)
    with visiting(service) as client:
        assert refused(client) == (401, "key_missing")
        assert refused(client, subprotocols=["emotape", "emotape.key.nonsense"]) == (401, "key_wrong")
        foreign = {"origin": "https://evil.example", "authorization": f"Bearer {key}"}
        assert refused(client, headers=foreign) == (403, "origin_refused")
        with client.websocket_connect("/v1/stream", subprotocols=["emotape", f"emotape.key.{key}"]) as socket:
            accepted: str | None = vars(socket)["accepted_subprotocol"]
            assert accepted == "emotape"
            socket.send_json({"type": "start", "format": "s16le", "window": 2.0, "hop": 2.0})
            socket.receive_json()
            socket.send_bytes(bytes(2 * 32_000))
            assert socket.receive_json()["type"] == "result"
            socket.send_bytes(bytes(2 * 32_000))
            late = socket.receive_json()  # a minute's second of audio is used up
            assert (late["type"], late["error"]["code"]) == ("error", "too_much_audio")


def test_a_real_client_streams_to_a_real_server_and_both_leave_well(recognizer: Recognizer) -> None:
    service = ready(recognizer)
    with running(service) as url, connect(url.replace("http", "ws") + "/v1/stream") as socket:
        socket.send(json.dumps({"type": "start", "window": 1.0, "hop": 0.5, "late": "wait"}))
        for piece in pieces(JFK.read_bytes()):
            socket.send(piece)
        socket.send('{"type": "end"}')
        kinds = [json.loads(message)["type"] for message in socket]
        assert kinds == ["ready", *["result"] * 9, "final"]
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1000
        with connect(url.replace("http", "ws") + "/v1/stream") as leaving:
            leaving.send('{"type": "start"}')
            leaving.send(JFK.read_bytes()[:20_000])
            leaving.recv()
    assert service.readiness.under_way == 0
