"""schemathesis over the whole OpenAPI: what the schema promises is what the service does, with every check on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from emotape.delivery.api.durable import DurableOptions, Jobs
from emotape.delivery.api.keys import KeyRing
from emotape.delivery.observation import Observation
from tests.api.conftest import ready, running

if TYPE_CHECKING:
    from emotape.recognizer import Recognizer

ROOT = Path(__file__).parents[2]
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
CASES = 6  # of every kind, for every operation


@pytest.mark.slow
def test_schemathesis_finds_no_contradiction(recognizer: Recognizer, tmp_path: Path) -> None:
    told = tmp_path / "told.har"
    jobs = Jobs(DurableOptions(tmp_path / "jobs"), recognizer)
    ring = KeyRing(tmp_path / "keys.json")
    service = ready(recognizer, jobs=jobs, history=jobs.history, keys=ring)
    with running(service, Observation()) as url, closing(jobs):
        jobs.start()
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
        command += [f"{url}/openapi.json", "--max-examples", str(CASES), "--seed", "1", "--no-color"]
        command += ["--header", f"Authorization: Bearer {ring.create('schemathesis')}"]
        command += ["--report", "har", "--report-har-path", str(told), "--continue-on-failure"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "examples"),
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert 200 in statuses(told)["POST /v1/recognize"]
    assert {200, 401, 422} <= statuses(told)["GET /v1/labels"]
    assert 202 in statuses(told)["POST /v1/jobs"]


def statuses(report: Path) -> dict[str, set[int]]:
    """Return the statuses with which each operation answered."""
    found = defaultdict(set)
    for entry in json.loads(report.read_text())["log"]["entries"]:
        request = entry["request"]
        found[f"{request['method']} {urlsplit(request['url']).path}"].add(entry["response"]["status"])
    return found
