"""One language of the page: two panes, a tab that watches the machine, and what the buttons do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import gradio as gr

from emotape.delivery.page import render
from emotape.delivery.page.answer import Request
from emotape.delivery.page.routes import assets_version
from emotape.delivery.page.run import run
from emotape.delivery.page.words import words_of
from emotape.delivery.ui.inputs import left_pane
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emotape.delivery.page.answer import Desk, Upload
    from emotape.delivery.ui.inputs import Inputs
    from emotape.wording import Language

SWEEP_SECONDS: Final = 600  # old uploads are looked for at least this often
AT_ONCE: Final = 64  # presses of the button that are followed at a time; the recognizer bounds itself in seconds
WAITING: Final = 256
_SCRIPT: Final = """
const address = new URL("../page/assets/" + props.version + "/page.js", document.baseURI);
import(address).then((page) => page.start(props, watch));
"""


def build(desk: Desk, keep_seconds: float, *, experimental: bool, watched: bool) -> gr.Blocks:
    """Return the page in the desk's language."""
    language = desk.language
    keep = math.ceil(keep_seconds)
    sweep = (min(SWEEP_SECONDS, keep), keep) if keep else None
    blocks = gr.Blocks(title=interface_text("page_title", language), analytics_enabled=False, delete_cache=sweep)
    with blocks:
        gr.HTML(render.heading(language) + (render.banner(language) if experimental else ""))
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(interface_text("page_recognition", language), id="recognition"):
                inputs, bridge = _panes(language)
            if watched:
                with gr.Tab(interface_text("page_monitor", language), id="monitoring"):
                    gr.HTML(render.monitor(language), apply_default_css=False)
        _wire(inputs, bridge, desk)
    blocks.queue(max_size=WAITING)
    return blocks


def _panes(language: Language) -> tuple[Inputs, gr.HTML]:
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_id="left"):
            inputs = left_pane(language)
        with gr.Column(scale=3, min_width=300, elem_id="right"):
            gr.HTML(render.stage(language), apply_default_css=False)
    bridge = gr.HTML(
        elem_id="bridge",
        visible="hidden",
        html_template="",
        js_on_load=_SCRIPT,
        words=words_of(language),
        language=language,
        version=assets_version(),
    )
    return inputs, bridge


def _wire(inputs: Inputs, bridge: gr.HTML, desk: Desk) -> None:
    async def recognize(
        uploads: tuple[Upload, ...], granularity: Any, embedding: bool
    ) -> AsyncIterator[dict[str, Any]]:
        async for state in run(desk, Request(uploads, granularity, embedding)):
            yield state

    started = inputs.start.click(
        recognize,
        inputs=[inputs.files, inputs.granularity, inputs.embedding],
        outputs=bridge,
        concurrency_limit=AT_ONCE,
        show_progress="hidden",
        api_visibility="private",
    )
    inputs.cancel.click(None, cancels=[started], api_visibility="private")
    inputs.microphone.stop_recording(
        _with_recording, [inputs.microphone, inputs.files], inputs.files, api_visibility="private"
    )
    for button, path in inputs.samples:
        button.click(
            lambda path=path: [str(path)], None, inputs.files, api_visibility="private", show_progress="hidden"
        )


def _with_recording(recording: str | None, uploads: tuple[Upload, ...]) -> list[str]:
    return [*(upload.path for upload in uploads), *([recording] if recording else [])]
