"""Segments as text in the formats that editors of subtitles, of labels and of annotations read."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotape.engine.result import Prediction
    from emotape.model.labels import Label
    from emotape.wording import Language


class Stretch(NamedTuple):
    """An exported segment: whole units of time, later than the one before, and never empty."""

    start: int
    stop: int
    emotion: str | None
    confidence: float


def srt(prediction: Prediction, language: Language = "en") -> str:
    """Return SubRip subtitles, one per segment with an emotion, numbered from 1, in whole milliseconds."""
    shown = [stretch for stretch in _stretches(prediction, 1_000) if stretch.emotion is not None]
    blocks = [
        f"{number}\n{_clock(stretch.start)} --> {_clock(stretch.stop)}\n{_caption(prediction, stretch, language)}\n"
        for number, stretch in enumerate(shown, 1)
    ]
    return "\n".join(blocks)


def audacity_labels(prediction: Prediction, language: Language = "en") -> str:
    """Return an Audacity label track: start, stop (seconds) and name a line, tab-separated; silence is left out."""
    return "".join(
        f"{stretch.start / 1e6:.6f}\t{stretch.stop / 1e6:.6f}\t{_name(prediction, stretch.emotion, language)}\n"
        for stretch in _stretches(prediction, 1_000_000)
        if stretch.emotion is not None
    )


def textgrid(prediction: Prediction, language: Language = "en") -> str:
    """Return a Praat TextGrid (long form) with one interval tier, `emotion`, that tiles [0, seconds].

    Stretches without an emotion, and whatever no segment covers, are intervals with an empty text.
    """
    end = _units(prediction.seconds, 1_000_000)
    tiles = list(_tiled(_stretches(prediction, 1_000_000), end))
    head = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        f"xmin = 0\nxmax = {end / 1e6:.6f}\ntiers? <exists>\nsize = 1\nitem []:\n    item [1]:\n"
        '        class = "IntervalTier"\n        name = "emotion"\n'
        f"        xmin = 0\n        xmax = {end / 1e6:.6f}\n        intervals: size = {len(tiles)}\n"
    )
    return head + "".join(
        f"        intervals [{number}]:\n            xmin = {tile.start / 1e6:.6f}\n"
        f"            xmax = {tile.stop / 1e6:.6f}\n"
        f'            text = "{_quoted(_name(prediction, tile.emotion, language))}"\n'
        for number, tile in enumerate(tiles, 1)
    )


def segments_csv(prediction: Prediction, language: Language = "en") -> str:  # noqa: ARG001 - keys, not names
    """Return one row per segment: start, stop (seconds), emotion key (empty for silence), confidence, scores."""
    keys = list(prediction.scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["start", "stop", "emotion", "confidence", *keys])
    for segment in prediction.segments:
        scores = [f"{segment.scores[key]:.6f}" if key in segment.scores else "" for key in keys]
        writer.writerow(
            [
                f"{segment.start:.3f}",
                f"{segment.stop:.3f}",
                segment.emotion or "",
                f"{segment.confidence:.6f}",
                *scores,
            ]
        )
    return text.getvalue()


EXPORTERS: Final[dict[str, tuple[str, Callable[[Prediction, Language], str]]]] = {
    "srt": ("segments.srt", srt),
    "audacity": ("segments.txt", audacity_labels),
    "textgrid": ("segments.TextGrid", textgrid),
    "csv": ("segments.csv", segments_csv),
}
"""Name of each export → its file name and its function."""


def _stretches(prediction: Prediction, per_second: int) -> Iterator[Stretch]:
    """Yield the segments in whole units of time, in order, clipped to the recording, without overlap."""
    end, reached = _units(prediction.seconds, per_second), 0
    for segment in sorted(prediction.segments, key=lambda segment: segment.start):
        start = max(_units(segment.start, per_second), reached)
        stop = min(_units(segment.stop, per_second), end)
        if stop > start:
            yield Stretch(start, stop, segment.emotion, segment.confidence)
            reached = stop


def _tiled(stretches: Iterator[Stretch], end: int) -> Iterator[Stretch]:
    """Yield `stretches` with the gaps between 0 and `end` filled by stretches without an emotion."""
    edges = [Stretch(0, 0, None, 0.0), *stretches, Stretch(end, end, None, 0.0)]
    for left, right in pairwise(edges):
        if left.stop > left.start:
            yield left
        if right.start > left.stop:
            yield Stretch(left.stop, right.start, None, 0.0)


def _units(seconds: float, per_second: int) -> int:
    return round(seconds * per_second)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{rest:03d}"


def _caption(prediction: Prediction, stretch: Stretch, language: Language) -> str:
    label = _label(prediction, stretch.emotion)
    return f"{label.emoji} {_plain(label.name(language))} {stretch.confidence:.0%}"


def _name(prediction: Prediction, emotion: str | None, language: Language) -> str:
    return "" if emotion is None else _plain(_label(prediction, emotion).name(language))


def _label(prediction: Prediction, emotion: str | None) -> Label:
    return next(label for label in prediction.labels if label.key == emotion)


def _plain(name: str) -> str:
    """Return `name` on one line without tabs: both would end a field."""
    return " ".join(name.split())


def _quoted(text: str) -> str:
    return text.replace('"', '""')
