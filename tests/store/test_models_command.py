"""`emotape models` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.store.test_catalogue import lay
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.store.catalogue import bundled_model
from emotape.store.hubs import HUB_ORDER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.store.hub_server import LocalHub
    from typer.testing import Result


def emotape(folder: Path, *arguments: str) -> Result:
    """Run `emotape models …` with that models folder, in this process."""
    variables = {"EMOTAPE_MODELS_FOLDER": str(folder), "EMOTAPE_LANGUAGE": "en"}
    return CliRunner().invoke(app, ["models", *arguments], env=variables)


def test_list_shows_the_bundled_model_and_how_to_get_more(folder: Path) -> None:
    shown = emotape(folder, "list", "--json")
    assert shown.exit_code == 0, shown.stderr
    models = {model["name"]: model for model in json.loads(shown.stdout)}
    assert models[bundled_model().name]["default"]
    assert models[bundled_model().name]["experimental"]
    assert models["plus-large"]["state"] == "available"

    table = emotape(folder, "list")
    assert "EXPERIMENTAL" in table.stdout
    assert "1.95 GB" in table.stdout
    assert "自带" in emotape(folder, "list", "--language", "zh").stdout


@pytest.mark.parametrize("name", HUB_ORDER)
def test_pull_then_verify_then_pull_again(name: str, hub: LocalHub, folder: Path) -> None:
    first = emotape(folder, "pull", "plus-large", "--from", name, "--endpoint", hub.url, "--json")
    assert first.exit_code == 0, first.stderr
    entry = json.loads(first.stdout)
    assert entry["path"] == str(folder / "plus-large")
    assert "digests are right" in first.stderr
    checked = emotape(folder, "verify", "plus-large", "--json")
    assert checked.exit_code == 0, checked.stderr
    assert [verdict["digest"] for verdict in json.loads(checked.stdout)] == [entry["digest"]]

    again = emotape(folder, "pull", "plus-large", "--from", name, "--endpoint", "http://127.0.0.1:9")
    assert again.exit_code == 0, again.stderr
    assert "here already" in again.stderr


def test_modelscopes_parallel_download_ends_in_the_same_model(hub: LocalHub, folder: Path) -> None:
    """A user may switch it on for the client; a process of its own, as the client reads that when it is imported."""
    variables = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ} | {
        "HOME": str(folder.parent),
        "EMOTAPE_MODELS_FOLDER": str(folder),
        "MODELSCOPE_DOWNLOAD_PARALLEL_THRESHOLD_MB": "1",
        "MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS": "2",
        "MODELSCOPE_DOWNLOAD_PART_SIZE_MB": "1",
    }
    pull = ["pull", "plus-large", "--from", "modelscope", "--endpoint", hub.url]
    command = [sys.executable, "-m", "emotape", "models", *pull]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    assert len(hub.asked("/cdn/")) == 4
    assert "%|" not in done.stderr  # the client's own bars
    assert emotape(folder, "verify", "plus-large").exit_code == 0


def test_a_failed_pull_tells_cause_and_cure_in_the_users_language(hub: LocalHub, folder: Path) -> None:
    hub.repositories = ()
    arguments = ("pull", "plus-large", "--from", "modelscope", "--endpoint", hub.url)
    english, chinese = emotape(folder, *arguments), emotape(folder, *arguments, "--language", "zh")
    assert english.exit_code == chinese.exit_code != 0
    assert "--from huggingface" in english.stderr
    assert "改用" in chinese.stderr
    assert "Traceback" not in english.stderr


def test_verify_fails_for_a_damaged_model(folder: Path, tmp_path: Path) -> None:
    assert emotape(folder, "convert", str(lay(tmp_path / "download"))).exit_code == 0
    weights = folder / "download" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    checked = emotape(folder, "verify", "--json")
    assert checked.exit_code == 1, checked.stderr
    assert {verdict["name"]: verdict["ok"] for verdict in json.loads(checked.stdout)} == {
        bundled_model().name: True,
        "download": False,
    }


def test_convert_keeps_only_inference_and_overwrites_nothing(folder: Path, tmp_path: Path) -> None:
    source, target = str(lay(tmp_path / "download")), str(tmp_path / "converted")
    made = emotape(folder, "convert", source, "--output", target, "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["path"] == target
    assert emotape(folder, "verify", target).exit_code == 0
    again = emotape(folder, "convert", source, "--output", target)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
