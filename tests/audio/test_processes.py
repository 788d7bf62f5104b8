"""Decoding in processes gives what decoding in the thread gives, and a process that dies takes nothing with it."""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from emotape.audio.decode import DecodeLimits, Recording, decode
from emotape.audio.processes import MOST_BYTES, MOST_MEMORY, DecodingProcesses
from emotape.errors import BadAudio, EmotapeError
from tests.audio.recordings import DATA, FORMATS, clip, encoded, original, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emotape.audio.decode import AudioSource, ChannelMode

LIMITS = DecodeLimits()


@pytest.fixture(scope="module")
def processes() -> Iterator[DecodingProcesses]:
    pool = DecodingProcesses(2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five minutes in FLAC: about half a second of decoding."""
    samples, rate = original()
    path = tmp_path_factory.mktemp("long") / "long.flac"
    path.write_bytes(encoded(np.tile(samples, 190), rate, "flac", "flac"))
    return path


def outcome(of: Callable[[], Recording]) -> object:
    """Return everything that a decoding gives, or the error by code and facts."""
    try:
        recording = of()
    except EmotapeError as error:
        return type(error), error.code, error.facts
    digests = tuple(waveform.digest() for waveform in recording.waveforms)
    return digests, recording.source, recording.warnings, recording.corrupt_packets


def both(
    processes: DecodingProcesses, source: Any, limits: DecodeLimits = LIMITS, channels: ChannelMode = "mix"
) -> tuple[object, object]:
    """Decode in a process and here; `source` may be a function that makes it anew."""
    made: Callable[[], AudioSource] = source if callable(source) else lambda: source
    return (
        outcome(lambda: processes.decode(made(), limits, channels)),
        outcome(lambda: decode(made(), limits, channels)),
    )


@pytest.mark.parametrize("extension", [*FORMATS, "aiff", "mp4"])
def test_every_format_and_source_gives_the_same_as_in_the_thread(
    processes: DecodingProcesses, extension: str, tmp_path: Path
) -> None:
    data, path = clip(extension), tmp_path / f"clip.{extension}"
    path.write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), path, str(path), lambda: io.BytesIO(data)):
        there, here = both(processes, source)
        assert there == here


def test_channels_and_warnings_cross_whole_and_the_samples_stay_read_only(processes: DecodingProcesses) -> None:
    there, here = both(processes, DATA / "jfk.flac", channels="split")
    assert there == here
    cut = clip("flac")[:-2_000]
    there, here = both(processes, cut)
    assert there == here
    recording = processes.decode(cut, LIMITS, "mix")
    assert "truncated" in recording.warnings
    assert not recording.waveforms[0].samples.flags.writeable


@pytest.mark.parametrize(
    "source",
    [b"", b"not audio at all\n" * 30, b"\x89PNG\r\n\x1a\n" + bytes(400), "/no/such/file.wav", "/", "", "bad\0path"],
    ids=["empty", "text", "picture", "nothing", "folder", "no name", "no path"],
)
def test_errors_cross_with_their_codes_and_facts(processes: DecodingProcesses, source: bytes | str) -> None:
    there, here = both(processes, source)
    assert there == here
    assert isinstance(there, tuple)
    assert isinstance(there[0], type)


@pytest.mark.parametrize(
    "limits",
    [DecodeLimits(bytes=100), DecodeLimits(seconds=0.5), DecodeLimits(memory=1_000), DecodeLimits(channels=1)],
    ids=["bytes", "seconds", "memory", "channels"],
)
def test_limits_hold_with_the_same_facts(processes: DecodingProcesses, limits: DecodeLimits) -> None:
    there, here = both(processes, DATA / "jfk.flac", limits)
    assert there == here
    assert isinstance(there, tuple)
    assert isinstance(there[0], type)


def test_what_is_no_source_is_refused_as_in_the_thread(processes: DecodingProcesses) -> None:
    nothing: Any = 5
    with pytest.raises(TypeError):
        processes.decode(nothing, LIMITS, "mix")


def test_a_relative_path_counts_from_where_the_caller_is_now(
    processes: DecodingProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.warm_up()
    (tmp_path / "here.wav").write_bytes(clip("wav"))
    monkeypatch.chdir(tmp_path)
    there, here = both(processes, "here.wav")
    assert there == here


def test_a_stream_is_decoded_where_it_is(processes: DecodingProcesses) -> None:
    def stream() -> Any:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as file:
            file.write(clip("opus"))  # fits in a pipe
        return os.fdopen(reading, "rb")

    with stream() as first, stream() as second:
        assert outcome(lambda: processes.decode(first, LIMITS, "mix")) == outcome(lambda: decode(second))


def test_a_file_object_is_read_from_its_position_and_left_open(processes: DecodingProcesses) -> None:
    file = io.BytesIO(b"some other part of a form" + clip("flac"))
    file.seek(25)
    assert outcome(lambda: processes.decode(file, LIMITS, "mix")) == outcome(lambda: decode(clip("flac")))
    assert not file.closed


def test_what_is_too_large_to_send_is_decoded_all_the_same(processes: DecodingProcesses) -> None:
    """Too many bytes to go, or too many samples to come back."""
    tone = (8_000 * np.sin(np.arange(16_000) / 9)).astype(np.int16)
    many_bytes = written(np.tile(tone, MOST_BYTES // tone.nbytes + 2), 16_000)
    many_samples = encoded(np.tile(tone, MOST_MEMORY // 4 // len(tone) + 2), 16_000, "flac", "flac")
    assert len(many_bytes) > MOST_BYTES > len(many_samples)
    for source in (many_bytes, lambda: io.BytesIO(many_bytes), many_samples):
        there, here = both(processes, source)
        assert there == here


def test_there_are_never_more_processes_than_asked_for(processes: DecodingProcesses) -> None:
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(processes.decode, clip("mp3"), LIMITS, "mix") for _ in range(30)]
    assert len({future.result().waveforms[0].digest() for future in futures}) == 1
    assert 1 <= len(processes.pids) <= 2


def test_a_process_that_died_while_idle_costs_no_recording_anything(
    processes: DecodingProcesses, caplog: pytest.LogCaptureFixture
) -> None:
    processes.warm_up()
    for pid in processes.pids:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it is gone
    there, here = both(processes, clip("wav"))
    assert there == here
    assert not caplog.records


def test_what_ends_a_whole_service_leaves_processes_to_finish(processes: DecodingProcesses) -> None:
    """Ctrl-C and SIGTERM reach every process of a service; what it has admitted it still answers."""
    processes.warm_up()
    before = processes.pids
    for pid in before:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    there, here = both(processes, clip("opus"))
    assert there == here
    assert processes.pids == before


def kill_until(processes: DecodingProcesses, answer: Future[Recording], enough: Callable[[], bool], how: int) -> None:
    """Kill every process of the pool as soon as it is seen, until the recording is answered or it is enough."""
    while not enough() and not answer.done():
        for pid in processes.pids:
            os.kill(pid, how)
        wait([answer], timeout=0.02)


def test_a_recording_whose_process_is_killed_is_decoded_by_another(
    long_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash of one's own: the recording was not to blame, and gets its waveform."""
    processes = DecodingProcesses(1)
    with ThreadPoolExecutor(1) as threads, caplog.at_level(logging.WARNING, "emotape"):
        answer = threads.submit(processes.decode, long_file, LIMITS, "mix")
        kill_until(processes, answer, lambda: bool(caplog.records), signal.SIGSEGV)
    assert [record.getMessage() for record in caplog.records] == ["a decoding process died (SIGSEGV)"]
    assert outcome(answer.result) == outcome(lambda: decode(long_file))
    processes.close()


def test_a_recording_that_kills_two_processes_is_refused_and_the_next_is_not(long_file: Path) -> None:
    processes = DecodingProcesses(1)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(processes.decode, long_file, LIMITS, "mix")
        kill_until(processes, answer, lambda: False, signal.SIGKILL)
    with pytest.raises(BadAudio) as refused:
        answer.result()
    assert (refused.value.code, refused.value.facts) == ("decoder_died", {"reason": "SIGKILL"})
    there, here = both(processes, clip("m4a"))
    assert there == here
    processes.close()


def test_what_killed_a_process_is_never_decoded_in_the_callers(
    long_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the first death is told of, no second process can be started."""

    def no_more(record: logging.LogRecord) -> bool:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        return True

    processes = DecodingProcesses(1)
    logging.getLogger("emotape").addFilter(no_more)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(processes.decode, long_file, LIMITS, "mix")
        kill_until(processes, answer, lambda: bool(caplog.records), signal.SIGKILL)
    logging.getLogger("emotape").removeFilter(no_more)
    with pytest.raises(BadAudio) as refused:
        answer.result()
    assert (refused.value.code, refused.value.facts) == ("decoder_died", {"reason": "no second process"})
    processes.close()


def test_where_no_process_can_be_started_the_thread_decodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No interpreter; and one that ends at once, as another program in its place would."""
    ends = tmp_path / "python"
    ends.write_text("#!/bin/sh\nexit 3\n")
    ends.chmod(0o755)
    for executable in ("/no/such/python", str(ends), None):
        monkeypatch.setattr(sys, "executable", executable)
        processes = DecodingProcesses(1)
        processes.warm_up()
        for _ in range(5):
            there, here = both(processes, clip("wav"))
            assert there == here
        assert processes.pids == ()


def test_closing_and_forgetting_both_end_the_processes() -> None:
    closed, forgotten = DecodingProcesses(1), DecodingProcesses(1)
    pids: list[int] = []
    for processes in (closed, forgotten):
        processes.warm_up()
        pids.extend(processes.pids)
    closed.close()
    there, here = both(closed, clip("wav"))
    assert there == here
    assert closed.pids == ()
    del processes, forgotten
    gc.collect()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# No `if __name__ == "__main__"`: a user's script needs none.
PARENT = """
import sys, threading
from emotape.audio.decode import DecodeLimits
from emotape.audio.processes import DecodingProcesses
processes = DecodingProcesses(1)
processes.warm_up()
if sys.argv[1:]:
    threading.Thread(target=processes.decode, args=(sys.argv[1], DecodeLimits(), "mix"), daemon=True).start()
print(*processes.pids, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "decoding"])
def test_no_process_outlives_a_parent_that_is_killed(is_busy: bool, long_file: Path, tmp_path: Path) -> None:
    """Standard error ends when the last of those that inherited it has gone."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    pipe = subprocess.PIPE
    arguments = [sys.executable, str(script), *([str(long_file)] if is_busy else [])]
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        assert int(parent.stdout.readline()) > 0
        parent.kill()
        assert parent.stderr.read() == b""


def test_a_script_that_ends_without_closing_leaves_quietly(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    ended = subprocess.run([sys.executable, script], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert ended.stderr == b""


def test_a_worker_imports_no_torch() -> None:
    program = "import sys, emotape.audio.worker; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert told.stdout.strip() == "False"
