"""Comparing, and what the service tells about itself."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from emotape.delivery.api.compare import cosines
from tests.api.conftest import AUDIO, SPEECH, error_of, upload

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from emotape.recognizer import Recognizer


def test_recordings_are_compared_by_the_cosine_of_their_embeddings(client: TestClient, recognizer: Recognizer) -> None:
    paths = [SPEECH, AUDIO / "thorsten_neutral.wav", AUDIO / "jfk.flac"]
    found = client.post("/v1/compare", files=[upload(path) for path in paths]).json()
    rows = np.array([recognizer.recognize(path, embedding=True).embedding for path in paths], np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert found["names"] == [path.name for path in paths]
    assert np.allclose(found["similarities"], rows @ rows.T, atol=1e-3)
    assert found["similarities"][0][1] > found["similarities"][0][2], "the same words in another format are nearer"


def test_recordings_and_embeddings_can_be_compared_with_each_other(client: TestClient, recognizer: Recognizer) -> None:
    embedding = recognizer.recognize(SPEECH, embedding=True).embedding
    assert embedding is not None
    body = {
        "files": [{"name": "a", "base64": base64.b64encode(SPEECH.read_bytes()).decode()}],
        "embeddings": [embedding.tolist(), (-embedding).tolist()],
    }
    found = client.post("/v1/compare", json=body).json()
    assert found["names"] == ["a", "embedding 1", "embedding 2"]
    assert found["similarities"][0] == pytest.approx([1, 1, -1], abs=1e-3)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "compare_count"),
        ({"embeddings": [[1.0]] * 65}, "compare_count"),
        ({"embeddings": [[1.0, 2.0], [1.0]]}, "embeddings_differ"),
        ({"embeddings": [[], []]}, "embeddings_differ"),
        ({"embeddings": [[1.0], ["x"]]}, "bad_option"),
        ({"embeddings": [[1.0], [True]]}, "bad_option"),
    ],
)
def test_what_cannot_be_compared_is_refused(client: TestClient, body: dict[str, Any], code: str) -> None:
    answered = client.post("/v1/compare", json=body)
    assert answered.status_code == 422
    assert error_of(answered)["code"] == code


def test_a_recording_that_cannot_be_heard_fails_the_comparison(client: TestClient) -> None:
    answered = client.post("/v1/compare", files=[upload(), ("file", ("b", b"text " * 99))])
    assert answered.status_code == 415
    assert error_of(answered)["code"] == "text_not_audio"


def test_cosines_of_extreme_vectors_are_numbers_between_minus_one_and_one() -> None:
    rows = [np.array([1e308, 1e308]), np.array([1e-308, 1e-308]), np.zeros(2), np.array([-1e308, -1e-308])]
    found = cosines(rows)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] == 0


def test_labels_are_the_models_own_in_its_order(client: TestClient, recognizer: Recognizer) -> None:
    found = client.get("/v1/labels").json()
    assert found["model"] == recognizer.model.name
    assert [label["key"] for label in found["labels"]] == [label.key for label in recognizer.labels]
    assert found["labels"][0]["reference"] == "生气/angry"


def test_the_model_in_use_is_among_the_models(client: TestClient, recognizer: Recognizer) -> None:
    found = client.get("/v1/models", headers={"accept-language": "zh"}).json()
    assert found["current"]["digest"] == recognizer.digest
    assert found["current"]["name"] in [model["name"] for model in found["models"]]
    assert {"bundled", "available"} <= {model["state"] for model in found["models"]}
    assert found != client.get("/v1/models?language=en", headers={"accept-language": "zh"}).json()


def test_the_limits_are_those_that_count(client: TestClient, recognizer: Recognizer) -> None:
    found = client.get("/v1/limits").json()
    assert found["file_bytes"] == recognizer.options.decode.bytes
    assert found["files"] == 64
    assert found["waiting_seconds"] == 0
    assert found["per_minute"] == {"requests": None, "audio_seconds": None}
