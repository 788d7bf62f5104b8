"""A recognizer at the runner's seam: it answers when the test says so, and refuses when the test says so."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import numpy as np

from emotape.audio.waveform import Waveform
from emotape.engine.progress import Pending, Progress
from tests.page.fake import prediction

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.engine.result import Prediction
    from emotape.engine.wanted import RequestOptions

Answer = TypeVar("Answer")
SECOND = Waveform(np.full(16_000, 0.1, np.float32))


@dataclass
class FakeRecognizer:
    """Holds what was submitted until `answer` is called; `prompt` answers at once. `refusals` are raised first."""

    prompt: bool = True
    refusals: list[Exception] = field(default_factory=list)
    failures: dict[bytes, list[Exception]] = field(default_factory=dict)
    heard: list[bytes] = field(default_factory=list)
    most: int = 0
    waiting: list[tuple[bytes, Pending[Any], Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def submit(self, source: Path, /, **_: Unpack[RequestOptions]) -> Pending[Prediction]:
        return self._take(source, prediction(SECOND))

    def submit_channels(self, source: Path, /, **_: Unpack[RequestOptions]) -> Pending[tuple[Prediction, ...]]:
        return self._take(source, (prediction(SECOND), prediction(SECOND)))

    def _take(self, source: Path, value: Answer) -> Pending[Answer]:
        with self.changed:
            if self.refusals:
                raise self.refusals.pop(0)
            content = source.read_bytes()
            self.heard.append(content)
            pending: Pending[Answer] = Pending()
            pending.follow(lambda: Progress("running", 0.0, 3, 1))
            self.waiting.append((content, pending, value))
            self.most = max(self.most, sum(not other.done() for _, other, _ in self.waiting))
            self.changed.notify_all()
        if self.prompt:
            self.answer(content)
        return pending

    def answer(self, content: bytes) -> None:
        """Answer a recording: with its failure if one is planned."""
        with self.changed:
            index = next(place for place, taken in enumerate(self.waiting) if taken[0] == content)
            _, pending, value = self.waiting.pop(index)
        planned = self.failures.get(content, [])
        if not pending.set_running_or_notify_cancel():
            return
        if planned:
            pending.set_exception(planned.pop(0))
        else:
            pending.set_result(value)

    def await_waiting(self, count: int) -> list[bytes]:
        """Return what waits for an answer, once that is `count` recordings."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.waiting) >= count, 60)
            return [content for content, *_ in self.waiting]
