"""From recordings with labels to an evaluation, on one screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.delivery.evaluation.answering import judge, under
from emotape.delivery.evaluation.manifest import choose, left_out, read_manifest, unknown_labels
from emotape.delivery.evaluation.names import label_names
from emotape.delivery.evaluation.record import Material, evaluated
from emotape.delivery.evaluation.saving import check_target, save
from emotape.model.weights import read_labels
from emotape.recognizer import Recognizer
from emotape.store.catalogue import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.delivery.counting import Counting
    from emotape.delivery.evaluation.manifest import Row
    from emotape.delivery.evaluation.options import EvaluateOptions
    from emotape.delivery.evaluation.record import Evaluation
    from emotape.recognizer import RecognizerOptions


@dataclass(frozen=True)
class Saved:
    """Where a model with what was fitted was saved, and its digest."""

    path: Path
    digest: str


def assess(asked: EvaluateOptions, model: str | Path | None, how: RecognizerOptions, counting: Counting) -> Evaluation:
    """Answer every labelled recording by one model and compare. Saves nothing, but knows that it could be.

    Raises BadRequest (those of `read_table`, "manifest_empty", "label_map_unreadable", "nothing_answered",
    "no_classifier", "too_few_to_fit", "evaluate_numbers", "option_needs", "model_read_only", "model_folder_taken"),
    ModelFault and EngineFault.
    """
    asked.require_sense()
    recognizer = Recognizer(model, options=how)
    entry = recognizer.model
    if target := asked.target(entry.path):
        check_target(entry.path, target, bundled=entry.origin == "bundled")
    rows = read_manifest(asked.recordings, label_names(read_labels(entry.path), asked.label_map))
    return evaluated(_material(rows, recognizer, asked, counting), asked.rules, asked.wish)


def keep(found: Evaluation, asked: EvaluateOptions, model: str | Path | None, how: RecognizerOptions) -> Saved | None:
    """Save the model with what was fitted, where that was asked for. Raises BadRequest "output_unwritable"."""
    path = resolve(model, how.models_folder).path
    target = asked.target(path)
    if target is None or found.fit is None:
        return None
    return Saved(target, save(found.fit, path, target).digest)


def _material(rows: Sequence[Row], recognizer: Recognizer, asked: EvaluateOptions, counting: Counting) -> Material:
    """Answer the rows that count by one recognizer; in a sweep, under harder conditions, too."""
    from emotape.delivery.evaluation.codecs import missing
    from emotape.delivery.evaluation.conditions import conditions

    counted = choose(rows, asked.choice, asked.recordings)
    sweep = conditions() if asked.robustness else ()
    with recognizer, counting(len(counted) * (1 + len(sweep))) as advance:
        judged = judge(recognizer, counted, advance)
        harder = {
            each.name: judge(recognizer, counted, advance, under(each, recognizer.decode, asked.rules.seed))
            for each in sweep
        }
    absent = missing() if sweep else ()
    return Material(judged, left_out(rows, asked.choice), unknown_labels(rows, asked.choice), harder, absent)
