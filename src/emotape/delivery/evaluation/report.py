"""An evaluation as files: JSON, a CSV of predictions, and pictures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.evaluation.figures import summary
from emotape.delivery.offline.files import write_whole
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.evaluation.bootstrap import Interval
    from emotape.delivery.evaluation.fitting import Confidence, Fit
    from emotape.delivery.evaluation.protocol import Part
    from emotape.delivery.evaluation.record import Evaluation, Group, Judgement
    from emotape.delivery.evaluation.robustness import Hardened
    from emotape.engine.result import Provenance
    from emotape.wording import Language

_STEPS: Final = tuple(step / 10 for step in range(1, 11))


def json_record(found: Evaluation, language: Language = "en") -> dict[str, Any]:
    """Return everything: the long-known figures under their keys, what joined them since, and `details`."""
    record = _group(found.whole) | {"corpora": {name: _group(group) for name, group in found.corpora.items()}}
    record["confidence"] = _confidence(found.confidence)
    if found.fit is not None:
        record["fit"] = _fit(found.fit)
    return record | {"details": _details(found, language)}


def _details(found: Evaluation, language: Language) -> dict[str, Any]:
    return {
        "experimental": found.provenance.experimental,
        "restricted": found.rules.restrict,
        "seed": found.rules.seed,
        "left_out": dict(found.material.left_out),
        "unknown_labels": dict(found.material.unknown),
        "missing_conditions": list(found.material.missing_conditions),
        "provenance": _model_facts(found.provenance),
        "errors": [
            {"file": row.file, "line": row.line or None, "code": error.code, **asdict(error.text(language))}
            for row, error in found.failures
        ],
    }


def _group(group: Group) -> dict[str, Any]:
    shown = _part(group.part)
    if group.flagged is not None:
        shown["uncertain"] = _rounded(asdict(group.flagged))
    if group.hardened:
        shown["robustness"] = [_hardened(one) for one in group.hardened]
    return shown


def _part(part: Part) -> dict[str, Any]:
    return summary(part.figures) | {
        "intervals": _intervals(part.intervals),
        "drawn": dict(part.units),
        "ideal_ece": _rounded({"mean": part.ideal_ece[0], "below": part.ideal_ece[1]}),
        "folds": {
            name: _rounded({"n": one.n} | {key: getattr(one, key) for key in part.spread})
            for name, one in part.folds.items()
        },
        "over_folds": {name: _rounded(asdict(spread)) for name, spread in part.spread.items()},
    }


def _intervals(found: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: [round(low, 6), round(high, 6)] for name, (low, high) in found.items()}


def _confidence(found: Confidence) -> dict[str, Any]:
    risk = [(coverage, _risk_at(found.risk, coverage)) for coverage in _STEPS]
    return {
        **_rounded({"nll": found.nll, "brier": found.brier, "ece": found.ece}),
        "risk_coverage": [_rounded({"coverage": coverage, "risk": value}) for coverage, value in risk],
        "area_under_risk_coverage": round(found.area, 6),
    }


def _risk_at(curve: Sequence[tuple[float, float]], coverage: float) -> float:
    """Return the risk of the least that covers as much."""
    return next(risk for reached, risk in curve if reached >= coverage - 1e-9)


def _fit(found: Fit) -> dict[str, Any]:
    return {
        "temperature": round(found.temperature, 6),
        "before": _confidence(found.before),
        "after": _confidence(found.after),
        "threshold": None if found.threshold is None else _rounded(asdict(found.threshold)),
    }


def _hardened(found: Hardened) -> dict[str, Any]:
    return {
        "condition": found.condition,
        **_rounded({"n": found.figures.n, "uar": found.figures.uar, "accuracy": found.figures.accuracy}),
        "ece": round(found.figures.ece, 6),
        "lost": _rounded(found.lost),
        "intervals": _intervals(found.intervals),
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def _model_facts(provenance: Provenance) -> dict[str, Any]:
    facts = asdict(provenance)
    return {name: facts[name] for name in ("version", "model", "model_digest", "dtype", "device")}


def model_title(provenance: Provenance) -> str:
    """Return the model's name, and that it is experimental."""
    return f"{provenance.model} (experimental)" if provenance.experimental else provenance.model


def write_record(found: Evaluation, folder: str | Path, language: Language = "en") -> None:
    """Write evaluation.json, predictions.csv and the pictures. Raises BadRequest "output_unwritable"."""
    from emotape.delivery.evaluation.charts import draw_all

    output = Path(folder)
    try:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(json_record(found, language), ensure_ascii=False, indent=2) + "\n"
        _write(output / "evaluation.json", text)
        _write(output / "predictions.csv", predictions_csv(found))
        draw_all(found, model_title(found.provenance), output)
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(output), reason=error.strerror or str(error)) from error


def predictions_csv(found: Evaluation) -> str:
    """Return one row per recording: file, label, emotion, scores of all labels, uncertain, error code."""
    judged = found.material.judged
    keys = list(next(one.prediction.scores for one in judged if one.prediction is not None))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "emotion", *keys, "uncertain", "error"])
    for one in judged:
        writer.writerow([one.row.file, one.row.label or "", *_cells(one, keys)])
    return text.getvalue()


def _cells(one: Judgement, keys: Sequence[str]) -> list[str]:
    if one.prediction is None:
        return [""] * (2 + len(keys)) + [one.error.code if one.error else ""]
    scores, unsure = one.prediction.scores, one.prediction.uncertain
    flag = "" if unsure is None else str(unsure).lower()
    return [one.prediction.emotion or "", *(f"{scores[key]:.6f}" for key in keys), flag, ""]


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode("utf-8", "backslashreplace")))
