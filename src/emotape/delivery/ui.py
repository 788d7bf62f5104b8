"""The web page, in one language: what stands where, and what happens when a button is pressed.

The only module that knows Gradio. Texts are in `wording/page.toml`, HTML in `page/render.py`, the work in
`page/answer.py`; a new part of the page is a component in `Page`, a line in `_shown` and its texts.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import gradio as gr

from emotape.delivery.page import render
from emotape.delivery.page.answer import DOWNLOADS, Desk, Request, answer
from emotape.delivery.page.curve import thin_out, visible_labels
from emotape.engine.result import GRANULARITIES
from emotape.errors import EmotapeError, EngineFault
from emotape.model.labels import find_label
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from emotape.audio.decode import DecodeLimits
    from emotape.delivery.page.answer import Answer, Recognizes
    from emotape.wording import Language

log = logging.getLogger("emotape")

SAMPLES: Final = {"angry": "angry.opus", "happy": "amused.opus", "surprised": "surprised.opus"}
SWEEP_SECONDS: Final = 600  # old uploads and results are looked for at least this often
AT_ONCE: Final = 16  # presses of the button that may wait inside the recognizer, which bounds itself in seconds
WAITING: Final = 64
_FONTS: Final = ("system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")
_FRAMEWORK_WORDS: Final = {
    "upload_text.drop_file": "page_drop",
    "upload_text.click_to_upload": "page_click",
    "common.or": "page_or",
    "audio.record": "page_record_start",
    "audio.stop": "page_record_stop",
    "audio.pause": "page_record_pause",
    "audio.resume": "page_record_resume",
    "audio.no_microphone": "page_no_microphone",
    "audio.allow_recording_access": "page_microphone_denied",
}
_FRAMEWORK_LOCALES: Final = (
    *("ar", "ca", "ckb", "de", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "id", "ja", "ko", "lt", "nb"),
    *("nl", "pl", "pt", "pt-BR", "ro", "ru", "sv", "ta", "th", "tr", "uk", "ur", "uz", "zh-CN", "zh-TW"),
)


@dataclass(frozen=True)
class PageOptions:
    """What the page says about its model, what it accepts and what it keeps.

    Uploads and results are deleted after `keep_seconds`, at the latest when the server stops; 0 keeps them until then.
    """

    experimental: bool
    limits: DecodeLimits
    keep_seconds: float = 3600.0


def mount(app: FastAPI, recognizer: Recognizes, options: PageOptions) -> None:
    """Put the page at /zh and at /en of `app`.

    Uploads and results lie in the folder named by GRADIO_TEMP_DIR, which the caller makes and removes.
    """
    # Outside a running event loop, Gradio makes one for every page and leaves it open.
    asyncio.run(_mount_all(app, recognizer, options))


async def _mount_all(app: FastAPI, recognizer: Recognizes, options: PageOptions) -> None:
    for language in ("zh", "en"):
        page = build(recognizer, options, language)
        gr.mount_gradio_app(
            app,
            page,
            path=f"/{language}",
            allowed_paths=[str(_samples())],
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            show_error=False,
            max_file_size=options.limits.bytes,
            enable_monitoring=False,
            theme=gr.themes.Soft(primary_hue="indigo", font=_FONTS, font_mono=("ui-monospace", "monospace")),
            css_paths=[Path(str(resources.files("emotape.delivery.page") / "page.css"))],
            i18n=_framework_words(language),
        )
        # Mounted pages lack this mark, and without it Gradio accepts any path on this machine as an "upload".
        page.has_launched = True


def build(recognizer: Recognizes, options: PageOptions, language: Language) -> gr.Blocks:
    """Return the page in `language`."""
    title = interface_text("page_title", language)
    keep = math.ceil(options.keep_seconds)
    sweep = (min(SWEEP_SECONDS, keep), keep) if keep else None
    blocks = gr.Blocks(title=title, analytics_enabled=False, delete_cache=sweep)
    with blocks:
        gr.HTML(_heading(language) + _banner(options, language))
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                inputs = _inputs(language)
            with gr.Column(scale=3, min_width=420, elem_classes="pane"):
                outputs = _outputs(language)
        _wire(inputs, outputs, Desk(recognizer, options.limits, language))
    blocks.queue(max_size=WAITING)
    return blocks


@dataclass(frozen=True)
class Inputs:
    """The left pane."""

    file: gr.File
    microphone: gr.Audio
    samples: tuple[tuple[gr.Button, Path], ...]
    granularity: gr.Radio
    embedding: gr.Checkbox
    start: gr.Button


@dataclass(frozen=True)
class Outputs:
    """The right pane, from top to bottom."""

    verdict: gr.HTML
    scores: gr.HTML
    segments: gr.HTML
    curve: gr.LinePlot
    sound: gr.Audio
    downloads: tuple[gr.DownloadButton, ...]
    log: gr.Textbox

    def all(self) -> list[Any]:
        """Return the components in the order of `_shown`."""
        return [
            self.verdict,
            self.scores,
            self.segments,
            self.curve,
            self.sound,
            *self.downloads,
            self.log,
        ]


def _inputs(language: Language) -> Inputs:
    def words(code: str) -> str:
        return interface_text(code, language)

    file = gr.File(label=words("page_upload"), type="filepath", height=150, elem_id="upload")
    # Gradio's own way makes an empty file beside the upload at every press, and never deletes it.
    file.preprocess = _path_of  # type: ignore[method-assign]
    gr.HTML(f'<div class="hint">{escape(words("page_formats"))}</div>')
    with gr.Accordion(words("page_record"), open=False):
        microphone = gr.Audio(
            sources=["microphone"],
            type="filepath",
            show_label=False,
            editable=False,
            buttons=[],
            elem_id="microphone",
        )
    gr.HTML(f'<div class="samples-title">{escape(words("page_samples"))}</div>')
    with gr.Row():
        samples = tuple(_sample(key, name, language) for key, name in SAMPLES.items())
    granularity = gr.Radio(
        choices=[(words(f"page_{granularity}"), granularity) for granularity in GRANULARITIES],
        value="utterance",
        label=words("page_granularity"),
        info=words("page_granularity_help"),
        elem_id="granularity",
    )
    embedding = gr.Checkbox(label=words("page_embedding"), info=words("page_embedding_help"), elem_id="embedding")
    start = gr.Button(words("page_start"), variant="primary", size="lg", elem_id="start")
    return Inputs(file, microphone, samples, granularity, embedding, start)


def _path_of(payload: Any) -> str | None:
    return payload.path if payload else None


def _sample(key: str, name: str, language: Language) -> tuple[gr.Button, Path]:
    label = find_label(key)
    assert label is not None  # noqa: S101 - our own table
    text = interface_text("page_sample", language, emoji=render.emoji(label), emotion=label.name(language))
    return gr.Button(text, size="sm", min_width=90, elem_id=f"sample-{key}"), _samples() / name


def _outputs(language: Language) -> Outputs:
    def words(code: str) -> str:
        return interface_text(code, language)

    return Outputs(
        verdict=gr.HTML(render.placeholder("page_waiting", language), elem_id="verdict"),
        scores=gr.HTML(elem_id="scores"),
        segments=gr.HTML(elem_id="segments", visible=False),
        curve=gr.LinePlot(
            x=words("page_time"),
            y=words("page_probability"),
            color=words("page_emotion"),
            y_lim=[0, 1],
            height=320,
            label=words("page_curve"),
            visible=False,
            buttons=["fullscreen"],
            elem_id="curve",
        ),
        sound=gr.Audio(
            label=words("page_heard"), interactive=False, visible=False, buttons=["download"], elem_id="sound"
        ),
        downloads=_downloads(language),
        log=gr.Textbox(
            label=words("page_log"), lines=6, max_lines=14, interactive=False, buttons=["copy"], elem_id="log"
        ),
    )


def _downloads(language: Language) -> tuple[gr.DownloadButton, ...]:
    with gr.Row(elem_id="downloads"):
        return tuple(
            gr.DownloadButton(
                name or interface_text("page_download_all", language), visible=False, size="sm", min_width=120
            )
            for name in DOWNLOADS
        )


def _wire(inputs: Inputs, outputs: Outputs, desk: Desk) -> None:
    def recognize(path: str | None, granularity: Any, embedding: bool) -> Iterator[list[Any]]:
        request = Request(path, granularity, embedding)
        with TemporaryDirectory(prefix="emotape-result-", ignore_cleanup_errors=True) as folder:
            # Gradio copies the files while this generator is suspended here.
            yield _outcome(desk, request, Path(folder))

    inputs.start.click(
        recognize,
        inputs=[inputs.file, inputs.granularity, inputs.embedding],
        outputs=outputs.all(),
        concurrency_limit=AT_ONCE,
        show_progress="minimal",
        show_progress_on=[outputs.verdict],
        api_visibility="private",
    )
    inputs.microphone.stop_recording(lambda path: path, inputs.microphone, inputs.file, api_visibility="private")
    for button, path in inputs.samples:
        button.click(lambda path=path: str(path), None, inputs.file, api_visibility="private", show_progress="hidden")


def _outcome(desk: Desk, request: Request, folder: Path) -> list[Any]:
    """Return what every output shows: the answer, or the error in the page's language, never a traceback."""
    try:
        return _shown(answer(desk, request, folder), desk.language)
    except EmotapeError as error:
        return _refused(error, desk.language)
    except Exception as error:
        log.exception("the page failed")
        return _refused(EngineFault("page_failed", kind=type(error).__name__), desk.language)


def _shown(given: Answer, language: Language) -> list[Any]:
    prediction = given.prediction
    return [
        render.verdict(prediction, language),
        render.score_bars(prediction, language) if prediction.scores else "",
        gr.update(value=render.segment_table(prediction, language), visible=prediction.granularity == "segment"),
        _curve(given, language),
        gr.update(value=str(given.sound), visible=True),
        *(_download(given.files.get(name)) for name in DOWNLOADS),
        render.log(given, language),
    ]


def _refused(error: EmotapeError, language: Language) -> list[Any]:
    hidden = gr.update(value=None, visible=False)
    card = render.error_card(error, language)
    downloads = [hidden] * len(DOWNLOADS)
    return [card, "", gr.update(value="", visible=False), hidden, hidden, *downloads, f"[{error.code}]"]


def _download(path: Path | None) -> Any:
    return gr.update(value=str(path) if path else None, visible=path is not None)


def _curve(given: Answer, language: Language) -> Any:
    """Return the frame curve of the labels that matter, or hide it."""
    prediction = given.prediction
    labels = visible_labels(prediction)
    if prediction.granularity == "utterance" or prediction.frames is None or not labels:
        return gr.update(value=None, visible=False)
    import pandas as pd  # type: ignore[import-untyped]  # comes with gradio; its stubs are a package apart

    seconds, probabilities = thin_out(prediction.frames)
    x, y, hue = (interface_text(code, language) for code in ("page_time", "page_probability", "page_emotion"))
    lines = [
        pd.DataFrame({x: seconds, y: probabilities[:, column], hue: label.name(language)}) for column, label in labels
    ]
    colours = {label.name(language): render.colour(label.key) for _, label in labels}
    return gr.LinePlot(
        value=pd.concat(lines),
        x=x,
        y=y,
        color=hue,
        color_map=colours,
        x_lim=[0, prediction.seconds],
        visible=True,
    )


def _heading(language: Language) -> str:
    other = "en" if language == "zh" else "zh"
    heading, subtitle, switch = (
        escape(interface_text(code, language)) for code in ("page_heading", "page_subtitle", "page_language")
    )
    return (
        f'<div id="heading"><h1><span class="brand">emotape</span> {heading}</h1><p>{subtitle}</p>'
        f'<a id="language" href="../?language={other}" lang="{other}">{switch}</a></div>'
    )


def _banner(options: PageOptions, language: Language) -> str:
    if not options.experimental:
        return ""
    return f'<div class="banner" role="note">{render.with_commands(interface_text("experimental", language))}</div>'


def _framework_words(language: Language) -> gr.I18n:
    """Return Gradio's own words in the page's language, whatever language the browser prefers.

    Gradio looks them up under the browser's locale, so that they are given for each that it knows.
    """
    words = {key: interface_text(code, language) for key, code in _FRAMEWORK_WORDS.items()}
    return gr.I18n(**dict.fromkeys(_FRAMEWORK_LOCALES, words))


def _samples() -> Path:
    return Path(str(resources.files("emotape") / "samples"))
