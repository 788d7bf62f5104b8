"""Frames that follow one another on a terminal until q or Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from emotape.delivery.top.frame import frame
from emotape.errors import EmotapeError
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from emotape.delivery.top.server import Server
    from emotape.wording import Language

EVERY: Final = 1.0
"""Seconds from one frame to the next."""


def follow(server: Server, console: Console, language: Language) -> None:
    """Show frames until q is pressed. A server that goes away is told in the frame, and asked again.

    Raises what `Server.look` raises at the first look.
    """
    seen, fault = server.look(), None
    hint = Text(interface_text("top_leave", language), style="dim")
    with Live(console=console, screen=True, auto_refresh=False) as live, keyboard() as key:
        while True:
            live.update(Group(frame(seen, console, language, fault), hint), refresh=True)
            if key(EVERY) in ("q", "Q"):
                return
            seen, fault = _next(server, seen)


def _next(server: Server, seen: dict[str, Any]) -> tuple[dict[str, Any], EmotapeError | None]:
    try:
        return server.look(), None
    except EmotapeError as error:
        return seen, error


@contextmanager
def keyboard() -> Iterator[Callable[[float], str]]:
    """Yield what waits so many seconds for a key and returns it, or "" if none came. Keys come without Enter.

    Where there is no terminal, or none whose keys can be had, it only waits.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield _wait
        return
    if not sys.stdin.isatty():
        yield _wait
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda seconds: _key(terminal, seconds)
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _wait(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _key(terminal: int, seconds: float) -> str:
    import select

    if not select.select([terminal], [], [], seconds)[0]:
        return ""
    try:
        pressed = os.read(terminal, 1)
    except OSError:
        pressed = b""
    return pressed.decode("ascii", "replace") if pressed else "q"  # nobody is there any more
