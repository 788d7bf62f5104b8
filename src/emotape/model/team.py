"""Threads that share the work on a tape.

Libraries divide every product among threads and let all of them wait at its end. A tape has thousands of products, many
of a tenth of a millisecond: then threads either wait awake, and take the cores from whoever could use them, or asleep,
and half of their time goes into waking up. Here each thread multiplies alone, a piece of rows or a head at a time, and
takes the next as soon as it is through. One that another program delays leaves its share to the others.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, TypeVar, cast

import torch

from emotape.model.dims import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Part = TypeVar("Part")
Result = TypeVar("Result")


class Team:
    """So many threads for each tape, the caller's among them, where `lanes` tapes may run at once; for inference."""

    def __init__(self, threads: int = 1, lanes: int = 1) -> None:
        self.threads = threads
        self._others = (
            ThreadPoolExecutor(lanes * (threads - 1), "emotape-team", initializer=multiply_alone)
            if threads > 1
            else None
        )

    def share(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
        """Return what `function` makes of each part, in order. What it raises ends the work on the other parts."""
        left = deque(enumerate(parts))
        if self._others is None or len(left) < 2:
            return [function(part) for _, part in left]
        found: list[Result | None] = [None] * len(left)

        def work() -> None:
            with torch.inference_mode():
                while left:
                    try:
                        place, part = left.popleft()
                    except IndexError:  # another one was faster
                        return
                    found[place] = function(part)

        helpers = [self._others.submit(work) for _ in range(min(self.threads, len(left)) - 1)]
        try:
            work()
        finally:
            left.clear()
            helpers = [helper for helper in helpers if not helper.cancel()]  # who did not begin need not
            wait(helpers)
        for helper in helpers:
            helper.result()
        return cast("list[Result]", found)


def multiply_alone() -> None:
    """Keep torch's products in the calling thread to that thread from now on; for threads of emotape's own."""
    torch.set_num_threads(1)


@contextmanager
def multiplying_alone() -> Iterator[None]:
    """Keep torch's products in the calling thread to that thread for a while; it may be a caller's own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sparing(parameters: int) -> AbstractContextManager[None]:
    """Multiply in the calling thread alone for a while, unless a network of so many parameters is worth more.

    Products of a small one are shorter than the way to another thread; beside a busy neighbour, waiting for that takes
    several times as long as multiplying.
    """
    return nullcontext() if parameters >= LARGE else multiplying_alone()


ALONE: Final = Team()
"""The caller's thread and no other, with as many threads in each product as torch has been told."""
