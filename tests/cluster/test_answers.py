"""The interface on a Ray cluster: the same answers, errors and streams as from one process."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from emotape.audio.decode import decode
from emotape.client.asynchronous import AsyncClient
from emotape.client.streaming import StreamOptions
from emotape.delivery.clock import local_now
from emotape.delivery.export.document import document
from tests.api.conftest import error_of
from tests.cluster.conftest import AUDIO, OCTETS, others_in, recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from emotape.recognizer import Recognizer
    from tests.cluster.conftest import Served

pytestmark = pytest.mark.slow
FILES = ("thorsten_neutral.opus", "thorsten_angry.mp3", "thorsten_neutral.wav", "thorsten_neutral.m4a")
VARYING = ("timestamp", "stages")


def test_answers_equal_those_of_one_process(client: httpx.Client, recognizer: Recognizer) -> None:
    for name in FILES:
        for granularity in ("utterance", "frame", "segment"):
            content: bytes = recording(name)
            asked: dict[str, Any] = {"granularity": granularity, "embedding": True, "quality": True}
            own = recognizer.recognize(content, **asked)
            told = client.post("/v1/recognize", content=content, params=asked, headers=OCTETS)
            assert told.status_code == 200, told.text
            assert_alike(told.json(), json.loads(json.dumps(document("recording", own, local_now(), {}, "en"))))


def test_many_at_once_are_answered_in_order_and_each_for_itself(client: httpx.Client, recognizer: Recognizer) -> None:
    contents = [recording(FILES[number % 4]) if number % 5 else b"no audio" for number in range(30)]
    told = client.post("/v1/recognize", files=[("file", (f"{place}", each)) for place, each in enumerate(contents)])
    known = {name: recognizer.recognize(recording(name)) for name in FILES}
    for number, found in enumerate(told.json()):
        if number % 5:
            assert found["confidence"] == pytest.approx(known[FILES[number % 4]].confidence, abs=1e-6)
        else:
            assert found["error"]["code"] == "text_not_audio"


def test_each_channel_is_answered(client: httpx.Client, recognizer: Recognizer, stereo: bytes) -> None:
    told = client.post("/v1/recognize", content=stereo, params={"channels": "split"}, headers=OCTETS).json()
    expected = recognizer.recognize_channels(stereo)
    assert [each["confidence"] for each in told] == pytest.approx([each.confidence for each in expected], abs=1e-6)
    assert len({each["confidence"] for each in told}) == 2


def test_errors_have_the_one_shape_and_status(client: httpx.Client) -> None:
    expected = {b"no audio": (415, "text_not_audio"), b"": (422, "no_files")}
    for content, (status, code) in expected.items():
        told = client.post("/v1/recognize", content=content, headers=OCTETS)
        assert (told.status_code, error_of(told)["code"]) == (status, code)
    late = client.post("/v1/recognize", content=recording("jfk.flac"), params={"deadline": 0.001}, headers=OCTETS)
    assert (late.status_code, error_of(late)["code"]) == (504, "expired")
    missing = client.get("/v1/nothing", headers={"accept-language": "zh"})
    assert (missing.status_code, error_of(missing)["code"]) == (404, "no_such_address")


def test_what_is_told_of_the_model_is_the_engines_word(client: httpx.Client, recognizer: Recognizer) -> None:
    assert client.get("/v1/models").json()["current"]["digest"] == recognizer.digest
    assert [each["key"] for each in client.get("/v1/labels").json()["labels"]] == [e.key for e in recognizer.labels]
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/v1/limits").json()["waiting_seconds"] >= 0.0
    assert "emotape_queue_limit_seconds" in client.get("/metrics").text


def test_a_request_may_name_another_model_that_is_served(served: Served, client: httpx.Client) -> None:
    """Each engine keeps one other model: naming them in turns has them loaded, let go and loaded again."""
    models = others_in(served.folder)
    for path in (*models, models[0]):
        named = {"serve_multiplexed_model_id": str(path)}
        told = client.post("/v1/recognize", content=recording(FILES[0]), headers=OCTETS | named)
        assert told.json()["details"]["provenance"]["model"] == path.name
    unknown = client.post("/v1/recognize", content=b"-", headers=OCTETS | {"serve_multiplexed_model_id": "/etc"})
    assert (unknown.status_code, error_of(unknown)["code"]) == (422, "cluster_model_unknown")
    elsewhere = client.get("/v1/labels", headers={"serve_multiplexed_model_id": str(models[0])})
    assert (elsewhere.status_code, error_of(elsewhere)["code"]) == (422, "cluster_model_not_here")


def test_a_job_is_done_and_its_events_are_told(client: httpx.Client) -> None:
    files = [("file", (name, recording(name))) for name in FILES]
    accepted = client.post("/v1/jobs", files=files)
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events") as events:
        told = "".join(events.iter_text())
    assert '"done"' in told
    results = client.get(f"/v1/jobs/{job}/results").json()["results"]
    assert [each["file"] for each in results] == list(FILES)
    assert all(each["state"] == "done" for each in results)


def test_a_stream_is_answered_window_by_window(served: Served, recognizer: Recognizer) -> None:
    waveform = decode(recording("jfk.flac")).waveforms[0]

    async def chunks() -> AsyncIterator[bytes]:
        yield waveform.samples.tobytes()

    async def talk() -> list[Any]:
        options = StreamOptions("f32le", window=4.0, hop=4.0, late="wait")
        async with AsyncClient(served.url) as client:
            return [each async for each in client.stream(chunks(), options)]

    *results, summary = asyncio.run(talk())
    assert (summary.windows, summary.failed, summary.skipped) == (len(results), 0, 0)
    for each in results:
        part = waveform.part(round(each.start * 16_000), round(each.stop * 16_000))
        own = recognizer.recognize(part, quality=True)
        assert each.prediction.confidence == pytest.approx(own.confidence, abs=1e-6)


@pytest.fixture
def stereo(tmp_path: Path) -> bytes:
    import numpy as np
    import soundfile

    samples, rate = soundfile.read(AUDIO / "thorsten_neutral.flac", dtype="float32")
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([samples, samples[::-1]], axis=1), rate)
    return path.read_bytes()


def assert_alike(told: Any, expected: Any, place: str = "") -> None:
    """Check that two documents are equal: numbers to 1e-6, and without what depends on the moment."""
    if isinstance(expected, dict):
        assert list(told) == list(expected), place
        for key in expected:
            if key not in VARYING:
                assert_alike(told[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(told) == len(expected), place
        for number, pair in enumerate(zip(told, expected, strict=True)):
            assert_alike(*pair, f"{place}[{number}]")
    elif isinstance(expected, float):
        assert told == pytest.approx(expected, abs=1e-6), place
    else:
        assert told == expected, place
