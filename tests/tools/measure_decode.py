"""Measure decoding: milliseconds a format for 30 s, and how two threads and two processes scale.

    python -m tests.tools.measure_decode [time] [scaling] [processes]

Times are of the processor, not of the clock, so that a busy machine disturbs them little; scaling needs the clock and
two free cores. Ways that are compared run in turns.
"""

# ruff: noqa: T201 - a command that reports to its terminal
from __future__ import annotations

import io
import multiprocessing
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from emotape.audio.decode import DecodeLimits, decode
from emotape.audio.processes import Decoder, DecodingProcesses
from tests.audio.recordings import DATA, clip, encoded, written

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9
SCALED = (
    "mp3, 44.1 kHz stereo",
    "m4a, 48 kHz stereo",
    "ogg opus, 48 kHz stereo",
    "flac, 44.1 kHz stereo",
    "wav, 44.1 kHz stereo",
)
LIMITS = DecodeLimits()


def files() -> dict[str, bytes]:
    """Encode 30 s of stereo speech in every format."""
    samples, rate = soundfile.read(DATA / "jfk.flac", dtype="int16")
    speech = np.tile(samples, (6, 1))
    at_48 = soxr.resample(speech, rate, 48_000)
    mono_16 = soxr.resample(speech[:, 0].copy(), rate, 16_000)
    amr = clip("amr")  # frames behind a header of six bytes
    return {
        "wav, 44.1 kHz stereo": written(speech, rate),
        "wav, 16 kHz mono": written(mono_16, 16_000),
        "flac, 44.1 kHz stereo": encoded(speech, rate, "flac", "flac"),
        "mp3, 44.1 kHz stereo": encoded(speech, rate, "libmp3lame", "mp3"),
        "m4a, 48 kHz stereo": encoded(at_48, 48_000, "aac", "mp4"),
        "ogg vorbis, 44.1 kHz stereo": written(speech, rate, "OGG", "VORBIS"),
        "ogg opus, 48 kHz stereo": encoded(at_48, 48_000, "libopus", "ogg"),
        "webm opus, 48 kHz mono": encoded(at_48[:, 0].copy(), 48_000, "libopus", "webm"),
        "amr, 8 kHz mono": amr[:6] + amr[6:] * 19,
    }


def by_soundfile(data: bytes) -> None:
    """Decode the way that libsndfile and soxr HQ do, as a yardstick for the machine."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    soxr.resample(samples.mean(axis=1), rate, 16_000, "HQ")


def processor_milliseconds(work: Callable[[bytes], object], data: bytes) -> float:
    began = time.thread_time()
    work(data)
    return (time.thread_time() - began) * 1000


def decode_several(data: bytes, by: Decoder = decode, times: int = 6) -> None:
    for _ in range(times):
        by(data, LIMITS, "mix")


def wall_seconds(pool: Executor, data: bytes, workers: int, by: Decoder = decode) -> float:
    """Return how long `workers` workers of `pool` take to decode `data` several times each."""
    began = time.perf_counter()
    for future in [pool.submit(decode_several, data, by) for _ in range(workers)]:
        future.result()
    return time.perf_counter() - began


def scaling(data: bytes) -> list[float]:
    """Return the work done in the time in which one thread does 1, medians.

    By two threads; by two threads that wait for emotape's processes; by two processes that give nothing back, which
    is what the machine can do.
    """
    spawn = multiprocessing.get_context("spawn")
    ours = DecodingProcesses(2)
    found = []
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, mp_context=spawn) as bare:
        wall_seconds(bare, data, 4)
        wall_seconds(threads, data, 2, ours.decode)
        for _ in range(ROUNDS):
            one = wall_seconds(threads, data, 1)
            two = (
                wall_seconds(threads, data, 2),
                wall_seconds(threads, data, 2, ours.decode),
                wall_seconds(bare, data, 2),
            )
            found.append([2 * one / seconds for seconds in two])
    ours.close()
    return [sorted(values)[ROUNDS // 2] for values in zip(*found, strict=True)]


def started() -> tuple[float, float]:
    """Return the seconds until a process is ready, median, and the MB of memory that it then has for itself."""
    seconds, own = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        processes = DecodingProcesses(1)
        processes.warm_up()
        seconds.append(time.perf_counter() - began)
        rollup = Path(f"/proc/{processes.pids[0]}/smaps_rollup").read_text()
        own.append(sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private")) / 1024)
        processes.close()
    return sorted(seconds)[ROUNDS // 2], sorted(own)[ROUNDS // 2]


def print_times(recordings: dict[str, bytes]) -> None:
    print("30 s, one thread: processor milliseconds (least of nine), emotape and soundfile + soxr HQ")
    for name, data in recordings.items():
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(processor_milliseconds(decode, data))
            if not name.startswith(("m4a", "webm", "amr")):
                theirs.append(processor_milliseconds(by_soundfile, data))
        print(f"{name:30} {min(ours):7.1f} {min(theirs):7.1f}" if theirs else f"{name:30} {min(ours):7.1f}       -")


def print_scaling(recordings: dict[str, bytes]) -> None:
    print("work done in the time of one thread, medians of nine: two threads, two of our processes, two bare processes")
    for name in SCALED:
        print(f"{name:30}", *(f"{value:7.2f}" for value in scaling(recordings[name])), flush=True)


def main() -> None:
    wanted = sys.argv[1:] or ["time", "scaling", "processes"]
    recordings = files() if {"time", "scaling"} & set(wanted) else {}
    if "time" in wanted:
        print_times(recordings)
    if "scaling" in wanted:
        print_scaling(recordings)
    if "processes" in wanted:
        seconds, own = started()
        print(f"a process: ready after {seconds:.2f} s, {own:.0f} MB of its own")


if __name__ == "__main__":
    main()
