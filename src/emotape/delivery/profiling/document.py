"""A profile as plain values for JSON, and what it advises."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from emotape.delivery.bench.machine import look
from emotape.version import __version__
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.profiling.measure import Profile
    from emotape.delivery.profiling.summary import Breakdown, Cost, Summary
    from emotape.wording import Language

_DIGITS = 6


def document(profile: Profile, summary: Summary, language: Language) -> dict[str, Any]:
    """Return everything that a profile found. Seconds, bytes and percent are numbers; texts are in `language`."""
    card = has_card(profile)
    return {
        "emotape": __version__,
        "machine": asdict(look()),
        "model": _model(profile),
        "repeat": profile.asked.repeat,
        "embedding": profile.asked.embedding,
        "cold": {
            "file": str(profile.runs[0].file),
            "granularity": profile.runs[0].granularity,
            **_breakdown(summary.cold, card=card),
        },
        "warm": {granularity: _breakdown(found, card=card) for granularity, found in summary.warm.items()},
        "files": [
            {"file": str(file), **{name: _breakdown(part, card=card) for name, part in found.items()}}
            for file, found in summary.files.items()
        ],
        "bottleneck": bottleneck(profile, summary, language),
        "errors": [
            {"file": str(failure.file), "code": failure.error.code, **asdict(failure.error.text(language))}
            for failure in profile.failures
        ],
    }


def has_card(profile: Profile) -> bool:
    """Return whether the network ran on an accelerator."""
    return profile.model is not None and profile.model.device != "cpu"


def bottleneck(profile: Profile, summary: Summary, language: Language) -> dict[str, Any]:
    """Return the stage that takes most of warm answers, and of the first one, and what to do about each."""
    warm = next(iter(summary.warm.values()))
    return {**_advised(profile, warm, language), "cold": _advised(profile, summary.cold, language)}


def _advised(profile: Profile, found: Breakdown, language: Language) -> dict[str, Any]:
    stage, share = found.bottleneck, found.share(found.bottleneck)
    where = ("_card" if has_card(profile) else "_processor") if stage == "inference" else ""
    code = f"profile_advice_{stage}{where}"
    facts = {"percent": 100 * share, "dtype": profile.model.dtype if profile.model else ""}
    return {"stage": stage, "share": round(share, _DIGITS), "advice": interface_text(code, language, **facts)}


def _model(profile: Profile) -> dict[str, str] | None:
    model = profile.model
    if model is None:
        return None
    return {"name": model.model, "digest": model.digest, "device": model.device, "dtype": model.dtype}


def _breakdown(found: Breakdown, *, card: bool) -> dict[str, Any]:
    return {
        "audio_seconds": round(found.audio, _DIGITS),
        "seconds": round(found.whole, _DIGITS),
        "stages_seconds": round(found.stages_seconds, _DIGITS),
        "recognizer_seconds": None if found.recognizer is None else round(found.recognizer, _DIGITS),
        "bottleneck": found.bottleneck,
        "stages": {
            stage: {**_cost(cost, card=card), "share": round(found.share(stage), _DIGITS)}
            for stage, cost in found.costs.items()
        },
    }


def _cost(cost: Cost, *, card: bool) -> dict[str, Any]:
    return {
        "seconds": round(cost.seconds, _DIGITS),
        "cpu_percent": round(cost.cpu_percent, 1),
        "gpu_percent": round(cost.gpu_percent, 1) if card else None,
        "memory_growth": int(cost.resident),
        "gpu_memory_growth": int(cost.card) if card else None,
    }
