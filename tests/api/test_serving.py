"""`emotape serve` and `emotape keys` as people run them: keys, a model that fails, and stopping under load."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emotape.client.connection import is_this_machine
from emotape.delivery.cli import app
from emotape.delivery.server import FAREWELL_SECONDS
from emotape.delivery.serving import api_options, key_ring
from emotape.errors import BadRequest
from emotape.settings import Settings, read_settings, variable
from tests.api.conftest import upload
from tests.page.conftest import start_server

UNIT = Path(__file__).parents[2] / "deploy" / "emotape.service"
pytestmark = pytest.mark.slow


@pytest.fixture
def keys_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOTAPE_API_KEYS_FILE", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


def keys(*arguments: str) -> str:
    """Run `emotape keys`, and return what it prints."""
    done = CliRunner().invoke(app, ["keys", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_key_is_printed_once_and_listed_without_itself(keys_file: Path) -> None:
    key = keys("create", "anna", "--per-minute", "60", "--seconds-per-minute", "600").strip()
    assert key.startswith("emo_")
    (listed,) = json.loads(keys("list", "--json"))
    assert (listed["name"], listed["per_minute"], listed["seconds_per_minute"]) == ("anna", 60, 600)
    assert key not in keys("list") + keys_file.read_text()
    assert "anna" in keys("list")
    keys("revoke", "anna")
    assert json.loads(keys("list", "--json")) == []
    assert CliRunner().invoke(app, ["keys", "revoke", "anna"]).exit_code != 0


def test_an_address_that_others_reach_needs_a_key_or_an_insecure_will(keys_file: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - never bound here
    assert key_ring(read_settings()) is None
    with pytest.raises(BadRequest) as refused:
        key_ring(read_settings(host=everywhere))
    assert refused.value.code == "serve_needs_keys"
    assert key_ring(read_settings(host=everywhere, insecure=True)) is None
    keys("create", "anna")
    for settings in (read_settings(), read_settings(host=everywhere), read_settings(host=everywhere, insecure=True)):
        ring = key_ring(settings)
        assert ring is not None
        assert [key.name for key in ring.known()] == ["anna"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - never bound
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_only_this_machines_own_addresses_are_its_own(host: str, loopback: bool) -> None:
    assert is_this_machine(host) is loopback


def test_names_and_origins_come_from_the_settings() -> None:
    own = api_options(
        read_settings(allowed_hosts="Proxy.example", allowed_origins="https://a.example, https://b.example")
    )
    assert {"localhost", "127.0.0.1", "[::1]", "proxy.example"} == set(own.hosts)
    assert own.origins == ("https://a.example", "https://b.example")
    assert api_options(read_settings(host="192.168.1.5")).hosts == ()
    assert "192.168.1.5" in api_options(read_settings(host="192.168.1.5", allowed_hosts="a")).hosts


def test_what_was_taken_is_answered_after_sigterm_and_nothing_new_is_taken(tmp_path: Path) -> None:
    server = start_server(tmp_path)
    noise, each = np.random.default_rng(1), [tmp_path / f"{number}.wav" for number in range(8)]
    for long in each:  # equal ones would share one calculation, and hardly wait
        soundfile.write(long, 0.1 * noise.standard_normal(16_000 * 45), 16_000)
    with httpx.Client(base_url=server.url, timeout=120) as client, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(client.post, "/v1/recognize", files=[upload(long)]) for long in each]
        while client.get("/v1/limits").json()["waiting_seconds"] == 0:
            assert not all(answer.done() for answer in answers)
        server.process.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in answers] == [200] * 8
    assert server.stop() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/livez")
    assert not list(tmp_path.glob("emotape-*"))


def test_a_model_that_cannot_be_loaded_leaves_a_process_that_says_why(tmp_path: Path) -> None:
    from emotape.store.catalogue import bundled_model

    broken = tmp_path / "broken"
    shutil.copytree(bundled_model().path, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    command = [sys.executable, "-m", "emotape", "serve", "--port", "0", "--model", str(broken)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMOTAPE_")}
    environment |= {"TMPDIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    with process.stderr as said:
        first = next(line for line in said if "http://" in line)
        url = next(word for word in first.split() if word.startswith("http://")).rstrip(";")
        next(line for line in said if "[weights_" in line)
        state = httpx.get(f"{url}/readyz")
        assert state.status_code == 503
        assert state.json()["error"]["code"].startswith("weights_")
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.post(f"{url}/v1/recognize", files=[upload()]).status_code == 503
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_the_unit_file_is_sound_and_gives_no_right_that_is_not_needed(tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8")
    settings = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictNamespaces", "DynamicUser"):
        assert settings[key] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == ""
    assert int(settings["TimeoutStopSec"]) > Settings.model_fields["drain_seconds"].default + FAREWELL_SECONDS
    variables = set(re.findall(r"\b(EMOTAPE_\w+)=", text))
    assert variables <= {variable(key) for key in Settings.model_fields}
    analyze = shutil.which("systemd-analyze")
    if analyze:
        unit = tmp_path / UNIT.name
        unit.write_text(re.sub("^ExecStart=.*$", f"ExecStart={sys.executable}", text, flags=re.MULTILINE))
        done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
