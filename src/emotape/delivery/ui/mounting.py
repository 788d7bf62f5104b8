"""The page in both languages as a part of an application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import gradio as gr
from gradio.utils import get_upload_folder

from emotape.delivery.page.answer import AT_ONCE, Desk
from emotape.delivery.page.monitor import Monitor
from emotape.delivery.page.routes import router, styles
from emotape.delivery.page.shelf import Shelf
from emotape.delivery.ui.blocks import build
from emotape.delivery.ui.framework import framework_words
from emotape.delivery.ui.inputs import samples_folder
from emotape.delivery.ui.theme import theme
from emotape.delivery.ui.uploads import keep_whole_uploads_alone

if TYPE_CHECKING:
    from fastapi import FastAPI

    from emotape.audio.decode import DecodeLimits
    from emotape.delivery.page.answer import Recognizes
    from emotape.delivery.page.monitor import Watches

LANGUAGES: Final = ("zh", "en")
_QUEUE_SECONDS: Final = 0.05  # between looks into a page's queue; Gradio looks a thousand times a second by itself
_PROGRESS_SECONDS: Final = 60.0  # between looks for progress that `gr.Progress` told, which no handler of ours uses


@dataclass(frozen=True)
class PageOptions:
    """What the page says about its model, what it accepts and what it keeps.

    Uploads and results are deleted after `keep_seconds`, at the latest when the server stops; 0 keeps them until then.
    """

    experimental: bool
    limits: DecodeLimits
    keep_seconds: float = 3600.0


def mount(app: FastAPI, recognizer: Recognizes, options: PageOptions, watches: Watches | None = None) -> None:
    """Put the page at /zh and at /en of `app`, and what it fetches below /page.

    The recognizer may still be loading its model: the page says so, and requests wait. With `watches` there is a tab
    that shows them. Uploads and results lie in the folder named by GRADIO_TEMP_DIR, which the caller makes and removes.
    """
    keep_whole_uploads_alone()
    shelf = Shelf(Path(get_upload_folder()) / "results", options.keep_seconds)
    app.include_router(router(recognizer, shelf, Monitor(watches) if watches else None))
    # Outside a running event loop, Gradio makes one for every page and leaves it open.
    asyncio.run(_mount_pages(app, recognizer, shelf, options, watched=watches is not None))


async def _mount_pages(
    app: FastAPI, recognizer: Recognizes, shelf: Shelf, options: PageOptions, *, watched: bool
) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    for language in LANGUAGES:
        desk = Desk(recognizer, language, shelf, places)
        page = build(desk, options.keep_seconds, experimental=options.experimental, watched=watched)
        gr.mount_gradio_app(
            app,
            page,
            path=f"/{language}",
            allowed_paths=[str(samples_folder())],
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            show_error=False,
            max_file_size=options.limits.bytes,
            enable_monitoring=False,
            theme=theme(),
            css_paths=styles(),
            i18n=framework_words(language),
        )
        # Mounted pages lack this mark, and without it Gradio accepts any path on this machine as an "upload".
        page.has_launched = True
        queue = page._queue  # noqa: SLF001 - there is no other way to say it
        queue.sleep_when_free, queue.progress_update_sleep_when_free = _QUEUE_SECONDS, _PROGRESS_SECONDS
