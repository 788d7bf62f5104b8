"""Temporary folders: private, gone with their process, and those of killed ones gone with the next."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from emotape.delivery import private_folder as module
from emotape.delivery.private_folder import private_folder

PREFIX = "emotape-test-"
OWNER = """
import sys
from emotape.delivery.private_folder import private_folder
with private_folder(sys.argv[1]) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of which none is ever too young to be swept."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_YOUNG", -1.0)
    return tmp_path


def test_it_is_private_and_goes(place: Path) -> None:
    with private_folder(PREFIX) as folder:
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
        Path(folder, "speech.wav").write_bytes(b"sound")
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(place: Path) -> None:
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", OWNER, PREFIX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    killed, living = ((owner.stdout.readline().strip() if owner.stdout else "") for owner in owners)
    Path(killed, "speech.wav").write_bytes(b"sound")
    owners[0].send_signal(signal.SIGKILL)
    owners[0].communicate()
    assert Path(killed).is_dir()
    with private_folder(PREFIX) as folder:
        assert {Path(folder), Path(living)} == set(place.iterdir())
    owners[1].communicate()
    assert owners[1].returncode == 0
    assert list(place.iterdir()) == []


def test_young_folders_others_and_links_stay(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "elsewhere").mkdir()
    (place / f"{PREFIX}link").symlink_to(place / "elsewhere")
    (place / f"{PREFIX}file").touch()
    (place / "another").mkdir()
    before = set(place.iterdir())
    with private_folder(PREFIX):
        pass
    assert set(place.iterdir()) == before
    own = place / f"{PREFIX}own"
    own.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with private_folder(PREFIX):
        pass
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    with private_folder(PREFIX):  # made within the last minute
        pass
    assert own.is_dir()
