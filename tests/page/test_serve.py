"""`emotape serve` as users start and stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from emotape.delivery.cli.serve import require_packages
from emotape.errors import BadRequest
from tests.page.conftest import start_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.page.conftest import Server

pytestmark = pytest.mark.slow


def test_a_server_that_says_ready_answers_at_once(server: Server) -> None:
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_second_server_on_the_port_leaves_with_the_cure(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    command = [sys.executable, "-m", "emotape", "serve", "--port", port]
    second = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    assert second.returncode == 2
    assert "serve_port_busy" in second.stderr
    assert "emotape serve --port" in second.stderr
    assert "Traceback" not in second.stderr


def test_an_address_that_others_can_reach_is_warned_of_and_sigterm_stops_it(tmp_path: Path) -> None:
    running = start_server(tmp_path, "--host", "0.0.0.0", "--insecure")  # noqa: S104 - a free port, for a second
    assert "password" in running.said
    assert list(tmp_path.glob("emotape-uploads-*"))
    assert running.stop(signal.SIGTERM) == 0
    assert not list(tmp_path.glob("emotape-*"))


def test_control_c_stops_it_and_its_files_go_away(tmp_path: Path) -> None:
    running = start_server(tmp_path)
    assert "password" not in running.said
    assert running.stop(signal.SIGINT) == 0
    assert not list(tmp_path.glob("emotape-*"))


def test_without_the_serve_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    for name in ("fastapi", "gradio", "uvicorn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(BadRequest) as missing:
        require_packages()
    assert missing.value.code == "serve_not_installed"


def test_only_the_package_of_the_screen_knows_gradio() -> None:
    import grimp

    graph = grimp.build_graph("emotape", include_external_packages=True, cache_dir=None)
    knowing = graph.find_modules_that_directly_import("gradio")
    others = {module for module in knowing if not module.startswith("emotape.delivery.ui.")}
    measuring = {"peer_server", "claims_child"}  # its queue beside ours, and what its objects cost
    assert others <= {f"emotape.delivery.bench.{module}" for module in measuring}
    assert knowing - others
