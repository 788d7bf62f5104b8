"""The left pane: recordings, and what is wanted of them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gradio as gr

from emotape.delivery.page.answer import Upload
from emotape.delivery.page.colours import emoji
from emotape.engine.result import GRANULARITIES
from emotape.model.labels import find_label
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language

SAMPLES: Final = {"angry": "angry.opus", "happy": "amused.opus", "surprised": "surprised.opus"}


@dataclass(frozen=True)
class Inputs:
    """The components of the left pane."""

    files: gr.File
    microphone: gr.Audio
    samples: tuple[tuple[gr.Button, Path], ...]
    granularity: gr.Radio
    embedding: gr.Checkbox
    start: gr.Button
    cancel: gr.Button


def left_pane(language: Language) -> Inputs:
    """Lay out the left pane, from top to bottom."""

    def words(code: str) -> str:
        return interface_text(code, language)

    files = gr.File(label=words("page_upload"), file_count="multiple", type="filepath", height=170, elem_id="upload")
    # Gradio's own way makes an empty file beside every upload at every press, and never deletes it.
    files.preprocess = _uploads  # type: ignore[method-assign, assignment]
    gr.HTML(f'<p class="hint">{escape(words("page_formats"))}</p>', apply_default_css=False)
    with gr.Accordion(words("page_record"), open=False, elem_id="record"):
        microphone = gr.Audio(
            sources=["microphone"],
            type="filepath",
            label=words("page_record"),
            show_label=False,
            editable=False,
            buttons=[],
            elem_id="microphone",
        )
    gr.HTML(f'<p class="samples-title">{escape(words("page_samples"))}</p>', apply_default_css=False)
    with gr.Row(elem_id="samples"):
        samples = tuple(_sample(key, name, language) for key, name in SAMPLES.items())
    granularity = gr.Radio(
        choices=[(words(f"page_{granularity}"), granularity) for granularity in GRANULARITIES],
        value="utterance",
        label=words("page_granularity"),
        info=words("page_granularity_help"),
        elem_id="granularity",
    )
    embedding = gr.Checkbox(label=words("page_embedding"), info=words("page_embedding_help"), elem_id="embedding")
    with gr.Row(elem_id="actions"):
        start = gr.Button(words("page_start"), variant="primary", size="lg", min_width=160, elem_id="start")
        cancel = gr.Button(words("page_cancel"), variant="stop", size="lg", min_width=90, scale=0, elem_id="cancel")
    return Inputs(files, microphone, samples, granularity, embedding, start, cancel)


def samples_folder() -> Path:
    """Return where the sample clips lie."""
    return Path(str(resources.files("emotape") / "samples"))


def _uploads(payload: Any) -> tuple[Upload, ...]:
    return tuple(Upload(file.path, file.orig_name or Path(file.path).name) for file in payload or ())


def _sample(key: str, name: str, language: Language) -> tuple[gr.Button, Path]:
    label = find_label(key)
    assert label is not None  # noqa: S101 - our own table
    text = interface_text("page_sample", language, emoji=emoji(label), emotion=label.name(language))
    return gr.Button(text, size="sm", min_width=90, elem_id=f"sample-{key}"), samples_folder() / name
