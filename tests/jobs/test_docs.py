"""docs/jobs.md: its commands run as they stand, and both languages show the same ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.api.webhook import WAITS, WebhookOptions, check_options
from emotape.settings import Settings
from emotape.store.postgres_connection import conninfo_of
from emotape.wording import known_codes
from tests.api.conftest import running
from tests.conftest import AUDIO
from tests.jobs.conftest import serving

if TYPE_CHECKING:
    from emotape.recognizer import Recognizer

DOCS = Path(__file__).parents[2] / "docs"
ENGLISH, CHINESE = ((DOCS / name).read_text("utf-8") for name in ("jobs.md", "jobs.zh.md"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_both_languages_show_the_same() -> None:
    for language in ("bash", "toml", "json"):
        assert blocks(ENGLISH, language) == blocks(CHINESE, language) != []
    for text in (ENGLISH, CHINESE):
        assert re.findall(r"^\| `(.*?)`", text, re.MULTILINE) == re.findall(r"^\| `(.*?)`", ENGLISH, re.MULTILINE)
        named = set(re.findall(r"`((?:jobs|history|webhook)_[a-z_]+)`", text))
        assert named <= set(Settings.model_fields) | known_codes("errors")


def test_what_is_said_of_webhooks_holds() -> None:
    toml = "".join(blocks(ENGLISH, "toml"))
    check_options(WebhookOptions(("a",), re.findall(r'webhook_secret = "(.*)"', toml)[0]))
    conninfo_of(re.findall(r'database_url = "(.*)"', toml)[0])
    assert WAITS[:3] == (5.0, 30.0, 120.0)
    assert round(sum(WAITS) / 3600) == 16


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_run(recognizer: Recognizer, tmp_path: Path) -> None:
    """Each line against a real server, in order, with the recordings and the job that they speak of."""
    shutil.copy(AUDIO / "thorsten_angry.mp3", tmp_path / "call-1.mp3")
    shutil.copy(AUDIO / "thorsten_neutral.m4a", tmp_path / "call-2.m4a")
    lines = "".join(blocks(ENGLISH, "bash")).replace("\\\n", " ").splitlines()
    said, job = {}, ""
    with serving(recognizer, tmp_path / "jobs") as service, running(service) as address:
        for line in lines:
            command = line.replace("http://127.0.0.1:7860", address).replace("$JOB", job).replace("curl", "curl -f", 1)
            done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (line, done.stderr)
            said[line] = done.stdout
            job = job or json.loads(done.stdout)["id"]
    events, results, lines_of = (next(said[line] for line in said if part in line) for part in ("/events", "hf", "ndj"))
    assert '"state": "done"' in events
    assert [len(result["answers"][0]) for result in json.loads(results)["results"]] == [9, 9]
    assert [json.loads(line)["answers"][0]["granularity"] for line in lines_of.splitlines()] == ["segment"] * 2
