"""`emotape recognize --server` prints what `emotape recognize` prints, with the same exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from emotape.delivery.cli import app
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

    from tests.client.conftest import Place

SPEECH = AUDIO / "thorsten_neutral.wav"


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run without the settings, the models and the language of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EMOTAPE_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(app, ["recognize", *map(str, arguments)])


def comparable(result: Result) -> Any:
    """Return what was printed, without the time that it took."""
    documents = json.loads(result.stdout)
    for document in documents:
        document.pop("timestamp", None)
        document.get("details", {}).pop("stages", None)
    return documents


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--granularity", "frame", "--embedding", "--quality"),
        ("--granularity", "segment", "--channels", "split"),
    ],
)
def test_a_server_answers_as_this_machine_does(
    run: Callable[..., Result], place: Place, tmp_path: Path, options: tuple[str, ...]
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    asked = (SPEECH, broken, AUDIO / "jfk.flac", tmp_path / "nothing.wav", "--json", *options)
    local, remote = run(*asked), run(*asked, "--server", place.url, "--key", place.key)
    assert local.exit_code == remote.exit_code == 1
    assert comparable(remote) == comparable(local)


def test_settings_name_the_server_and_folders_are_written_here(
    run: Callable[..., Result], place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOTAPE_SERVER_URL", place.url)
    monkeypatch.setenv("EMOTAPE_API_KEY", place.key)
    asked = (SPEECH, "--csv", "--output", "out", "--export", "srt")
    first, again = run(*asked), run(*asked, "--resume")
    assert first.exit_code == again.exit_code == 0
    assert again.stdout == first.stdout
    (folder,) = (tmp_path / "out").glob("outputs_*")
    assert {"result.json", "processed_audio.wav"} <= {path.name for path in folder.iterdir()}


def test_a_wrong_key_or_a_flag_for_this_machine_ends_the_run(run: Callable[..., Result], place: Place) -> None:
    denied = run(SPEECH, "--server", place.url, "--key", "emo_nonsense")
    assert denied.exit_code == 3
    assert "key_wrong" in denied.stderr
    clash = run(SPEECH, "--server", place.url, "--device", "cpu", "--threads", "1")
    assert clash.exit_code == 2
    assert "--device, --threads" in clash.stderr
    wrong = run(SPEECH, "--server", "127.0.0.1:7860")
    assert wrong.exit_code == 2
    assert "server_address" in wrong.stderr
