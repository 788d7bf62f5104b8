"""`emotape top` beside a real server with a key: one frame, JSON, a terminal, and servers that are none."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from emotape.delivery.api.keys import KeyRing, default_keys_file
from emotape.delivery.cli import app
from emotape.delivery.cli.top import address
from emotape.delivery.top import live
from emotape.delivery.top.frame import frame
from emotape.delivery.top.server import Server, TapeFill
from emotape.errors import Denied, EmotapeError
from emotape.settings import read_settings
from tests.client.conftest import Flaky
from tests.conftest import AUDIO
from tests.page.conftest import start_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

    from emotape.wording import Language

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run without the settings and the language of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Give the address and the key of a server that has answered two recordings."""
    folder = tmp_path_factory.mktemp("top")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        key = KeyRing(default_keys_file()).create("top")
    server = start_server(folder)
    for name in ("jfk.flac", "thorsten_angry.mp3"):
        sound = (AUDIO / name).read_bytes()
        answer = httpx.post(f"{server.url}/v1/recognize", content=sound, headers={"x-api-key": key}, timeout=60)
        assert answer.status_code == 200
    yield server.url, key
    server.stop()


def top(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["top", *arguments])


def test_one_frame_as_json_is_what_the_server_says_of_itself(place: tuple[str, str]) -> None:
    url, key = place
    done = top("--server", url, "--key", key, "--once", "--json")
    assert done.exit_code == 0, done.output
    seen = json.loads(done.stdout)
    theirs = httpx.get(f"{url}/page/monitor", headers={"x-api-key": key}).json()
    assert seen.keys() == theirs.keys() | {"server", "ready", "requests_under_way", "tape_fill", "model"}
    assert seen["memory_total"] == theirs["memory_total"]
    assert (seen["server"], seen["ready"], seen["requests_under_way"]) == (url, True, 0)
    assert 0 < seen["tape_fill"] <= 1
    assert seen["model"]["device"] == "cpu"


@pytest.mark.parametrize(("language", "word"), [("en", "Tape fill"), ("zh", "批次填充率")])
def test_one_frame_as_text_names_everything(place: tuple[str, str], language: str, word: str) -> None:
    url, key = place
    done = top("--server", url, "--key", key, "--once", "--language", language)
    assert done.exit_code == 0, done.output
    assert url in done.stdout
    assert word in done.stdout
    assert "starter-v2" in done.stdout


def test_a_server_that_needs_a_key_says_so_and_a_wrong_one_is_refused(place: tuple[str, str]) -> None:
    without, wrong = top("--server", place[0], "--once"), top("--server", place[0], "--key", "emo_x", "--once")
    assert without.exit_code == wrong.exit_code == 3
    assert "[key_missing]" in without.stderr
    assert "[key_wrong]" in wrong.stderr
    with Server(place[0], None, "zh") as server, pytest.raises(Denied, match="密钥"):
        server.look()


def at_a_terminal(url: str, key: str, leave: bytes) -> tuple[int, str]:
    """Watch a server at a terminal of its own until the first frame is there, then leave; return status and screen."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "EMOTAPE_API_KEY": key, "COLUMNS": "80", "LINES": "40"}
    command = [sys.executable, "-m", "emotape", "top", "--server", url]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    screen = b""
    while b"leaves" not in screen:
        screen += os.read(ours, 65_536)
    if leave:
        os.write(ours, leave)
    else:
        process.send_signal(signal.SIGINT)
    while True:
        try:
            rest = os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
        screen += rest
        if not rest:
            break
    os.close(ours)
    return process.wait(timeout=30), screen.decode("utf-8", "replace")


@pytest.mark.parametrize("leave", [b"q", b""], ids=["q", "ctrl-c"])
def test_at_a_terminal_q_and_ctrl_c_leave_quietly(place: tuple[str, str], leave: bytes) -> None:
    status, screen = at_a_terminal(*place, leave)
    assert status == 0
    assert "Processor" in screen
    assert "Traceback" not in screen
    assert "Interrupted" not in screen


def test_no_server_and_no_address_are_told_with_the_cure() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        gone = top("--server", f"http://127.0.0.1:{taken.getsockname()[1]}", "--once")
    assert gone.exit_code == 3
    assert "[server_unreachable]" in gone.stderr
    assert top("--server", "127.0.0.1:1", "--once").exit_code == 2


@pytest.mark.parametrize("answer", [(200, b"null"), (200, b"<html>"), (200, b"[]"), (404, b'{"detail": "Not Found"}')])
def test_what_is_no_emotape_is_told(answer: tuple[int, bytes]) -> None:
    with Flaky([(answer[0], {}, answer[1])]).serving() as other:
        done = top("--server", other.url, "--once")
    assert done.exit_code == 3
    assert "[server_answer]" in done.stderr


def seen(**more: Any) -> dict[str, Any]:
    """Return what a busy server with two cards says."""
    cards = [
        {"name": "NVIDIA GeForce RTX 4090", "utilisation": 93.0, "memory_used": 9e9, "memory_total": 24e9},
        {"name": "NVIDIA A30 MIG 1g.6gb", "utilisation": None, "memory_used": 6e9, "memory_total": 6e9},
    ]
    found = {
        "server": "http://127.0.0.1:7860",
        "ready": True,
        "model": None,
        "requests_under_way": 12,
        "cpu_percent": 97.0,
        "memory_used": 60e9,
        "memory_total": 64e9,
        "process_memory": 5e9,
        "swap_used": 2e9,
        "gpus": cards,
        "queue_seconds": 1234.5,
        "queue_bound": 3600.0,
        "requests_per_second": 41.0,
        "realtime_factor": 12_345.6,
        "cache_hit_rate": 0.25,
        "stages": {"decode": 3.0, "run": 1.0},
        "tape_fill": 0.8,
        "advice": [{"code": "a", "text": "Memory is 94 % full: close other programs. " * 3}],
    }
    return found | more


def drawn(width: int, found: dict[str, Any], language: Language = "en", **more: Any) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(frame(found, console, language, **more))
        return console.export_text()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [16, 24, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int, language: Language) -> None:
    text = drawn(width, seen(), language)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    if width >= 40:
        assert "97%" in text
        assert "75%" in text
        assert "1,234.5 / 3,600" in text
    if width >= 60:
        assert "█" in text
        assert "NVIDIA A30" in text


def test_a_server_that_goes_away_is_told_in_the_frame_and_asked_again() -> None:
    with Flaky([None]).serving() as gone, Server(gone.url, None, "en") as server:
        kept, fault = live._next(server, seen())
    assert kept == seen()
    assert isinstance(fault, EmotapeError)
    assert "cannot be reached" in drawn(80, kept, fault=fault)
    assert "not ready" in drawn(80, seen(ready=False, stages={}, gpus=[], cache_hit_rate=None, tape_fill=None))


def test_tape_fill_is_of_the_newest_tapes_also_after_a_restart() -> None:
    fill = TapeFill()

    def told(total: float, count: int) -> float | None:
        lines = ["# TYPE emotape_tape_fill_ratio histogram"]
        lines += [f'emotape_tape_fill_ratio_bucket{{le="+Inf"}} {count}']
        lines += [f"emotape_tape_fill_ratio_sum {total}", f"emotape_tape_fill_ratio_count {count}", ""]
        return fill.of({family.name: family for family in text_string_to_metric_families("\n".join(lines))})

    assert fill.of({}) is None
    assert told(0, 0) is None
    assert told(1.0, 2) == 0.5
    assert told(1.0, 2) == 0.5  # nothing ran: as before
    assert told(1.9, 3) == pytest.approx(0.9)
    assert told(0.2, 1) == pytest.approx(0.2)  # the server was started anew


def test_without_an_address_the_server_of_this_machine_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address(read_settings()) == "http://127.0.0.1:7860"
    monkeypatch.setenv("EMOTAPE_PORT", "8000")
    assert address(read_settings(host="0.0.0.0")) == "http://127.0.0.1:8000"  # noqa: S104 - asked, not bound
    assert address(read_settings(host="::")) == "http://[::1]:8000"
    assert address(read_settings(server_url="https://far.example")) == "https://far.example"
