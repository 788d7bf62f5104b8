"""/v1/jobs and /v1/history over the bundled model."""

from __future__ import annotations

import io
import json
import threading
import wave
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emotape.delivery.api.quota import Caller
from emotape.store.jobs import EVENTS, StoreOptions
from emotape.store.jobs.rows import tell_event
from tests.api.conftest import running, visiting
from tests.conftest import AUDIO
from tests.jobs.conftest import SPEECH, events_of, followed, form, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.testclient import TestClient

    from emotape.delivery.api.service import Service
    from emotape.recognizer import Recognizer


@pytest.fixture(scope="module")
def service(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(recognizer, tmp_path_factory.mktemp("jobs"), files=5) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with visiting(service) as opened:
        yield opened


def submitted(client: TestClient, *contents: bytes, **query: str) -> dict[str, Any]:
    response = client.post("/v1/jobs", files=form(*contents or (SPEECH.read_bytes(),)), params=query)
    assert response.status_code == 202, response.text
    document: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/jobs/{document['id']}"
    return document


def ended(client: TestClient, job: str) -> dict[str, Any]:
    followed(client, job)
    document: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
    return document


def results(client: TestClient, job: str, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/v1/jobs/{job}/results", params=query).json()["results"]
    return found


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_job_says_of_each_recording_what_recognize_says(client: TestClient) -> None:
    """Partial success: the good recording has its answer, the bad one its error."""
    speech = SPEECH.read_bytes()
    job = submitted(client, speech, b"this is no audio at all", granularity="segment", quality="true")
    done = ended(client, job["id"])
    assert (done["state"], done["counts"]["done"], done["counts"]["failed"], done["files"]) == ("done", 1, 1, 2)
    good, bad = results(client, job["id"])
    wanted = {"granularity": "segment", "quality": "true"}
    (direct,) = client.post("/v1/recognize", files=form(speech), params=wanted).json()
    (answer,) = good["answers"]
    for key in ("file", "emotion", "confidence", "scores", "granularity"):
        assert answer[key] == direct[key]
    for key in ("segments", "uncertain", "uncertain_below"):
        assert answer["details"][key] == direct["details"][key]
    assert bad["state"] == "failed"
    assert bad["answers"][0]["error"]["code"] == "text_not_audio"


@pytest.mark.parametrize("shape", ["emotape", "funasr", "hf"])
def test_results_come_in_the_shape_that_is_asked_first_or_last(client: TestClient, shape: str) -> None:
    speech = SPEECH.read_bytes()
    (direct,) = client.post("/v1/recognize", files=form(speech), params={"format": shape}).json()
    early, late = submitted(client, speech, format=shape), submitted(client, speech)
    ended(client, early["id"])
    ended(client, late["id"])
    one, other = results(client, early["id"]), results(client, late["id"], format=shape)
    for found in (one[0]["answers"][0], other[0]["answers"][0]):
        if shape == "emotape":
            assert found["scores"] == direct["scores"]
        else:
            assert found == direct


def test_options_count_as_in_recognize(client: TestClient) -> None:
    """A subset of labels, an embedding, and the texts' language."""
    job = submitted(client, labels="angry,快乐", embedding="true", language="zh")
    ended(client, job["id"])
    ((answer,),) = (result["answers"] for result in results(client, job["id"]))
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert {key for key, score in answer["scores"].items() if score} <= {"angry", "happy"}
    assert len(answer["details"]["embedding"]) > 100
    bad = submitted(client, b"this is no audio at all", language="zh")
    ended(client, bad["id"])
    message = results(client, bad["id"])[0]["answers"][0]["error"]["message"]
    assert any("\u4e00" <= letter <= "\u9fff" for letter in message)


def test_split_channels_have_an_answer_each(client: TestClient) -> None:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as stereo:
            stereo.setparams((2, 2, 16_000, 0, "NONE", ""))
            stereo.writeframes(bytes(range(256)) * 500)
        content = file.getvalue()
    job = submitted(client, content, channels="split")
    ended(client, job["id"])
    (result,) = results(client, job["id"])
    assert [answer["details"]["channel"] for answer in result["answers"]] == [0, 1]


def test_a_bare_body_is_a_job_too(client: TestClient) -> None:
    headers = {"content-type": "audio/ogg"}
    response = client.post("/v1/jobs?name=call.opus", content=SPEECH.read_bytes(), headers=headers)
    assert response.status_code == 202
    job = response.json()["id"]
    ended(client, job)
    assert results(client, job)[0]["file"] == "call.opus"


def test_many_results_stream_line_by_line(client: TestClient) -> None:
    job = submitted(client, *[SPEECH.read_bytes()] * 5)
    ended(client, job["id"])
    response = client.get(f"/v1/jobs/{job['id']}/results", headers={"accept": "application/x-ndjson"})
    assert response.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3, 4]
    assert lines == results(client, job["id"])


def test_a_key_makes_a_request_safe_to_repeat(client: TestClient) -> None:
    def send(content: bytes, key: str) -> Any:
        return client.post("/v1/jobs", files=form(content), headers={"Idempotency-Key": key})

    first, again = send(b"one", "k1"), send(b"one", "k1")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert code(send(b"other", "k1")) == (409, "job_key_reused")
    assert send(b"one", "k2").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["x" * 256, "with space", "tab\tkey"])
def test_a_key_that_is_none_is_refused(client: TestClient, key: str) -> None:
    response = client.post("/v1/jobs", files=form(b"one"), headers={"Idempotency-Key": key})
    assert code(response) == (422, "bad_option")


def test_what_makes_no_sense_is_refused_before_anything_is_kept(client: TestClient, service: Service) -> None:
    before = len(service.jobs.store.jobs("local", 1000))
    one = form(b"1")
    assert code(client.post("/v1/jobs", files={"granularity": (None, "utterance")})) == (422, "job_without_files")
    assert code(client.post("/v1/jobs", files=one, params={"granularity": "word"})) == (422, "bad_option")
    assert code(client.post("/v1/jobs", files=one, params={"labels": "hungry"})) == (422, "label_not_in_model")
    assert code(client.post("/v1/jobs", files=one, params={"colour": "red"})) == (422, "bad_option")
    assert code(client.post("/v1/jobs", files=form(*[b"1"] * 6))) == (413, "too_many_files")
    callback = {"callback_url": "https://example.com/"}
    assert code(client.post("/v1/jobs", files=one, params=callback)) == (422, "callbacks_off")
    assert len(service.jobs.store.jobs("local", 1000)) == before


def test_nothing_is_found_under_a_name_that_never_was(client: TestClient) -> None:
    for path in ("", "/results", "/events"):
        for name in ("0" * 24, "%00", "..%2f..", "é"):
            response = client.get(f"/v1/jobs/{name}{path}")
            assert response.status_code == 404, (name, path)
    assert code(client.delete("/v1/jobs/nothing")) == (404, "job_unknown")
    assert code(client.get("/v1/jobs?before=nothing")) == (404, "job_unknown")


def test_jobs_and_history_of_others_are_not_there(service: Service, client: TestClient) -> None:
    """Two callers at one service, as the guard names them."""
    app: Any = client.app
    job = submitted(client)["id"]
    ended(client, job)
    from emotape.delivery.api.guard import caller

    app.dependency_overrides[caller] = lambda: Caller("somebody else")
    try:
        assert client.get("/v1/jobs").json()["jobs"] == []
        assert client.get("/v1/history").json()["lines"] == []
        for path in ("", "/results", "/events"):
            assert code(client.get(f"/v1/jobs/{job}{path}")) == (404, "job_unknown")
        assert code(client.delete(f"/v1/jobs/{job}")) == (404, "job_unknown")
        assert client.delete("/v1/history").json() == {"deleted": 0}
    finally:
        app.dependency_overrides.clear()
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "done"


def test_the_list_is_read_page_by_page(client: TestClient) -> None:
    ids = [submitted(client, b"x")["id"] for _ in range(4)]
    first = client.get("/v1/jobs", params={"limit": 3}).json()
    second = client.get("/v1/jobs", params={"limit": 1, "before": first["before"]}).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]


# Following a job


def test_events_resume_where_a_connection_broke(client: TestClient) -> None:
    """Whatever event was the last one seen, the rest comes, and nothing twice."""
    job = submitted(client, SPEECH.read_bytes(), b"bad")["id"]
    told = [event for event in followed(client, job) if "id" in event]
    assert [event["data"]["state"] for event in told if event["event"] == "job"] == ["queued", "running", "done"]
    assert {(event["data"]["file"], event["data"]["state"]) for event in told if event["event"] == "file"} == {
        (0, "running"),
        (0, "done"),
        (1, "running"),
        (1, "failed"),
    }
    for seen, event in enumerate(told[:-1]):
        assert followed(client, job, event["id"]) == told[seen + 1 :]


def test_a_browser_is_told_not_to_come_again_when_all_was_seen(client: TestClient) -> None:
    job = submitted(client)["id"]
    last = followed(client, job)[-1]["id"]
    assert client.get(f"/v1/jobs/{job}/events", headers={"last-event-id": last}).status_code == 204


def test_a_long_story_is_told_whole(service: Service, client: TestClient) -> None:
    """More events than are read at once."""
    job = submitted(client)["id"]
    told = [event for event in followed(client, job) if "id" in event]
    with service.jobs._database.change() as connection:
        connection.execute("DELETE FROM events WHERE number = ?", (told[-1]["id"],))
        (number,) = connection.execute("SELECT number FROM jobs WHERE id = ?", (job,)).fetchone()
        for place in range(2 * EVENTS):
            tell_event(connection, number, "file", {"file": place, "state": "running"}, 0.0)
        tell_event(connection, number, "job", {"state": "done"}, 0.0)
    assert len([event for event in followed(client, job) if "id" in event]) == len(told) + 2 * EVENTS


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "١"])
def test_an_event_that_is_none_is_refused(client: TestClient, last: str) -> None:
    job = submitted(client)["id"]
    response = client.get(f"/v1/jobs/{job}/events", headers=[(b"last-event-id", last.encode())])
    assert code(response) == (422, "bad_option")


def test_many_follow_a_job_over_the_wire_while_it_runs(service: Service) -> None:
    """A real server: followers that come before, during and after see the same story."""
    with running(service) as address, httpx.Client(base_url=address, timeout=60) as sender:
        job = sender.post("/v1/jobs", files=form(*[SPEECH.read_bytes()] * 4)).json()["id"]
        stories: list[list[dict[str, Any]]] = []

        def follow() -> None:
            with httpx.Client(base_url=address, timeout=60) as follower:
                stories.append([event for event in followed(follower, job) if "id" in event])

        threads = [threading.Thread(target=follow) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        follow()
    assert len(stories) == 7
    assert all(story == stories[0] for story in stories)
    assert stories[0][-1]["data"]["state"] == "done"


def test_followers_of_a_long_recording_see_how_far_it_is(client: TestClient, tmp_path: Path) -> None:
    """Two minutes are several windows; what is under way is in the job itself, too."""
    with wave.open(str(tmp_path / "long.wav"), "wb") as long, wave.open(str(AUDIO / "thorsten_neutral.wav")) as short:
        frames = short.readframes(short.getnframes())
        long.setparams(short.getparams())
        for _ in range(int(120 / (short.getnframes() / short.getframerate()))):
            long.writeframes(frames)
    job = submitted(client, (tmp_path / "long.wav").read_bytes())["id"]
    told = followed(client, job)
    progress = [event["data"] for event in told if event["event"] == "progress"]
    assert progress
    assert all("id" not in event for event in told if event["event"] == "progress")
    assert all(file["index"] == 0 for files in progress for file in files)
    ((answer,),) = (result["answers"] for result in results(client, job))
    assert len(answer["details"]["windows"]) >= 4


# Cancelling and deleting


def test_a_job_is_cancelled_then_deleted(recognizer: Recognizer, tmp_path: Path) -> None:
    """Nothing runs here, so the job is still queued when it is cancelled."""
    with serving(recognizer, tmp_path) as service, visiting(service) as client:
        service.jobs.runner.stop(0)
        job = submitted(client)["id"]
        cancelled = client.delete(f"/v1/jobs/{job}")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert results(client, job)[0] == {"index": 0, "file": "0.wav", "state": "cancelled", "answers": []}
        assert followed(client, job)[-1]["data"]["state"] == "cancelled"
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        assert code(client.get(f"/v1/jobs/{job}")) == (404, "job_unknown")


def test_no_room_is_told_with_when_to_come_again(recognizer: Recognizer, tmp_path: Path) -> None:
    with serving(recognizer, tmp_path, store=StoreOptions(max_bytes=1000)) as service, visiting(service) as client:
        response = client.post("/v1/jobs", files=form(b"x" * 1001))
        assert code(response) == (429, "jobs_full")
        assert response.headers["retry-after"] == "60"


def test_followers_are_let_go_when_the_service_stops(recognizer: Recognizer, tmp_path: Path) -> None:
    with serving(recognizer, tmp_path) as service, visiting(service) as client:
        service.jobs.runner.stop(0)
        job = submitted(client)["id"]
        with client.stream("GET", f"/v1/jobs/{job}/events") as response:
            assert response.status_code == 200
            service.readiness.drain()
            assert list(events_of(response.iter_lines()))[-1]["data"]["state"] == "queued"
        assert client.get(f"/v1/jobs/{job}").json()["state"] == "queued"


# History


def test_answers_of_jobs_are_in_the_history(client: TestClient, service: Service) -> None:
    client.delete("/v1/history")
    job = submitted(client, SPEECH.read_bytes(), b"bad")["id"]
    ended(client, job)
    assert service.history is not None
    service.history.flush()
    (line,) = client.get("/v1/history").json()["lines"]
    ((answer,), _) = (result["answers"] for result in results(client, job))
    assert (line["id"], line["file"]) == (job, "0.wav")
    assert (line["emotion"], line["uncertain"]) == (answer["emotion"], answer["details"]["uncertain"])
    assert line["seconds"] == pytest.approx(answer["details"]["seconds"], abs=1e-4)
    assert line["model"] == answer["details"]["provenance"]["model"]
    assert client.get("/v1/history", params={"emotion": "no such"}).json()["lines"] == []
    assert client.delete("/v1/history").json() == {"deleted": 1}
    assert client.get("/v1/history").json() == {"lines": [], "before": None}
