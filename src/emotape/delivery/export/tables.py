"""Results as rows: JSON lines, one CSV row per recording, one CSV row per frame."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from emotape.delivery.export.pieces import pieces
from emotape.engine.result import FRAME_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.engine.result import Prediction


def json_line(found: dict[str, Any]) -> str:
    """Return a document as JSON on one line, Chinese as it is; its arrays may still be `Numbers`.

    A file name that is not UTF-8 keeps its bytes as the lone surrogates of `os.fsdecode`, written as escapes.
    """
    return "".join(pieces(found)).encode("utf-8", "backslashreplace").decode("utf-8")


def results_csv_header(labels: Sequence[str], *, split: bool = False) -> str:
    """Return the heading of `results_csv_row`: one column per label key; `split` adds the channel."""
    return _row(["file", *["channel"] * split, "emotion", "confidence", *labels, "seconds", "uncertain", "error"])


def results_csv_row(found: dict[str, Any], labels: Sequence[str], *, split: bool = False) -> str:
    """Return a document (see `document` and `failure`) as one CSV row.

    `error` is the error's code, or empty; `uncertain` is true or false, or empty where the model has no threshold.
    """
    if "error" in found:
        return _row([found["file"], *[""] * (split + 2 + len(labels) + 2), found["error"]["code"]])
    facts = found["details"]
    scores = [found["scores"].get(label, 0.0) for label in labels]
    channel = [facts["channel"]] if split else []
    verdict = [found["file"], *channel, found["emotion"] or "", found["confidence"]]
    unsure = facts.get("uncertain")
    return _row([*verdict, *scores, facts["seconds"], "" if unsure is None else str(unsure).lower(), ""])


def frames_csv(prediction: Prediction) -> str:
    """Return one row per 20 ms frame: start and stop in seconds, then the probability of every label."""
    rows = [] if prediction.frames is None else prediction.frames.tolist()
    head = _row(["start", "stop", *prediction.scores])
    return head + "".join(_frame_row(number, scores) for number, scores in enumerate(rows))


def _frame_row(number: int, scores: Sequence[float]) -> str:
    times = f"{number * FRAME_SECONDS:.2f},{(number + 1) * FRAME_SECONDS:.2f}"
    return ",".join([times, *(f"{score:.6f}" for score in scores)]) + "\n"


def _row(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
