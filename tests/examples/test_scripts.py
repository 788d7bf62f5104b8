"""The scripts as their first lines tell to start them."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.conftest import AUDIO
from tests.page.conftest import start_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.page.conftest import Server

pytestmark = pytest.mark.slow

STRICT: Final = (sys.executable, "-W", "error")
MICROPHONE: Final = """
import threading
from pathlib import Path


class RawInputStream:
    def __init__(self, samplerate, blocksize, *, channels, dtype, callback):
        assert (samplerate, channels, dtype) == (16_000, 1, "float32")
        self._sound = Path(__file__).with_name("sound.raw").read_bytes()
        self._size, self._callback = 4 * blocksize, callback

    def __enter__(self):
        threading.Thread(target=self._speak).start()

    def __exit__(self, *_):
        print("closed", flush=True)

    def _speak(self):
        for start in range(0, len(self._sound), self._size):
            block = memoryview(self._sound)[start : start + self._size]
            self._callback(block, len(block) // 4, None, None)
"""


def test_every_file_of_a_folder_has_its_row(desk: Path, settings: dict[str, str], tmp_path: Path) -> None:
    """What is no recording has an error instead; equal recordings are answered equally, wherever they lie."""
    (tmp_path / "in" / "录音").mkdir(parents=True)
    shutil.copy(AUDIO / "thorsten_angry.mp3", tmp_path / "in" / "one.mp3")
    shutil.copy(AUDIO / "thorsten_angry.mp3", tmp_path / "in" / "录音" / "又一个.mp3")
    (tmp_path / "in" / "notes.txt").write_text("no sound, but words\n" * 99)
    command = [*STRICT, "folder_to_csv.py", str(tmp_path / "in"), str(tmp_path / "table.csv")]
    subprocess.run(command, cwd=desk, env=settings, check=True)
    with (tmp_path / "table.csv").open(encoding="utf-8-sig", newline="") as file:
        notes, one, again = csv.DictReader(file)
    assert (notes["file"], notes["emotion"], notes["error"]) == ("notes.txt", "", "text_not_audio")
    assert {**one, "file": ""} == {**again, "file": ""}
    assert again["file"].endswith("又一个.mp3")
    assert 0 < float(one["second_score"]) <= float(one["confidence"]) <= 1
    assert float(one["seconds"]) == pytest.approx(1.98, abs=0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("serve"))
    yield running
    running.stop()


WINDOW: Final = re.compile(r" *(\d+\.\d) – +(\d+\.\d) s  [a-z]+ \d+%")


def test_a_recording_is_streamed_window_by_window(desk: Path, settings: dict[str, str], server: Server) -> None:
    """Two seconds each, a second apart, to the end; then the whole."""
    command = [*STRICT, "microphone.py", server.url, str(AUDIO / "jfk.flac")]
    done = subprocess.run(command, cwd=desk, env=settings, check=True, capture_output=True, encoding="utf-8")
    *windows, whole = done.stdout.splitlines()
    found = [WINDOW.fullmatch(line) for line in windows]
    assert [match and match.groups() for match in found] == [(f"{n}.0", f"{n + 2}.0") for n in range(4)]
    assert re.fullmatch(r"the whole: [a-z]+ \d+%", whole)


def test_a_microphone_is_heard_until_somebody_ends_it(
    desk: Path, settings: dict[str, str], server: Server, tmp_path: Path
) -> None:
    """A microphone that is a file, through the same callback; Ctrl-C closes it and leaves no traceback."""
    from emotape import decode

    (tmp_path / "sounddevice.py").write_text(MICROPHONE)
    (tmp_path / "sound.raw").write_bytes(decode(AUDIO / "jfk.flac").waveforms[0].samples.tobytes())
    paths = [str(tmp_path), *filter(None, [settings.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [*STRICT, "-u", "microphone.py", server.url],
        cwd=desk,
        env={**settings, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate()
    assert WINDOW.fullmatch(first.rstrip())
    assert said.splitlines()[-1] == "closed"
    assert complaints == ""
    assert process.returncode == 0
