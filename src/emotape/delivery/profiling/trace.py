"""A profile as Chrome's trace events (JSON), which ui.perfetto.dev and chrome://tracing open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.profiling.measure import Profile, Run
    from emotape.delivery.profiling.stopwatch import Lap, Tape

_PROCESS: Final = 1
_STAGES, _TAPES = 1, 2  # rows
_MICROSECONDS: Final = 1e6


def trace(profile: Profile) -> dict[str, Any]:
    """Return the trace: a slice for every run, with its laps inside, and for every tape; memory as a curve.

    Tapes of the recognizer, with which the stages are compared, come after the last run.
    """
    return {
        "traceEvents": list(_events(profile)),
        "displayTimeUnit": "ms",
        "otherData": {"program": f"emotape profile {__version__}"},
    }


def _events(profile: Profile) -> Iterator[dict[str, Any]]:
    yield _name("process_name", 0, "emotape profile")
    yield _name("thread_name", _STAGES, "stages")
    yield _name("thread_name", _TAPES, profile.model.device if profile.model else "tapes")
    for lap in profile.prelude:
        yield from _lap(profile, lap)
    for run in profile.runs:
        yield _run(profile, run)
        for lap in run.laps:
            yield from _lap(profile, lap)
    for tape in profile.tapes:
        yield _tape(profile, tape)


def _name(kind: str, row: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": _PROCESS, "tid": row, "args": {"name": name}}


def _slice(row: int, name: str, began: float, seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
    times = {"ts": began * _MICROSECONDS, "dur": seconds * _MICROSECONDS}
    return {"ph": "X", "cat": "emotape", "name": name, "pid": _PROCESS, "tid": row, **times, "args": facts}


def _run(profile: Profile, run: Run) -> dict[str, Any]:
    first, last = run.laps[0].before.at, run.laps[-1].after.at
    facts = {"file": str(run.file), "granularity": run.granularity, "audio_seconds": run.audio_seconds}
    name = f"{'cold' if run.cold else 'warm'} {run.granularity} {run.file.name}"
    return _slice(_STAGES, name, first - profile.began, last - first, facts)


def _lap(profile: Profile, lap: Lap) -> Iterator[dict[str, Any]]:
    facts = {
        "cpu_seconds": lap.processor,
        "memory_growth": lap.resident_growth,
        "gpu_memory_growth": lap.card_growth,
    }
    yield _slice(_STAGES, lap.stage, lap.before.at - profile.began, lap.seconds, facts)
    memory = {"resident": (lap.after.resident or 0) / 1e6, "gpu": lap.after.card / 1e6}
    ended = (lap.after.at - profile.began) * _MICROSECONDS
    yield {"ph": "C", "name": "memory (MB)", "pid": _PROCESS, "ts": ended, "args": memory}


def _tape(profile: Profile, tape: Tape) -> dict[str, Any]:
    ran = tape.ran
    facts = {"clips": ran.clips, "tokens": ran.tokens, "audio_seconds": ran.audio_seconds, "device": ran.device}
    return _slice(_TAPES, "tape", tape.ended - ran.seconds - profile.began, ran.seconds, facts)
