"""How far a run over recordings is, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[int, int], None]
"""Called with how many are done and how many there are."""
Counting = Callable[[int], AbstractContextManager[Callable[[], None]]]
"""Lends, for so many recordings, what counts one."""


def counting(progress: Progress | None) -> Counting:
    """Return what tells `progress` of every recording that is done; None: nobody hears of it."""

    @contextmanager
    def lend(total: int) -> Iterator[Callable[[], None]]:
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        yield advance

    return lend
