"""Decode mutated recordings in a process of their own, with a watchdog: `python -m tests.audio.fuzz --count 20000`.

A mutant is a pure function of seed and number, so that any of them can be made again (`--replay 4711`). The parent
only reads what the worker reports; a worker that dies or hangs costs one mutant and is started anew.
"""

# ruff: noqa: T201 - a command that reports to its terminal
from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emotape.audio.decode import DecodeLimits, decode
from emotape.errors import EmotapeError
from tests.audio import recordings

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = DecodeLimits(bytes=8 * 1024**2, seconds=600.0, channels=8, memory=256 * 1024**2)
HANG_SECONDS = 5.0
SILENT_SECONDS = 60.0
SETTLE = 2_000  # mutants after which caches and allocators are warm, and memory may not grow any more


def seeds() -> list[bytes]:
    """One real file of every container and of the codecs that a WAV or MP4 may hold."""
    samples, rate = recordings.original()
    files = [recordings.clip(name) for name in (*recordings.FORMATS, "aiff", "mp4")]
    files += [recordings.pcm_file("WAV", kind) for kind in ("FLOAT", "PCM_24", "IMA_ADPCM", "MS_ADPCM", "GSM610")]
    files += [recordings.encoded(samples, rate, "alac", "mp4"), recordings.encoded(samples, rate, "aac", "adts")]
    files += [recordings.encoded(samples, rate, "pcm_s16le", "matroska"), recordings.pcm_file("CAF")]
    return files


def _truncate(rng: random.Random, data: bytearray) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _flip_bits(rng: random.Random, data: bytearray) -> bytearray:
    for _ in range(rng.choice((1, 2, 8, 64, 512))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _edit_header(rng: random.Random, data: bytearray) -> bytearray:
    """Put the values that break arithmetic where sizes, counts and rates are kept."""
    for _ in range(rng.choice((1, 2, 4))):
        width = rng.choice((1, 2, 4, 8))
        value = rng.choice((0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), rng.randrange(2 ** (8 * width))))
        at = rng.randrange(min(len(data), rng.choice((64, 512, 4096))))
        data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
    return data


def _edit_tail(rng: random.Random, data: bytearray) -> bytearray:
    """Edit the end, where MP4 keeps its index and Ogg its length."""
    part = min(len(data), 2048)
    return data[: len(data) - part] + _edit_header(rng, data[len(data) - part :])


def _zero_run(rng: random.Random, data: bytearray) -> bytearray:
    at, count = rng.randrange(len(data)), rng.choice((1, 16, 256, 4096))
    stop = min(at + count, len(data))
    data[at:stop] = bytes([rng.choice((0, 255))]) * (stop - at)
    return data


def _duplicate(rng: random.Random, data: bytearray) -> bytearray:
    at, count = rng.randrange(len(data)), rng.choice((4, 64, 1024, 16384))
    return data[:at] + data[at : at + count] * rng.choice((2, 3, 20)) + data[at:]


def _remove(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 4, 64, 1024)) :]


def _splice(rng: random.Random, data: bytearray) -> bytearray:
    other = rng.choice(_SEEDS)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]


def _noise(rng: random.Random, data: bytearray) -> bytearray:
    at = rng.randrange(len(data))
    noise = rng.randbytes(rng.choice((4, 64, 1024)))
    data[at : at + len(noise)] = noise
    return data


MUTATIONS: tuple[Callable[[random.Random, bytearray], bytearray], ...] = (
    _truncate,
    _flip_bits,
    _edit_header,
    _edit_header,
    _edit_tail,
    _zero_run,
    _duplicate,
    _remove,
    _splice,
    _noise,
)
_SEEDS: list[bytes] = []


def mutant(seed: int, number: int) -> bytes:
    """Make mutant `number`: a seed file after one to four mutations."""
    if not _SEEDS:
        _SEEDS.extend(seeds())
    rng = random.Random(seed * 1_000_003 + number)
    data = bytearray(_SEEDS[number % len(_SEEDS)])
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            data = rng.choice(MUTATIONS)(rng, data)
    return bytes(data)


def outcome(data: bytes) -> str:
    """Decode and name what came of it; anything but a waveform or a typed error begins with "!"."""
    try:
        recording = decode(data, LIMITS)
    except EmotapeError as error:
        str(error)  # its texts must be there, with all their facts
        return f"{type(error).__name__} {error.code}"
    except BaseException as error:  # noqa: BLE001 - this is what the fuzzer looks for
        return f"!{type(error).__name__}: {error}"
    return " ".join(("waveform", *recording.warnings))


def settled_megabytes() -> float:
    """Return this process's resident memory after the C library gave back what is free; 0 where that cannot be told.

    Without that, pieces of free memory between used ones look like growth (30 MB after 20,000 mutants, then no more).
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        return round(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2, 1)
    return 0.0


def work(seed: int, start: int, stop: int) -> None:
    """Decode mutants `start` to `stop`, a line of JSON each on standard output."""
    mutant(seed, start)
    megabytes = settled_megabytes()
    print(json.dumps("ready"), flush=True)
    for number in range(start, stop):
        data = mutant(seed, number)
        began = time.process_time()
        found = outcome(data)
        seconds = round(time.process_time() - began, 4)
        if number % 100 == 0:
            megabytes = settled_megabytes()
        line = (number, found, seconds, megabytes)
        print(json.dumps(line), flush=True)


@dataclass
class Report:
    """What came of the mutants. `resident` holds megabytes by mutant, of the latest worker."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    resident: list[float] = field(default_factory=list)

    def note(self, number: int, found: str, seconds: float, megabytes: float) -> None:
        self.outcomes[found] += 1
        if found.startswith("!"):
            self.failures.append((number, found))
        self.slowest = max(self.slowest, (seconds, number))
        self.resident.append(megabytes)

    def growth(self, settle: int = SETTLE) -> float:
        """Megabytes by which the last tenth of the run stands above the tenth after `settle`, in the median."""
        kept = self.resident[settle:]
        tenth = max(len(kept) // 10, 1)
        return sorted(kept[-tenth:])[tenth // 2] - sorted(kept[:tenth])[tenth // 2] if kept else 0.0


def run(seed: int, count: int) -> Report:
    """Run mutants 0 to `count` through workers."""
    report, number = Report(), 0
    while number < count:
        number = _run_worker(report, seed, number, count)
    return report


def _run_worker(report: Report, seed: int, start: int, stop: int) -> int:
    """Run one worker as far as it goes; return the number of the next mutant."""
    command = [sys.executable, "-m", "tests.audio.fuzz", "--work", str(start), str(stop), "--seed", str(seed)]
    report.resident.clear()
    number = start
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_pump, args=(worker, lines), daemon=True).start()
        spent = 0.0
        while number < stop:
            line = _next_line(lines, worker.pid, spent)
            if line is None:
                worker.kill()
                report.note(number, "!hang", HANG_SECONDS, 0.0)
                return number + 1
            if not line:
                report.note(number, f"!died with {worker.wait()}", 0.0, 0.0)
                return number + 1
            spent = processor_seconds(worker.pid)
            if (told := json.loads(line)) != "ready":
                report.note(*told)
                number += 1
    return number


def _next_line(lines: queue.SimpleQueue[str], worker: int, spent: float) -> str | None:
    """Return what the worker says next, or None when it has hung.

    It hangs when it works for five seconds on one mutant, or is silent for a minute; that it waits for a processor on
    a busy machine is not its fault.
    """
    for _ in range(int(SILENT_SECONDS / HANG_SECONDS)):
        try:
            return lines.get(timeout=HANG_SECONDS)
        except queue.Empty:
            if processor_seconds(worker) - spent > HANG_SECONDS:
                return None
    return None


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used; 0 where the kernel does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pump(worker: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        lines.put(line)
    lines.put("")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=int, nargs=2, metavar=("START", "STOP"), help="be a worker")
    parser.add_argument("--replay", type=int, help="decode one mutant in this process")
    options = parser.parse_args()
    if options.work:
        work(options.seed, *options.work)
        return 0
    if options.replay is not None:
        print(outcome(mutant(options.seed, options.replay)))
        return 0
    report = run(options.seed, options.count)
    for found, times in report.outcomes.most_common():
        print(f"{times:7d}  {found}")
    print(f"slowest: {report.slowest[0]:.2f} s of processor time, mutant {report.slowest[1]}")
    if report.resident:
        settled = report.resident[min(SETTLE, len(report.resident) - 1)]
        print(f"memory: {settled:.0f} MB settled, {report.resident[-1]:.0f} MB at the end")
        print(f"growth of the median from the first tenth to the last: {report.growth():+.1f} MB")
    for number, failure in report.failures:
        print(f"FAILED mutant {number}: {failure}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
