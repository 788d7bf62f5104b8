"""`emotape bench decode`: files to 16 kHz mono, against librosa and the `ffmpeg` command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.recordings import FORMATS, describe, recording
from emotape.delivery.bench.reference import installed, quiet
from emotape.delivery.bench.report import Findings, Table
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OURS: Final = "emotape"
PEERS: Final = ("librosa", "ffmpeg")


@dataclass(frozen=True)
class DecodeOptions:
    """Which formats, how long a recording, against whom, and how often."""

    formats: tuple[str, ...] = tuple(FORMATS)
    seconds: float = 30.0
    against: tuple[str, ...] = PEERS
    runs: int = 9


@dataclass(frozen=True)
class Decoded:
    """What was measured with one format: the times of every side that can read it, and why the others cannot."""

    format: str
    timed: dict[str, Timed[int]]
    cannot: dict[str, str]


def measure(options: DecodeOptions, tell: Callable[[str], None]) -> Findings:
    """Decode every format in turns. Raises BadRequest `bench_unknown` for a format or a peer that nobody knows."""
    _check(options.formats, tuple(FORMATS))
    _check(options.against, PEERS)
    absent = [name for name in options.against if not _present(name)]
    peers = [name for name in options.against if name not in absent]
    with TemporaryDirectory(prefix="emotape-bench-") as folder:
        decoded = []
        for name in options.formats:
            tell(f"{describe(name)}: {', '.join((OURS, *peers))}")
            path = Path(folder) / f"speech.{name}"
            path.write_bytes(recording(name, options.seconds))
            decoded.append(_timed(name, path, peers, options.runs))
    return _findings(decoded, peers, absent, options)


def _check(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BadRequest("bench_unknown", name=name, known=", ".join(known))


def _present(peer: str) -> bool:
    return shutil.which("ffmpeg") is not None if peer == "ffmpeg" else installed(peer)


def by_emotape(path: Path) -> int:
    """Return how many samples at 16 kHz a file has, by emotape."""
    return len(decode(path).waveforms[0])


def by_librosa(path: Path) -> int:
    """Return how many samples at 16 kHz a file has, by librosa as most scripts call it."""
    import librosa

    samples, _ = librosa.load(path, sr=SAMPLE_RATE, mono=True)
    return len(samples)


def by_ffmpeg(path: Path) -> int:
    """Return how many samples at 16 kHz a file has, by a process of the `ffmpeg` command."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(path)]
    wanted = ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-"]
    done = subprocess.run([*command, *wanted], capture_output=True, check=True)  # noqa: S603 - our own file
    return len(done.stdout) // 4


_WAYS: Final = {OURS: by_emotape, "librosa": by_librosa, "ffmpeg": by_ffmpeg}


def _timed(name: str, path: Path, peers: Sequence[str], runs: int) -> Decoded:
    sides, cannot = [], {}
    with quiet():
        for side in (OURS, *peers):
            try:
                _WAYS[side](path)
            except Exception as error:  # noqa: BLE001 - whatever another package raises, it cannot read this
                cannot[side] = f"{type(error).__name__} {error}".strip().splitlines()[0]
            else:
                sides.append(Side(side, lambda _, way=_WAYS[side]: way(path)))  # type: ignore[misc]
        return Decoded(name, interleaved(sides, runs), cannot)


def _findings(
    decoded: Sequence[Decoded], peers: Sequence[str], absent: Sequence[str], options: DecodeOptions
) -> Findings:
    rows = tuple(_row(one, peers) for one in decoded)
    bars = tuple(
        Bar(one.format, side, spread([1000 * seconds for seconds in timed.seconds]))
        for one in decoded
        for side, timed in one.timed.items()
    )
    samples = tuple(
        {"format": one.format, "side": side, "took": timed.seconds, "samples": timed.answers[0]}
        for one in decoded
        for side, timed in one.timed.items()
    )
    notes = [f"{name} is not on this machine: it was left out" for name in absent]
    notes += [f"{side} cannot read {one.format}: {why}" for one in decoded for side, why in one.cannot.items()]
    title = f"Decoding {options.seconds:g} s of speech to 16 kHz mono; milliseconds, one recording at a time"
    settings = {"formats": options.formats, "seconds": options.seconds, "runs": options.runs, "against": tuple(peers)}
    chart = Chart(title, "milliseconds", bars)
    return Findings("decode", settings, (Table(title, rows),), (chart,), samples, tuple(notes))


def _row(one: Decoded, peers: Sequence[str]) -> dict[str, str | int | float | Spread | None]:
    row: dict[str, str | int | float | Spread | None] = {"file": describe(one.format)}
    for side in (OURS, *peers):
        found = one.timed.get(side)
        row[side] = spread([1000 * seconds for seconds in found.seconds]) if found else None
    for peer in peers:
        both = peer in one.timed and OURS in one.timed
        row[f"× {peer}"] = times_faster(one.timed[peer].seconds, one.timed[OURS].seconds) if both else None
    return row
