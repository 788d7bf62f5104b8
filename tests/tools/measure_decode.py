"""Measure decoding: milliseconds a format for 30 s, and how two threads scale: `python -m tests.tools.measure_decode`.

Times are of the processor, not of the clock, so that a busy machine disturbs them little; the scaling of threads needs
the clock and two free cores. Ways that are compared run in turns.
"""

# ruff: noqa: T201 - a command that reports to its terminal
from __future__ import annotations

import io
import multiprocessing
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from emotape.audio.decode import decode
from tests.audio.recordings import DATA, clip, encoded, written

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 9


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


def decode_several(data: bytes, times: int = 6) -> None:
    for _ in range(times):
        decode(data)


def wall_seconds(pool: Executor, data: bytes, workers: int) -> float:
    """Return how long `workers` workers of `pool` take to decode `data` several times each."""
    began = time.perf_counter()
    for future in [pool.submit(decode_several, data) for _ in range(workers)]:
        future.result()
    return time.perf_counter() - began


def scaling(data: bytes) -> tuple[float, float]:
    """Return the work that two threads and two processes do in the time in which one thread does 1; medians."""
    spawn = multiprocessing.get_context("spawn")
    found = []
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, mp_context=spawn) as processes:
        wall_seconds(processes, data, 4)
        for _ in range(ROUNDS):
            one = wall_seconds(threads, data, 1)
            found.append((2 * one / wall_seconds(threads, data, 2), 2 * one / wall_seconds(processes, data, 2)))
    by_threads, by_processes = (sorted(values)[ROUNDS // 2] for values in zip(*found, strict=True))
    return by_threads, by_processes


def main() -> None:
    recordings = files()
    print("30 s, one thread: processor milliseconds (least of nine), emotape and soundfile + soxr HQ")
    for name, data in recordings.items():
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(processor_milliseconds(decode, data))
            if not name.startswith(("m4a", "webm", "amr")):
                theirs.append(processor_milliseconds(by_soundfile, data))
        print(f"{name:30} {min(ours):7.1f} {min(theirs):7.1f}" if theirs else f"{name:30} {min(ours):7.1f}       -")
    print("work done in the time of one thread: two threads, two processes (what the machine gives), medians of nine")
    for name in ("mp3, 44.1 kHz stereo", "flac, 44.1 kHz stereo", "wav, 44.1 kHz stereo"):
        by_threads, by_processes = scaling(recordings[name])
        print(f"{name:30} {by_threads:7.2f} {by_processes:7.2f}")


if __name__ == "__main__":
    main()
