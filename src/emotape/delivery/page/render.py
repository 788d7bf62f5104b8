"""Predictions and errors as HTML and text; everything that came from outside is escaped."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from emotape.wording import interface_text, warning_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emotape.delivery.page.answer import Answer
    from emotape.engine.result import Prediction, Segment
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label
    from emotape.wording import Language

COLOURS: Final = {
    "angry": "#e5484d",
    "disgusted": "#6f9e3f",
    "fearful": "#8e4ec6",
    "happy": "#eaa800",
    "neutral": "#8b8d98",
    "other": "#a18072",
    "sad": "#3b82f6",
    "surprised": "#f76b15",
    "unknown": "#b9bbc6",
}
_OWN_COLOURS: Final = ("#12a594", "#d6409f", "#5b5bd6", "#978365")
_SILENCE: Final = "transparent"


def colour(key: str) -> str:
    """Return the colour of a label; a model's own labels get one that stays the same."""
    return COLOURS.get(key) or _OWN_COLOURS[sum(key.encode()) % len(_OWN_COLOURS)]


def emoji(label: Label) -> str:
    """Return the label's emoji with the sign that asks for its coloured form."""
    return f"{label.emoji}\N{VARIATION SELECTOR-16}"


def title_of(label: Label, language: Language) -> str:
    """Return emoji and name; in Chinese with the English name beside it, as on the known page."""
    name = f"{label.zh} {label.en}" if language == "zh" and label.zh != label.en else label.en
    return f"{emoji(label)} {name}"


def verdict(prediction: Prediction, language: Language) -> str:
    """Return the emotion, large, with its confidence and what should be known about it.

    That the model is experimental stands in the banner above.
    """
    label = label_of(prediction, prediction.emotion)
    if label is None:
        return f'<div class="verdict">{escape(interface_text("page_no_emotion", language))}</div>'
    percent = interface_text("page_confidence", language, percent=f"{prediction.confidence:.1%}")
    notes = "".join(
        f"<p>{with_commands(warning_text(code, language))}</p>"
        for code in prediction.warnings
        if code != "experimental"
    )
    return (
        f'<div class="verdict" style="--colour:{colour(label.key)}" data-emotion="{escape(label.key)}">'
        f'<span class="emoji">{escape(emoji(label))}</span>'
        f'<div><div class="name">{escape(_name(label, language))}</div>'
        f'<div class="confidence">{escape(percent)}</div></div></div>'
        + (f'<div class="notes">{notes}</div>' if notes else "")
    )


def score_bars(prediction: Prediction, language: Language) -> str:
    """Return one bar per label, in the model's order."""
    bars = (
        f'<div class="bar{" best" if label.key == prediction.emotion else ""}"'
        f' style="--colour:{colour(label.key)};--score:{score:.4f}">'
        f'<span class="label">{escape(title_of(label, language))}</span>'
        f'<span class="track"><span class="fill"></span></span>'
        f'<span class="number">{score:.1%}</span></div>'
        for label, score in zip(prediction.labels, prediction.scores.values(), strict=True)
    )
    return _section(interface_text("page_scores", language), f'<div class="bars">{"".join(bars)}</div>')


def segment_table(prediction: Prediction, language: Language) -> str:
    """Return a strip of colours along the recording, and a row for every segment."""
    total = max(prediction.seconds, 1e-9)
    strip = "".join(
        f'<span title="{escape(_segment_name(prediction, segment, language))}"'
        f' style="left:{segment.start / total:.3%};width:{(segment.stop - segment.start) / total:.3%};'
        f'background:{_segment_colour(segment)}"></span>'
        for segment in prediction.segments
    )
    heads = ("page_start_time", "page_stop_time", "page_emotion", "page_confidence_column")
    head = "".join(f"<th>{escape(interface_text(code, language))}</th>" for code in heads)
    rows = "".join(_segment_row(prediction, segment, language) for segment in prediction.segments)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    content = f'<div class="strip">{strip}</div><div class="scroll">{table}</div>'
    return _section(interface_text("page_segments", language), content)


def error_card(error: EmotapeError, language: Language) -> str:
    """Return message, cause and cure, with the code for whoever reports it."""
    text = error.text(language)
    rows = "".join(
        f"<dt>{escape(interface_text(code, language))}</dt><dd>{with_commands(words)}</dd>"
        for code, words in (("page_cause", text.cause), ("page_cure", text.cure))
    )
    return (
        f'<div class="error" role="alert" data-code="{escape(error.code)}">'
        f"<strong>{escape(text.message)}</strong><dl>{rows}</dl><code>{escape(error.code)}</code></div>"
    )


def with_commands(text: str) -> str:
    """Return a sentence as HTML, with what stands between backticks as a command."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def placeholder(code: str, language: Language) -> str:
    """Return a quiet sentence where a result will be."""
    return f'<div class="waiting">{escape(interface_text(code, language))}</div>'


def log(answer: Answer, language: Language) -> str:
    """Return the processing log: the file, the sound, every stage's time, the model."""
    prediction, source = answer.prediction, answer.source
    lines = [
        interface_text("page_log_file", language, file=answer.name, **_source_facts(source)),
        interface_text(
            "page_log_audio",
            language,
            seconds=prediction.seconds,
            speech_seconds=prediction.speech_seconds,
            windows=len(prediction.windows),
        ),
        *(
            interface_text("page_log_stage", language, stage=stage, milliseconds=1e3 * seconds)
            for stage, seconds in prediction.stages.items()
        ),
        *(
            interface_text("page_log_warning", language, text=warning_text(code, language))
            for code in prediction.warnings
        ),
        _model_line(prediction, language),
    ]
    return "\n".join(lines)


def label_of(prediction: Prediction, key: str | None) -> Label | None:
    """Return the label of `key` among the prediction's own, or None."""
    return next((label for label in prediction.labels if label.key == key), None)


def _source_facts(source: object) -> dict[str, object]:
    return {name: getattr(source, name) for name in ("container", "codec", "sample_rate", "channels")}


def _model_line(prediction: Prediction, language: Language) -> str:
    origin = prediction.provenance
    return interface_text(
        "page_log_model",
        language,
        model=origin.model,
        digest=origin.model_digest[:12],
        dtype=origin.dtype,
        device=origin.device,
        version=origin.version,
    )


def _name(label: Label, language: Language) -> str:
    return title_of(label, language).removeprefix(f"{emoji(label)} ")


def _segment_row(prediction: Prediction, segment: Segment, language: Language) -> str:
    confidence = f"{segment.confidence:.1%}" if segment.emotion else "–"
    swatch = f'<i style="background:{_segment_colour(segment)}"></i>'
    name = escape(_segment_name(prediction, segment, language))
    return _row((f"{segment.start:.2f}", f"{segment.stop:.2f}", swatch + name, confidence))


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _segment_name(prediction: Prediction, segment: Segment, language: Language) -> str:
    label = label_of(prediction, segment.emotion)
    return title_of(label, language) if label else interface_text("page_silence", language)


def _segment_colour(segment: Segment) -> str:
    return colour(segment.emotion) if segment.emotion else _SILENCE


def _section(title: str, content: str) -> str:
    return f"<h3>{escape(title)}</h3>{content}"
