"""What a measurement means for whoever runs the service: pure rules, each with its reason in figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from emotape.delivery.readings import Gpu

_GB: Final = 1e9
_MB: Final = 1e6


@dataclass(frozen=True)
class Advice:
    """One finding: the code of its text in `wording/observe.toml`, and the figures that fill it."""

    code: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Snapshot:
    """How the machine and the engine are doing. Bytes, seconds and percent are plain numbers; None: not known.

    cpu_percent          of the processor time that may be used
    memory_used, _total  of the machine, or of the container if it has less
    process_memory       resident, of this process; `process_swap` of it lies in swap
    swap_used            of the machine's swap
    gpus                 the cards that the network runs on, their use averaged over the last seconds
    queue_seconds        seconds of audio that wait for a device, of at most `queue_bound`
    requests_per_second  settled, over the last 10 s
    realtime_factor      seconds of audio answered a second, over the last 10 s
    cache_hit_rate       0 to 1, of `cache_lookups` in the last 5 minutes
    stages               seconds of work by stage, over the last minute
    waiting_share        of the time of requests, how much they waited for a decoder, over the last minute; 0 to 1
    """

    cpu_percent: float
    memory_used: int
    memory_total: int
    process_memory: int
    process_swap: int | None
    swap_used: int
    gpus: tuple[Gpu, ...] = ()
    queue_seconds: float = 0.0
    queue_bound: float | None = None
    requests_per_second: float = 0.0
    realtime_factor: float = 0.0
    cache_hit_rate: float | None = None
    cache_lookups: int = 0
    stages: Mapping[str, float] = field(default_factory=dict)
    waiting_share: float = 0.0
    advice: tuple[Advice, ...] = ()


def advise(snapshot: Snapshot, standing: Collection[str] = ()) -> tuple[Advice, ...]:
    """Return what should be known or changed, the most urgent first.

    `standing` are the codes of the advice that was given last. It stays until things are clearly better, so that a
    figure at its limit does not make it come and go.
    """
    found = (rule(snapshot, any(code.startswith(prefix) for code in standing)) for prefix, rule in _RULES.items())
    return tuple(advice for advice in found if advice is not None)


def _memory_full(now: Snapshot, standing: bool) -> Advice | None:
    share = now.memory_used / now.memory_total
    if share < (0.85 if standing else 0.90):
        return None
    facts = {"used": now.memory_used / _GB, "total": now.memory_total / _GB, "process": now.process_memory / _GB}
    return Advice("advice_memory_full", {"percent": 100 * share, **facts})


def _swapping(now: Snapshot, standing: bool) -> Advice | None:
    """Judge by this process's own pages where the system tells them: what others have in swap slows nothing here."""
    if now.process_swap is None:
        if now.swap_used < (128 if standing else 256) * _MB:
            return None
        return Advice("advice_swap_machine", {"swap": now.swap_used / _MB})
    if now.process_swap < (16 if standing else 32) * _MB:
        return None
    return Advice("advice_swap_process", {"swap": now.process_swap / _MB, "process": now.process_memory / _MB})


def _queue_near_bound(now: Snapshot, standing: bool) -> Advice | None:
    if not now.queue_bound or now.queue_seconds < (0.6 if standing else 0.8) * now.queue_bound:
        return None
    wait = now.queue_seconds / now.realtime_factor if now.realtime_factor else now.queue_seconds
    return Advice("advice_queue_full", {"queue": now.queue_seconds, "bound": now.queue_bound, "wait": wait})


def _gpu_starved(now: Snapshot, standing: bool) -> Advice | None:
    """Judge a card that has little to do: that is a fault only while requests wait for the processor."""
    idle = [(gpu.utilisation, gpu.name) for gpu in now.gpus if gpu.utilisation is not None]
    work = {stage: now.stages.get(stage, 0.0) for stage in ("decode", "window", "finish")}
    if not idle or not sum(work.values()) or min(idle)[0] >= (40 if standing else 30):
        return None
    if now.waiting_share < (0.1 if standing else 0.2) and now.cpu_percent < (80 if standing else 90):
        return None
    stage = max(work, key=lambda name: work[name])
    facts = {
        "gpu": min(idle)[1],
        "utilisation": min(idle)[0],
        "percent": 100 * work[stage] / sum(work.values()),
        "cpu": now.cpu_percent,
        "waiting": 100 * now.waiting_share,
    }
    return Advice(f"advice_gpu_starved_{stage}", facts)


def _gpu_memory_full(now: Snapshot, standing: bool) -> Advice | None:
    full = [(gpu.memory_used / gpu.memory_total, gpu) for gpu in now.gpus if gpu.memory_total]
    share, gpu = max(full, key=lambda pair: pair[0], default=(0.0, None))
    if gpu is None or share < (0.95 if standing else 0.97):
        return None
    facts = {"gpu": gpu.name, "used": gpu.memory_used / _GB, "total": gpu.memory_total / _GB}
    return Advice("advice_gpu_memory_full", {"percent": 100 * share, **facts})


def _cache_useless(now: Snapshot, standing: bool) -> Advice | None:
    if now.cache_hit_rate is None or now.cache_lookups < (100 if standing else 200):
        return None
    if now.cache_hit_rate >= (0.03 if standing else 0.01):
        return None
    return Advice("advice_cache_useless", {"lookups": now.cache_lookups, "percent": 100 * now.cache_hit_rate})


_RULES: Final[dict[str, Callable[[Snapshot, bool], Advice | None]]] = {
    "advice_memory": _memory_full,
    "advice_swap": _swapping,
    "advice_queue": _queue_near_bound,
    "advice_gpu_starved": _gpu_starved,
    "advice_gpu_memory": _gpu_memory_full,
    "advice_cache": _cache_useless,
}
"""What the codes of a rule begin with, and the rule."""
