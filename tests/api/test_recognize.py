"""POST /v1/recognize: the library's own numbers, in three shapes, each recording answered for itself."""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from emotape.delivery.api.service import ApiOptions
from emotape.delivery.api.shapes import MOST_VALUES, check_size
from emotape.delivery.export.document import document
from emotape.engine.result import GRANULARITIES
from emotape.errors import TooLong
from emotape.model.labels import OFFICIAL_KEYS
from tests.api.conftest import AUDIO, SPEECH, error_of, ready, upload, visiting
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

    from emotape.recognizer import Recognizer

NONSENSE = ("file", ("nonsense.wav", b"RIFF and then nothing"))
REFERENCE = ["生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other"]
REFERENCE += ["难过/sad", "吃惊/surprised", "<unk>"]


def same(found: Any, expected: Any) -> bool:
    """Return whether two documents tell the same, but for times and digits beyond a float's."""
    if isinstance(expected, dict):
        keys = set(expected) - {"timestamp", "stages"}
        return set(found) - {"timestamp", "stages"} == keys and all(same(found[key], expected[key]) for key in keys)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == (pytest.approx(expected, rel=1e-4, abs=1e-4) if isinstance(expected, float) else expected))


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_interface_gives_the_numbers_of_the_library(
    client: TestClient, recognizer: Recognizer, granularity: Any
) -> None:
    wanted = {"granularity": granularity, "embedding": True, "quality": True}
    (found,) = client.post("/v1/recognize", params=wanted, files=[upload()]).json()
    prediction = recognizer.recognize(SPEECH, granularity=granularity, embedding=True, quality=True)
    expected = json.loads(json.dumps(document(SPEECH.name, prediction, datetime.now(UTC), {})))
    assert same(found, expected)


def test_a_form_a_bare_body_and_json_are_answered_alike(client: TestClient) -> None:
    sound = SPEECH.read_bytes()
    (form,) = client.post("/v1/recognize", files=[upload()], data={"quality": "true"}).json()
    bare = client.post(
        "/v1/recognize",
        params={"quality": True},
        content=sound,
        headers={"content-type": "audio/ogg", "content-disposition": f'attachment; filename="{SPEECH.name}"'},
    ).json()
    body = {"files": [{"name": SPEECH.name, "base64": base64.b64encode(sound).decode()}], "quality": True}
    (packed,) = client.post("/v1/recognize", json=body).json()
    assert same(form, bare)
    assert same(form, packed)


def test_many_recordings_are_answered_in_their_order_whichever_field_they_come_in(client: TestClient) -> None:
    names = [f"{place}.opus" for place in range(12)]
    files = [(field, upload(name=name)[1]) for field, name in zip(("file", "files", "audio") * 4, names, strict=True)]
    assert [found["file"] for found in client.post("/v1/recognize", files=files).json()] == names


def test_one_bad_recording_does_not_spoil_the_others(client: TestClient) -> None:
    answered = client.post("/v1/recognize", files=[upload(), NONSENSE, upload()], headers={"accept-language": "zh"})
    assert answered.status_code == 200
    first, second, third = answered.json()
    assert same(first, third)
    assert second["file"] == "nonsense.wav"
    assert set(second["error"]) == {"code", "message", "cause", "cure"}
    assert "录音" in second["error"]["message"] + second["error"]["cure"] or "文件" in second["error"]["message"]


def test_a_lone_failure_is_the_requests_own(client: TestClient) -> None:
    text = client.post("/v1/recognize", files=[("file", ("letter.wav", b"Dear friend, " * 100))])
    assert text.status_code == 415
    assert error_of(text)["code"] == "text_not_audio"
    assert client.post("/v1/recognize", content=b"\x00" * 5000).status_code == 415


def test_when_all_of_several_fail_the_first_error_decides_and_each_is_told(client: TestClient) -> None:
    answered = client.post("/v1/recognize", files=[("file", ("a", b"")), NONSENSE])
    assert answered.status_code == 422
    assert error_of(answered)["code"] == "empty_file"
    assert [failure["file"] for failure in answered.json()["files"]] == ["a", "nonsense.wav"]


def test_the_shape_of_funasr_has_the_references_labels_and_features(client: TestClient, recognizer: Recognizer) -> None:
    wanted: dict[str, Any] = {"format": "funasr", "embedding": True}
    (found,) = client.post("/v1/recognize", params=wanted, files=[upload(name="a.b.opus")]).json()
    prediction = recognizer.recognize(SPEECH, embedding=True)
    assert prediction.embedding is not None
    assert list(found) == ["key", "labels", "scores", "feats"]
    assert found["key"] == "a.b"
    assert found["labels"] == REFERENCE
    assert found["scores"] == pytest.approx(list(prediction.scores.values()), abs=1e-5)
    assert np.allclose(found["feats"], prediction.embedding, atol=1e-4)


def test_the_shape_of_hugging_face_is_sorted(client: TestClient, recognizer: Recognizer) -> None:
    found = client.post("/v1/recognize?format=hf", content=SPEECH.read_bytes()).json()
    scores = [line["score"] for line in found]
    assert scores == sorted(scores, reverse=True)
    assert found[0]["label"] == recognizer.recognize(SPEECH).emotion
    assert {line["label"] for line in found} == set(OFFICIAL_KEYS)


def test_chosen_labels_share_what_they_had(client: TestClient, recognizer: Recognizer) -> None:
    asked = {"labels": "happy, 生气，愤怒", "granularity": "frame"}
    (found,) = client.post("/v1/recognize", params=asked, files=[upload()]).json()
    whole = recognizer.recognize(SPEECH, granularity="frame")
    assert whole.frames is not None
    total = whole.scores["angry"] + whole.scores["happy"]
    assert {key: found["scores"][key] for key in ("angry", "happy")} == pytest.approx(
        {key: whole.scores[key] / total for key in ("angry", "happy")}, abs=1e-4
    )
    assert found["confidence"] == max(found["scores"].values())
    frames = found["details"]["frames"]
    assert frames["labels"] == ["angry", "happy"]
    pair = whole.frames[:, [0, 3]]
    assert np.allclose(frames["scores"], pair / pair.sum(axis=1, keepdims=True), atol=1e-3)


def test_a_label_that_the_model_lacks_is_refused(client: TestClient) -> None:
    answered = client.post("/v1/recognize?labels=happy,hungry", files=[upload()])
    assert answered.status_code == 422
    assert error_of(answered)["code"] == "label_not_in_model"


def test_every_channel_is_answered_when_they_are_split(
    client: TestClient, recognizer: Recognizer, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(AUDIO / "thorsten_neutral.wav")
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([samples, samples[::-1]], axis=1), rate)
    found = client.post("/v1/recognize?channels=split", content=path.read_bytes()).json()
    assert [channel["details"]["channel"] for channel in found] == [0, 1]
    expected = recognizer.recognize_channels(path)
    for shown, prediction in zip(found, expected, strict=True):
        assert shown["confidence"] == pytest.approx(prediction.confidence, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"granularity": "word"}, "granularity"),
        ({"embedding": "perhaps"}, "embedding"),
        ({"deadline": "-1"}, "deadline"),
        ({"format": "xml"}, "format"),
        ({"granuality": "frame"}, "granuality"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name_in_query_form_and_json(
    client: TestClient, options: dict[str, str], named: str
) -> None:
    body = {"files": [{"name": "a", "base64": "AAAA"}], **options}
    for answered in (
        client.post("/v1/recognize", params=options, files=[upload()]),
        client.post("/v1/recognize", data=options, files=[upload()]),
        client.post("/v1/recognize", json=body),
    ):
        assert answered.status_code == 422
        error = error_of(answered)
        assert error["code"] == "bad_option"
        assert named in error["message"]


def test_a_deadline_that_passes_is_told(client: TestClient) -> None:
    answered = client.post("/v1/recognize?deadline=0.000001", files=[upload()])
    assert answered.status_code == 504
    assert error_of(answered)["code"] == "expired"


@pytest.mark.parametrize("body", [{"files": [1] * 100_000}, {str(number): 1 for number in range(100_000)}])
def test_json_of_endless_values_is_refused_before_each_is_looked_at(client: TestClient, body: dict[str, Any]) -> None:
    """Listing what is wrong with each value of 6 MB took half a minute, in which nobody else was answered."""
    answered = client.post("/v1/recognize", json=body)
    assert (answered.status_code, error_of(answered)["code"]) == (422, "malformed_body")


@pytest.mark.parametrize("body", [{"url": "http://10.0.0.1/a.wav"}, {"files": [{"url": "file:///etc/passwd"}]}])
def test_addresses_are_never_fetched(client: TestClient, body: dict[str, Any]) -> None:
    answered = client.post("/v1/recognize", json=body)
    assert answered.status_code == 422
    assert error_of(answered)["code"] in ("url_not_fetched", "bad_option")
    form = client.post("/v1/recognize", files=[upload()], data={"url": "http://10.0.0.1"})
    assert error_of(form)["code"] == "url_not_fetched"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\windows\\a.wav", "/etc/passwd", "a/\u202egnp.wav", "\x1b[31m.wav", ".", "~/x"]
)
def test_a_hostile_name_is_only_a_name_and_nothing_stays_on_disk(
    client: TestClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    body = {"files": [{"name": name, "base64": base64.b64encode(SPEECH.read_bytes()).decode()}]}
    padded = AUDIO.joinpath("jfk.flac").read_bytes() + bytes(2_000_000)
    for answered in (
        client.post("/v1/recognize", json=body),
        client.post("/v1/recognize", files=[("file", (name, SPEECH.read_bytes()))]),
        client.post("/v1/recognize", files=[("file", (name, padded)), NONSENSE]),
    ):
        assert answered.status_code == 200
        shown = answered.json()[0]["file"]
        assert not set(shown) & set("/\\\x1b\u202e")
        assert list(tmp_path.iterdir()) == []


def test_a_large_body_goes_to_disk_and_is_gone_afterwards(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = tmp_path.parent / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(16_000 * 40), 16_000)
    assert path.stat().st_size > 1_200_000
    for answered in (
        client.post("/v1/recognize", content=path.read_bytes()),
        client.post("/v1/recognize", files=[upload(path)]),
    ):
        assert answered.status_code == 200
        assert list(tmp_path.iterdir()) == []


def test_no_recording_at_all_is_an_error(client: TestClient) -> None:
    for answered in (
        client.post("/v1/recognize", content=b""),
        client.post("/v1/recognize", json={"files": []}),
        client.post("/v1/recognize", files={"other": (None, "x")}),
    ):
        assert answered.status_code == 422
        assert error_of(answered)["code"] in ("no_files", "bad_option")
    text = client.post("/v1/recognize", files={"file": (None, "speech.wav")})
    assert error_of(text)["code"] == "file_expected"


def test_more_recordings_than_allowed_are_refused(recognizer: Recognizer) -> None:
    with visiting(ready(recognizer, options=ApiOptions(files=2))) as client:
        answered = client.post("/v1/recognize", files=[upload()] * 3)
        assert answered.status_code == 413
        assert error_of(answered)["code"] == "too_many_files"
        many = client.post("/v1/recognize", files=[upload()] * 5)
        assert error_of(many)["code"] == "too_many_files"
        packed = {"files": [{"base64": ""}] * 3}
        assert error_of(client.post("/v1/recognize", json=packed))["code"] == "too_many_files"
        assert client.post("/v1/recognize", files=[upload()] * 2).status_code == 200


def test_an_answer_of_more_numbers_than_anybody_can_read_is_refused() -> None:
    prediction = make_prediction()
    huge = np.broadcast_to(np.float32(0), (MOST_VALUES // 1000 + 1, 1000))
    with pytest.raises(TooLong, match="answer_too_large"):
        check_size(replace(prediction, embedding=huge))
