"""The web application over a fake recognizer: languages, supervision, and what it refuses to read."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import soundfile

from emotape.audio.decode import DecodeLimits
from emotape.delivery.api.language import preferred_language
from emotape.delivery.api.service import Service
from emotape.delivery.server import create_app, private_uploads, take_address, url_of
from emotape.errors import BadRequest
from tests.page.fake import FakeRecognizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture(scope="module")
def uploads() -> Iterator[Path]:
    with private_uploads() as folder:
        yield Path(folder)


def test_no_folder_for_temporary_files_is_told_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", refusing)
    with pytest.raises(BadRequest, match=r"\[serve_no_temporary_folder\].*TMPDIR"), private_uploads():
        pass


@contextmanager
def visiting(recognizer: FakeRecognizer, keep_seconds: float = 3600.0) -> Iterator[TestClient]:
    from starlette.testclient import TestClient

    from emotape.delivery.ui import PageOptions

    options = PageOptions(experimental=True, limits=DecodeLimits(bytes=1_000_000), keep_seconds=keep_seconds)
    service = Service(cast("Any", recognizer))
    service.readiness.mark_ready()
    with TestClient(create_app(service, options), base_url="http://127.0.0.1:7860") as opened:
        yield opened


@pytest.fixture(scope="module")
def client(recognizer: FakeRecognizer, uploads: Path) -> Iterator[TestClient]:
    with visiting(recognizer) as opened:
        yield opened


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("fr, zh;q=0.2, en;q=0.1", "zh"),
        ("fr", "en"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=nonsense", "en"),
        ("", "en"),
    ],
)
def test_the_browsers_first_language_decides(accepted: str, language: str) -> None:
    assert preferred_language(accepted) == language


def test_the_front_door_leads_to_the_language_chosen_before(client: TestClient) -> None:
    headers = {"accept-language": "zh-CN"}
    assert client.get("/", headers=headers, follow_redirects=False).headers["location"] == "zh/"
    chosen = client.get("/?language=en", headers=headers, follow_redirects=False)
    assert chosen.headers["location"] == "en/"
    assert client.get("/", headers=headers, follow_redirects=False).headers["location"] == "en/"
    assert client.get("/?language=../x", headers=headers, follow_redirects=False).headers["location"] == "en/"
    client.cookies.clear()


@pytest.mark.parametrize("address", ["/livez", "/readyz", "/zh/", "/en/", "/favicon.ico"])
def test_what_a_browser_and_a_supervisor_ask_is_answered(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 200


def configuration(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/en/config").json()
    return found


def test_the_page_reports_to_nobody_and_keeps_no_history(client: TestClient) -> None:
    settings = configuration(client)
    assert settings["analytics_enabled"] is False
    assert not settings.get("run_history")
    assert settings["footer_links"] == []


def press(client: TestClient, upload: dict[str, Any] | None) -> dict[str, Any]:
    """Press the button as a browser would, with any file reference, and return the last message."""
    (button,) = (dependency for dependency in configuration(client)["dependencies"] if len(dependency["inputs"]) == 3)
    session = os.urandom(8).hex()
    body = {
        "data": [[upload] if upload else None, "utterance", False],
        "fn_index": button["id"],
        "session_hash": session,
    }
    assert client.post("/en/gradio_api/queue/join", json=body).status_code == 200
    stream = client.get("/en/gradio_api/queue/data", params={"session_hash": session}).text
    messages = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]
    return next(message for message in messages if message["msg"] == "process_completed")


def uploaded(client: TestClient, folder: Path) -> dict[str, Any]:
    """Upload a second of noise and return the browser's reference to it."""
    path = folder / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(2).standard_normal(16_000), 16_000)
    with path.open("rb") as file:
        (kept,) = client.post("/en/gradio_api/upload", files={"files": file}).json()
    return {"path": kept, "meta": {"_type": "gradio.FileData"}}


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_an_uploaded_file_is_answered(client: TestClient, recognizer: FakeRecognizer, tmp_path: Path) -> None:
    before = len(recognizer.asked)
    answered = press(client, uploaded(client, tmp_path))
    assert answered["success"] is True
    (state,) = answered["output"]["data"]
    assert state["files"][0]["stage"] == "answered"
    assert len(recognizer.asked) == before + 1
    address = "/page/" + state["files"][0]["view"].removeprefix("../page/")
    view = client.get(address).json()
    assert view["file"] == "noise.wav"
    sound = client.get("/page/" + view["sound"].removeprefix("../page/"), headers={"range": "bytes=0-9"})
    assert (sound.status_code, len(sound.content)) == (206, 10)
    assert client.get(address.replace("view.json", "..%2Fview.json")).status_code == 404


def test_a_failure_nobody_foresaw_becomes_an_error_card_without_a_traceback(uploads: Path, tmp_path: Path) -> None:
    with visiting(FakeRecognizer(failure=ZeroDivisionError("secret detail"))) as client:
        answered = json.dumps(press(client, uploaded(client, tmp_path)))
    assert "page_failed" in answered
    assert "secret detail" not in answered
    assert "Traceback" not in answered


def test_uploads_and_results_are_deleted_when_their_time_has_come(uploads: Path, tmp_path: Path) -> None:
    with visiting(FakeRecognizer(), keep_seconds=1) as client:
        before = files_in(uploads)
        answered = press(client, uploaded(client, tmp_path))
        assert answered["success"] is True
        assert '"stage": "answered"' in json.dumps(answered)
        while files_in(uploads) - before:  # the test's own time limit ends this
            client.get("/livez")


def test_an_upload_that_breaks_off_leaves_nothing(client: TestClient, uploads: Path) -> None:
    before = files_in(uploads)
    begun = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n' + bytes(100_000)
    parts = iter([{"type": "http.request", "body": begun, "more_body": True}])
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/en/gradio_api/upload", "query_string": b"", "root_path": ""}

    async def receive() -> dict[str, Any]:
        return next(parts, {"type": "http.disconnect"})

    async def send(_: Any) -> None:
        pass

    headers.append((b"content-length", b"200000"))
    whole = {**scope, "headers": headers, "scheme": "http", "server": ("127.0.0.1", 80), "raw_path": b""}
    asyncio.run(cast("Any", client.app)(whole, receive, send))
    assert files_in(uploads) == before


def test_a_path_on_the_server_is_not_taken_for_an_upload(
    client: TestClient, recognizer: FakeRecognizer, tmp_path: Path
) -> None:
    private = tmp_path / "private.wav"
    soundfile.write(private, np.zeros(16_000), 16_000)
    before = len(recognizer.asked)
    refused = press(client, {"path": str(private), "meta": {"_type": "gradio.FileData"}})
    assert refused["success"] is False
    assert str(private) not in json.dumps(refused)
    assert len(recognizer.asked) == before
    assert client.get(f"/en/gradio_api/file={private}").status_code in {403, 404}


@pytest.mark.parametrize("name", ["../render.py", "..%2f__init__.py", "nothing.js", "icon.svg/..", "%00.js"])
def test_the_scripts_address_gives_nothing_but_scripts(client: TestClient, name: str) -> None:
    assert client.get(f"/page/assets/x/{name}").status_code == 404


def test_the_scripts_are_kept_by_browsers_until_they_change(client: TestClient) -> None:
    from emotape.delivery.page.routes import assets_version

    current = client.get(f"/page/assets/{assets_version()}/page.js")
    assert "max-age" in current.headers["cache-control"]
    assert current.headers["content-type"].startswith("text/javascript")
    assert client.get("/page/assets/old/page.js").headers["cache-control"] == "no-store"


def test_the_page_knows_whether_the_model_is_loaded(client: TestClient, recognizer: FakeRecognizer) -> None:
    assert client.get("/page/state").json() == {"ready": True}
    recognizer.ready.clear()
    assert client.get("/page/state").json() == {"ready": False}
    recognizer.ready.set()


def test_an_upload_beyond_the_limit_is_refused(client: TestClient) -> None:
    response = client.post("/en/gradio_api/upload", files={"files": ("big.wav", b"0" * 1_100_000)})
    assert response.status_code == 413


def test_uploads_lie_in_a_folder_that_only_this_user_can_read_and_that_goes_away() -> None:
    before = os.environ.get("GRADIO_TEMP_DIR")
    with private_uploads() as folder:
        assert Path(folder).stat().st_mode & 0o077 == 0
        assert os.environ["GRADIO_TEMP_DIR"] == folder
    assert not Path(folder).exists()
    assert os.environ.get("GRADIO_TEMP_DIR") == before


def test_a_port_that_another_program_uses_is_an_error_with_a_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BadRequest) as refused:
            take_address("127.0.0.1", port)
    assert refused.value.code == "serve_port_busy"
    assert "--port" in refused.value.text("zh").cure


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(BadRequest) as refused:
        take_address("192.0.2.1", 0)
    assert refused.value.code == "serve_address"


def test_the_address_to_open_is_one_that_a_browser_takes() -> None:
    with take_address("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    with take_address("0.0.0.0", 0) as listener:  # noqa: S104 - bound, never listened on
        assert url_of(listener).startswith("http://127.0.0.1:")
