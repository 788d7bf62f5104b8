"""One press of the button: several recordings on their way, and how far each is, until all have their answer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.export import failure
from emotape.delivery.page.answer import answered, decoded, shelve
from emotape.delivery.page.bundle import ARCHIVE, TABLE, write_bundle
from emotape.engine.progress import Progress
from emotape.errors import BadRequest, EmotapeError, EngineFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emotape.delivery.page.answer import Desk, Request, Shelved, Upload
    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction
    from emotape.wording import Language

log = logging.getLogger("emotape")

POLL_SECONDS: Final = 0.1
BEAT_SECONDS: Final = 2.0  # a page that hears nothing for longer knows that the connection is gone
TOGETHER: Final = 4  # recordings of one visitor that are under way at a time, so that others come in between


async def run(desk: Desk, request: Request) -> AsyncIterator[dict[str, Any]]:
    """Recognize every upload and yield the state of all, at every change and as a sign of life.

    Whoever stops listening withdraws what is not answered yet. The last state has `done`, and the address of what
    several recordings give together.
    """
    items = [_Item(desk, request, upload) for upload in request.uploads]
    if not items:
        nothing = BadRequest("page_no_audio")
        yield {"files": [], "done": True, "beat": time.monotonic(), "error": error_card(nothing, desk.language)}
        return
    own = asyncio.Semaphore(TOGETHER)
    tasks = [asyncio.create_task(item.work(own)) for item in items]
    try:
        async for state in _states(items, tasks):
            yield state
        yield _state(items) | {"done": True, "beat": time.monotonic(), "downloads": await _together(desk, items)}
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def error_card(error: EmotapeError, language: Language) -> dict[str, str]:
    """Return what a person should know of an error, in the page's language."""
    text = error.text(language)
    return {"code": error.code, "message": text.message, "cause": text.cause, "cure": text.cure}


async def _states(items: list[_Item], tasks: list[asyncio.Task[None]]) -> AsyncIterator[dict[str, Any]]:
    shown: dict[str, Any] = {}
    at = 0.0
    pending = set(tasks)
    while pending:
        state = _state(items)
        if state != shown or time.monotonic() - at > BEAT_SECONDS:
            shown, at = state, time.monotonic()
            yield state | {"done": False, "beat": at}
        _, pending = await asyncio.wait(pending, timeout=POLL_SECONDS)


def _state(items: list[_Item]) -> dict[str, Any]:
    return {"files": [item.state() for item in items]}


class _Item:
    """One upload on its way."""

    def __init__(self, desk: Desk, request: Request, upload: Upload) -> None:
        self._desk, self._request, self.upload = desk, request, upload
        self._stage = "waiting"
        self._pending: Pending[Prediction] | None = None
        self.shelved: Shelved | None = None
        self.error: EmotapeError | None = None

    def state(self) -> dict[str, Any]:
        """Return how far this upload is, or what came of it."""
        if self.error:
            return {"name": self.upload.name, "stage": "failed", "error": error_card(self.error, self._desk.language)}
        if self.shelved:
            return {"name": self.upload.name, "stage": "answered", "view": self.shelved.view, **self._summary()}
        progress = self._progress()
        return {
            "name": self.upload.name,
            "stage": progress.stage if self._pending else self._stage,
            "ahead": round(progress.ahead_seconds, 1),
            "windows": progress.windows,
            "windows_done": progress.windows_done,
        }

    async def work(self, own: asyncio.Semaphore) -> None:
        """Find the answer, or the error, of this upload; cancelling withdraws it."""
        try:
            async with own, self._desk.places:
                self.shelved = await self._answer()
        except EmotapeError as error:
            self.error = error
        except Exception as error:
            log.exception("the page failed")
            self.error = EngineFault("page_failed", kind=type(error).__name__)

    async def _answer(self) -> Shelved:
        desk = self._desk
        self._stage = "decoding"
        recording, decoding = await asyncio.to_thread(decoded, desk, self.upload)
        self._stage = "waiting" if desk.recognizer.is_ready else "loading"
        self._pending = await self._submitted(recording.waveforms[0])
        prediction = await asyncio.wrap_future(self._pending)
        self._pending, self._stage = None, "finishing"
        answer = answered(self.upload, recording, decoding, prediction)
        return await asyncio.to_thread(shelve, desk, answer, desk.shelf.place())

    async def _submitted(self, waveform: Any) -> Pending[Prediction]:
        """Submit in a thread, because that waits for a model that is being loaded."""
        wanted, recognizer = self._request, self._desk.recognizer
        async with self._desk.door:
            thread = asyncio.create_task(
                asyncio.to_thread(
                    recognizer.submit,
                    waveform,
                    granularity=wanted.granularity,
                    embedding=wanted.embedding,
                    quality=True,
                )
            )
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                thread.add_done_callback(_withdraw)
                raise

    def _progress(self) -> Progress:
        return self._pending.progress() if self._pending else Progress("waiting")

    def document(self) -> dict[str, Any]:
        """Return what `--json` would print of this upload, once it has its answer or its error."""
        if self.shelved:
            return self.shelved.document
        error = self.error or EngineFault("page_failed", kind="CancelledError")
        return failure(self.upload.name, error, self._desk.language)

    def _summary(self) -> dict[str, Any]:
        assert self.shelved is not None  # noqa: S101 - only asked of what is answered
        document = self.shelved.document
        return {
            "label": self.shelved.label,
            "confidence": document["confidence"],
            "uncertain": document["details"].get("uncertain"),
            "warnings": [warning["code"] for warning in document["details"]["warnings"]],
        }


def _withdraw(submitted: asyncio.Task[Pending[Prediction]]) -> None:
    if not submitted.cancelled() and submitted.exception() is None:
        submitted.result().cancel()


async def _together(desk: Desk, items: list[_Item]) -> dict[str, str]:
    """Return the addresses of one table and one zip for several recordings; of a single one, nothing."""
    if len(items) == 1 or not any(item.shelved for item in items):
        return {}
    return await asyncio.to_thread(_gather, desk, items, desk.shelf.place())


def _gather(desk: Desk, items: list[_Item], place: str) -> dict[str, str]:
    results = [(item.upload.name, item.shelved.folder) for item in items if item.shelved]
    documents = [item.document() for item in items]
    write_bundle(desk.shelf.folder(place), documents, results)
    return {name: desk.shelf.address(place, name) for name in (TABLE, ARCHIVE)}
