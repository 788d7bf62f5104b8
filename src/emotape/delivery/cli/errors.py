"""Errors at the edge: told once, in the user's language, and turned into an exit code."""

from __future__ import annotations

import errno
import sys
from enum import IntEnum
from typing import TYPE_CHECKING

from emotape.errors import BadRequest, EmotapeError
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language


class ExitCode(IntEnum):
    """How a run went, for scripts."""

    FINE = 0
    SOME_FAILED = 1  # some recordings could not be answered; the others were
    USAGE = 2  # the options, the settings or a manifest make no sense; nothing was done
    ALL_FAILED = 3  # not one recording was answered, or there was no model to answer with
    UNFORESEEN = 70  # a fault of emotape's own (EX_SOFTWARE)
    INTERRUPTED = 130  # Ctrl-C; what was finished is kept


def exit_code_of(error: EmotapeError) -> ExitCode:
    """Return the exit code of a run that `error` ended."""
    if error.code == "unexpected":
        return ExitCode.UNFORESEEN
    return ExitCode.USAGE if isinstance(error, BadRequest) else ExitCode.ALL_FAILED


def outcome_code(done: int, failed: int) -> ExitCode:
    """Return the exit code of a run over many recordings."""
    if not failed:
        return ExitCode.FINE
    return ExitCode.SOME_FAILED if done else ExitCode.ALL_FAILED


def error_lines(error: EmotapeError, language: Language, place: str = "") -> str:
    """Return message, cause and cure on lines of their own; `place` says which recording it is about."""
    text = error.text(language)
    head = f"{place}: {text.message}" if place else f"{interface_text('error', language)}: {text.message}"
    return (
        f"{head} [{error.code}]\n"
        f"  {interface_text('error_cause', language)}: {text.cause}\n"
        f"  {interface_text('error_cure', language)}: {text.cure}"
    )


def report(error: EmotapeError, language: Language) -> None:
    """Tell an error on standard error."""
    lines = error_lines(error, language) + "\n"
    sys.stderr.write(lines.encode("utf-8", "backslashreplace").decode("utf-8"))
    sys.stderr.flush()


def reader_left(error: BaseException) -> bool:
    """Return whether standard output's reader closed it, as `| head` does."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE
