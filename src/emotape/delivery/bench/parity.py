"""`emotape bench parity`: on how many recordings of a corpus a faster arithmetic says what fp32 says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.bench.peers import recognizer_of
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject
from emotape.delivery.evaluation import manifest
from emotape.delivery.evaluation.figures import figures
from emotape.errors import EmotapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from emotape.delivery.bench.report import Cell
    from emotape.delivery.evaluation.manifest import Row
    from emotape.recognizer import Recognizer

EXACT: Final = "float32"


@dataclass(frozen=True)
class ParityOptions:
    """Which labelled recordings, and which arithmetics beside fp32."""

    manifest: Path
    choice: Choice
    arithmetics: tuple[str, ...] = ("bfloat16", "int8")
    threads: int | None = None


@dataclass(frozen=True)
class _Heard:
    """The scores of every recording that could be heard, in order, and their true labels."""

    truth: tuple[str, ...]
    scores: tuple[Mapping[str, float], ...]


def measure(options: ParityOptions, tell: Callable[[str], None]) -> Findings:
    """Hear every recording in every arithmetic. Raises BadRequest for the manifest, ModelFault and EngineFault."""
    rows = manifest.choose(manifest.read_manifest(options.manifest), manifest.Choice(), options.manifest)
    heard: dict[str, _Heard] = {}
    with subject(options.choice, official=False) as model:
        for arithmetic in (EXACT, *options.arithmetics):
            tell(f"{arithmetic}: {len(rows)} recordings")
            with recognizer_of(model.directory, arithmetic, options.threads) as recognizer:
                heard[arithmetic] = _hear(recognizer, rows)
    lines = tuple(_line(arithmetic, found, heard[EXACT]) for arithmetic, found in heard.items())
    table = Table(f"Agreement with fp32 on {len(heard[EXACT].truth)} recordings", lines)
    settings = model.facts() | {"recordings": len(rows), "arithmetics": list(heard)}
    unheard = len(rows) - len(heard[EXACT].truth)
    notes = (f"{unheard} recordings could not be heard and are left out.",) if unheard else ()
    return Findings("parity", settings, (table,), (), lines, notes)


def _hear(recognizer: Recognizer, rows: Sequence[Row]) -> _Heard:
    heard = []
    for row in rows:
        try:
            heard.append((str(row.label), recognizer.recognize(row.path).scores))
        except EmotapeError:  # what cannot be heard cannot be heard in any arithmetic
            continue
    return _Heard(tuple(truth for truth, _ in heard), tuple(scores for _, scores in heard))


def _line(arithmetic: str, found: _Heard, exact: _Heard) -> dict[str, Cell]:
    ours, wanted = (np.array([list(scores.values()) for scores in heard.scores]) for heard in (found, exact))
    same = ours.argmax(1) == wanted.argmax(1)
    judged = figures(found.truth, found.scores)
    return {
        "arithmetic": arithmetic,
        "same label": f"{100 * float(same.mean()):.2f} %",
        "other labels": int((~same).sum()),
        "worst difference of a score": f"{float(np.abs(ours - wanted).max()):.4f}",
        "accuracy": f"{100 * judged.accuracy:.2f} %",
        "UAR": f"{100 * judged.uar:.2f} %",
    }
