"""The door: who may come in, from where, and that everybody else is told so in one shape."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.api.app import create_app
from emotape.delivery.api.keys import KeyRing
from emotape.delivery.api.quota import Caller, Quotas
from emotape.delivery.api.service import ApiOptions, Service
from emotape.errors import BadRequest, Denied, EmotapeError, EngineFault, NotFound, Overloaded
from tests.api.conftest import error_of, ready, upload, visiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.testclient import TestClient

    from emotape.recognizer import Recognizer

LOCAL_NAMES = ApiOptions(hosts=("localhost", "127.0.0.1", "[::1]"), origins=("https://app.example",))


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys.json")


@pytest.fixture(scope="module")
def local(recognizer: Recognizer) -> Iterator[TestClient]:
    with visiting(ready(recognizer, options=LOCAL_NAMES)) as client:
        yield client


def test_every_answer_carries_the_requests_id_and_keeps_a_sane_one(client: TestClient) -> None:
    assert client.get("/v1/labels", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    made = {
        client.get("/livez", headers={"x-request-id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 65)
    }
    assert len(made) == 3
    assert all(len(name) == 32 for name in made)


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"),
    [
        ("GET", "/v1/nothing", {}, 404, "no_such_address"),
        ("GET", "/nothing", {}, 404, "no_such_address"),
        ("DELETE", "/v1/recognize", {}, 405, "method_not_allowed"),
        ("GET", "/v1/labels?surprise=1", {}, 422, "bad_option"),
        ("POST", "/v1/recognize", {"content": b"{", "headers": {"content-type": "application/json"}}, 422, None),
        (
            "POST",
            "/v1/recognize",
            {"content": b"[]", "headers": {"content-type": "application/json"}},
            422,
            "bad_option",
        ),
        ("POST", "/v1/recognize", {"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "bad_media_type"),
        ("POST", "/v1/recognize", {"data": {"a": "b"}}, 415, "bad_media_type"),
        (
            "POST",
            "/v1/recognize",
            {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data"}},
            422,
            "malformed_body",
        ),
        (
            "POST",
            "/v1/recognize",
            {"content": b"no such boundary", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            422,
            "malformed_body",
        ),
        ("POST", "/v1/compare", {"json": {"embeddings": [[1.0]]}}, 422, "compare_count"),
    ],
)
def test_every_refusal_has_the_one_shape_in_the_callers_language(
    client: TestClient, method: str, path: str, sent: dict[str, Any], status: int, code: str | None
) -> None:
    english = client.request(method, path, **sent)
    sent["headers"] = sent.get("headers", {}) | {"accept-language": "zh-CN,zh;q=0.9"}
    chinese = client.request(method, path, **sent)
    assert english.status_code == chinese.status_code == status
    assert error_of(english)["code"] == error_of(chinese)["code"] == (code or "malformed_body")
    assert error_of(english)["message"] != error_of(chinese)["message"]
    if status == 405:
        assert english.headers["allow"] == "POST"


def test_a_failure_nobody_foresaw_is_told_without_its_details(recognizer: Recognizer) -> None:
    app = create_app(ready(recognizer))

    async def broken() -> None:
        raise ZeroDivisionError("secret detail")

    app.add_api_route("/v1/broken", broken)
    from starlette.testclient import TestClient

    with TestClient(app, base_url="http://127.0.0.1") as client:
        answered = client.get("/v1/broken")
    assert answered.status_code == 500
    assert error_of(answered)["code"] == "request_failed"
    assert "secret detail" not in answered.text


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]:80"]
)
def test_a_foreign_name_for_this_machine_is_refused(local: TestClient, host: str) -> None:
    answered = local.get("/v1/labels", headers={"host": host})
    assert answered.status_code == 403
    assert error_of(answered)["code"] == "host_refused"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:7860", "LOCALHOST", "[::1]:7860", "notes.localhost:1"])
def test_this_machines_own_names_are_taken(local: TestClient, host: str) -> None:
    assert local.get("/v1/labels", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost"])
def test_what_another_sites_page_sends_is_refused_before_it_does_anything(local: TestClient, origin: str) -> None:
    answered = local.post("/v1/recognize", files=[upload()], headers={"origin": origin})
    assert answered.status_code == 403
    assert error_of(answered)["code"] == "origin_refused"
    assert "access-control-allow-origin" not in answered.headers


def test_the_own_page_and_allowed_pages_may_call(local: TestClient) -> None:
    assert local.post("/v1/recognize", files=[upload()], headers={"origin": "http://127.0.0.1"}).status_code == 200
    origin = {"origin": "https://app.example"}
    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert local.options("/v1/recognize", headers=asked).status_code == 200
    answered = local.post("/v1/recognize", files=[upload()], headers=origin)
    assert answered.status_code == 200
    assert answered.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-request-id" in answered.headers["access-control-expose-headers"].casefold()
    refused = local.options("/v1/recognize", headers={**asked, "origin": "https://evil.example"})
    assert refused.status_code == 403
    assert error_of(refused)["code"] == "origin_refused"


def test_a_key_opens_as_bearer_as_header_and_as_password_and_nothing_else_does(
    recognizer: Recognizer, ring: KeyRing
) -> None:
    key, other = ring.create("anna"), ring.create("ben")
    basic = base64.b64encode(f"whoever:{key}".encode()).decode()
    with visiting(ready(recognizer, keys=ring)) as client:
        for good in (
            {"authorization": f"Bearer {key}"},
            {"authorization": f"bearer {other}"},
            {"authorization": f"Basic {basic}"},
            {"x-api-key": key},
        ):
            assert client.get("/v1/labels", headers=good).status_code == 200
        for bad, code in (
            ({}, "key_missing"),
            ({"authorization": "Bearer "}, "key_missing"),
            ({"authorization": "Basic ???"}, "key_missing"),
            ({"authorization": f"Digest {key}"}, "key_missing"),
            ({"x-api-key": key[:-1]}, "key_wrong"),
            ({"x-api-key": key.swapcase()}, "key_wrong"),
            ({"authorization": f"Bearer {ring.known()[0].sha256}"}, "key_wrong"),
        ):
            refused = client.get("/v1/labels", headers=bad)
            assert refused.status_code == 401
            assert error_of(refused)["code"] == code
            assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/docs").headers["www-authenticate"].startswith("Basic ")
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_only_hashes_are_kept_and_only_the_owner_can_read_them(ring: KeyRing) -> None:
    key = ring.create("anna", 10, 60)
    assert len(key) >= 43
    assert key not in ring.path.read_text()
    assert ring.path.stat().st_mode & 0o077 == 0
    assert KeyRing(ring.path).caller(key) == Caller("anna", 10, 60)


def test_a_revoked_key_is_refused_at_once_and_no_keys_left_opens_nothing(recognizer: Recognizer, ring: KeyRing) -> None:
    key = ring.create("anna")
    with visiting(ready(recognizer, keys=KeyRing(ring.path))) as client:
        shown = {"x-api-key": key}
        assert client.get("/v1/limits", headers=shown).status_code == 200
        ring.revoke("anna")
        assert client.get("/v1/limits", headers=shown).status_code == 401
        assert client.get("/v1/limits").status_code == 401


def test_names_of_keys_are_unique_and_sane(ring: KeyRing) -> None:
    ring.create("anna")
    for name, code in (
        ("anna", "key_name_taken"),
        ("", "key_name_bad"),
        ("a b", "key_name_bad"),
        ("local", "key_name_bad"),
    ):
        with pytest.raises(BadRequest) as refused:
            ring.create(name)
        assert refused.value.code == code
    with pytest.raises(NotFound, match="key_unknown"):
        ring.revoke("ben")


@pytest.mark.parametrize("damage", ["", "{}", '{"keys": [{}]}', "[1]", '{"keys": 1}'])
def test_a_damaged_file_of_keys_opens_nothing(ring: KeyRing, damage: str) -> None:
    ring.path.write_text(damage)
    with pytest.raises(BadRequest, match="keys_file_unusable"):
        ring.caller("anything")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_a_minute_are_counted_and_come_back_steadily() -> None:
    clock = Clock()
    quotas, anna, ben = Quotas(clock), Caller("anna", requests=3), Caller("ben", requests=3)
    for _ in range(3):
        quotas.admit(anna)
    with pytest.raises(Overloaded) as refused:
        quotas.admit(anna)
    assert refused.value.code == "too_many_requests"
    assert refused.value.retry_after == pytest.approx(20)
    quotas.admit(ben)
    clock.now += refused.value.retry_after
    quotas.admit(anna)
    with pytest.raises(Overloaded):
        quotas.admit(anna)
    clock.now += 3600
    for _ in range(3):
        quotas.admit(anna)
    with pytest.raises(Overloaded):
        quotas.admit(anna)


def test_audio_a_minute_is_counted_when_it_is_known_and_a_long_recording_is_paid_for_afterwards() -> None:
    clock = Clock()
    quotas, anna = Quotas(clock), Caller("anna", audio_seconds=60)
    quotas.admit(anna)
    quotas.charge(anna, 180)
    with pytest.raises(Overloaded) as refused:
        quotas.admit(anna)
    assert refused.value.code == "too_much_audio"
    assert refused.value.retry_after == pytest.approx(120, abs=2)
    clock.now += refused.value.retry_after
    quotas.admit(anna)
    quotas.admit(Caller("ben", audio_seconds=60))


def test_a_keys_limits_are_told_with_when_to_come_again(recognizer: Recognizer, ring: KeyRing) -> None:
    shown = {"x-api-key": ring.create("anna", requests=2, audio_seconds=1)}
    clock = Clock()
    with visiting(ready(recognizer, keys=ring, quotas=Quotas(clock))) as client:
        assert client.get("/v1/limits", headers=shown).json()["per_minute"] == {"requests": 2, "audio_seconds": 1}
        answered = client.post("/v1/recognize", files=[upload()], headers=shown)
        assert answered.status_code == 200
        used = answered.json()[0]["details"]["seconds"]
        refused = client.post("/v1/recognize", files=[upload()], headers=shown)
        assert refused.status_code == 429
        assert error_of(refused)["code"] == "too_much_audio"
        assert int(refused.headers["retry-after"]) == pytest.approx(60 * (used - 1), abs=1.5)


def test_nothing_of_the_page_counts_against_a_key(recognizer: Recognizer, ring: KeyRing) -> None:
    shown = {"x-api-key": ring.create("anna", requests=1)}
    with visiting(ready(recognizer, keys=ring, quotas=Quotas(Clock()))) as client:
        assert {client.get("/docs", headers=shown).status_code for _ in range(5)} == {200}


def test_work_is_refused_until_the_model_is_warm_and_while_the_service_stops(recognizer: Recognizer) -> None:
    service = Service(recognizer)
    with visiting(service) as client:
        for phase, code in (("loading", "service_loading"), ("ready", None), ("draining", "service_draining")):
            if phase == "ready":
                service.readiness.mark_ready()
            if phase == "draining":
                service.readiness.drain()
            state, answered = client.get("/readyz"), client.post("/v1/recognize", files=[upload()])
            assert state.json()["status"] == phase
            assert client.get("/livez").status_code == 200
            assert state.status_code == answered.status_code == (503 if code else 200)
            if code:
                assert error_of(answered)["code"] == code
                assert int(answered.headers["retry-after"]) > 0
        assert client.get("/v1/labels").status_code == 200, "what only reads is answered to the end"


@pytest.mark.parametrize("failure", [EngineFault("closed"), MemoryError("no room")])
def test_a_model_that_cannot_be_loaded_is_told_and_the_process_stays(
    recognizer: Recognizer, failure: Exception
) -> None:
    service = Service(recognizer)
    told: list[EmotapeError | None] = []

    def fail() -> None:
        raise failure

    service.readiness.load(fail, told.append).join()
    assert [error.code for error in told if error] == ["closed" if isinstance(failure, EmotapeError) else "run_failed"]
    with visiting(service) as client:
        state = client.get("/readyz")
        assert state.status_code == 503
        assert state.json()["status"] == "failed"
        assert error_of(state)["code"] == told[0].code if told[0] else False
        assert error_of(client.get("/v1/labels"))["code"] == "service_failed"
        assert client.get("/livez").status_code == 200


def test_the_documentation_needs_no_other_machine(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page.replace("https://fastapi", "")
    scripts = [line.split('"')[1] for line in page.splitlines() if "static-offline" in line]
    assert scripts
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "https://" not in json.dumps(document["paths"])


def test_denied_is_never_mistaken_for_the_callers_other_faults() -> None:
    assert not issubclass(Denied, BadRequest)
