"""`emotape serve` with a JSON log, from its first line to its last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    folders = {f"XDG_{kind}_HOME": str(tmp_path) for kind in ("CACHE", "CONFIG", "DATA")}
    settings = {"EMOTAPE_LOG_FORMAT": "json", "TMPDIR": str(tmp_path), "LC_ALL": "C.UTF-8"}
    running = subprocess.Popen(
        [sys.executable, "-m", "emotape", "serve", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **folders, **settings},
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        assert running.stderr is not None
        running.stderr.close()


def test_every_line_is_json_and_every_request_has_one(process: subprocess.Popen[str], speech: bytes) -> None:
    """Also what the server says of itself; and what it observes is what it did."""
    assert process.stderr is not None
    lines: list[dict[str, Any]] = []
    while not lines or lines[-1].get("event") != "serve_ready":
        lines.append(json.loads(process.stderr.readline()))
    url = lines[-1]["url"]
    assert next(line for line in lines if line.get("event") == "serve_listening")["model"]
    headers = {"x-request-id": "the-one"}
    answer = httpx.post(f"{url}/v1/recognize", content=speech, headers=headers, timeout=60)
    assert answer.status_code == 200
    figures = httpx.get(f"{url}/metrics").text
    assert 'emotape_requests_total{code="",outcome="answered"} 1.0' in figures
    assert 'emotape_http_requests_total{method="POST",route="/v1/recognize",status="200"} 1.0' in figures
    seen = httpx.get(f"{url}/page/monitor", params={"language": "zh"}).json()
    assert seen["memory_total"] > seen["process_memory"] > 0
    process.send_signal(signal.SIGTERM)
    lines += [json.loads(line) for line in process.stderr]
    assert process.wait(timeout=60) == 0
    (told,) = [line for line in lines if line.get("request_id") == "the-one"]
    assert (told["route"], told["status"], told["recordings"]) == ("/v1/recognize", 200, 1)
    assert {line["level"] for line in lines} == {"info"}
