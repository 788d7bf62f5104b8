"""An evaluation as a record: what became of every row, as JSON, as a CSV of predictions, and as pictures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from emotape.delivery.evaluation.figures import Figures, figures, summary
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emotape.delivery.batch import Outcome
    from emotape.delivery.evaluation.manifest import Row
    from emotape.engine.result import Prediction, Provenance
    from emotape.wording import Language


@dataclass(frozen=True, eq=False)
class Judgement:
    """A row with its prediction, or with the error that stands in its place."""

    row: Row
    prediction: Prediction | None
    error: EmotapeError | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What became of every row, in order, and the figures over those that were answered."""

    judged: tuple[Judgement, ...]
    left_out: Mapping[str, int]
    restricted: bool
    provenance: Provenance
    figures: Figures

    @property
    def failures(self) -> list[tuple[Row, EmotapeError]]:
        """The rows without a prediction, and why."""
        return [(one.row, one.error) for one in self.judged if one.error is not None]


def judgement_of(outcome: Outcome[Row]) -> Judgement:
    """Return what counts of an outcome, without its sound, which would fill the memory."""
    prediction = outcome.answers[0].prediction if outcome.answers else None
    return Judgement(outcome.question, prediction, outcome.error)


def evaluated(judged: tuple[Judgement, ...], left_out: Mapping[str, int], *, restrict: bool) -> Evaluation:
    """Compute the figures. Raises BadRequest ("nothing_answered", "no_classifier")."""
    answered = [(one.row, one.prediction) for one in judged if one.prediction is not None]
    if not answered:
        reason = str(judged[0].error)
        raise BadRequest("nothing_answered", rows=len(judged), reason=reason)
    provenance = answered[0][1].provenance
    if any(not prediction.scores for _, prediction in answered):
        raise BadRequest("no_classifier", model=provenance.model)
    truth = [str(row.label) for row, _ in answered]
    found = figures(truth, [prediction.scores for _, prediction in answered], restrict=restrict)
    return Evaluation(judged, left_out, restrict, provenance, found)


def json_record(found: Evaluation, language: Language = "en") -> dict[str, Any]:
    """Return the figures under the known keys, and under `details` what else there is to know."""
    return {
        **summary(found.figures),
        "details": {
            "experimental": found.provenance.experimental,
            "restricted": found.restricted,
            "left_out": dict(found.left_out),
            "provenance": _model_facts(found.provenance),
            "errors": [
                {"file": row.file, "line": row.line, "code": error.code, **asdict(error.text(language))}
                for row, error in found.failures
            ],
        },
    }


def _model_title(provenance: Provenance) -> str:
    return f"{provenance.model} (experimental)" if provenance.experimental else provenance.model


def _model_facts(provenance: Provenance) -> dict[str, Any]:
    facts = asdict(provenance)
    return {name: facts[name] for name in ("version", "model", "model_digest", "dtype", "device")}


def write_record(found: Evaluation, output: Path, language: Language = "en") -> None:
    """Write evaluation.json, predictions.csv, confusion.png and reliability.png. Raises BadRequest."""
    from emotape.delivery.evaluation.charts import draw_confusion, draw_reliability

    try:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(json_record(found, language), ensure_ascii=False, indent=2) + "\n"
        _write(output / "evaluation.json", text)
        _write(output / "predictions.csv", predictions_csv(found))
        draw_confusion(found.figures, _model_title(found.provenance), output / "confusion.png")
        draw_reliability(found.figures, _model_title(found.provenance), output / "reliability.png")
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(output), reason=error.strerror or str(error)) from error


def predictions_csv(found: Evaluation) -> str:
    """Return one row per recording: file, label, emotion, scores of all labels, error code."""
    keys = list(next(one.prediction.scores for one in found.judged if one.prediction is not None))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "emotion", *keys, "error"])
    for one in found.judged:
        writer.writerow([one.row.file, one.row.label or "", *_cells(one, keys)])
    return text.getvalue()


def _cells(one: Judgement, keys: Sequence[str]) -> list[str]:
    if one.prediction is None:
        return [""] * (1 + len(keys)) + [one.error.code if one.error else ""]
    scores = one.prediction.scores
    return [one.prediction.emotion or "", *(f"{scores[key]:.6f}" for key in keys), ""]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
