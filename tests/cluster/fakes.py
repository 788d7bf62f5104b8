"""An engine that does what a test says, in the place of Ray's replicas."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emotape.delivery.cluster.messages import Answers, Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emotape.delivery.cluster.messages import Question


@dataclass
class FakeEngines:
    """Answers a question with its content; `acts` are what the first calls do instead, in order.

    An act raises, or returns what is given for each question. `gate` holds calls up until it is set.
    """

    acts: list[Callable[[Sequence[Question]], tuple[Any, ...]]] = field(default_factory=list)
    calls: list[list[Any]] = field(default_factory=list)
    cancelled: int = 0
    gate: asyncio.Event | None = None

    async def __call__(self, model: str, questions: Sequence[Question], /) -> Answers:
        self.calls.append([question.content for question in questions])
        act = self.acts.pop(0) if self.acts else None
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        given: Any = act(questions) if act else tuple((question.content,) for question in questions)
        return Answers(given, Load(f"engine {model}", float(len(questions)), 10.0))
