"""Errors at the edge: told once, in the user's language, and turned into an exit code."""

from __future__ import annotations

import errno
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from emotape.errors import BadRequest, EmotapeError, unforeseen
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ExitCode(IntEnum):
    """How a run went, for scripts."""

    FINE = 0
    SOME_FAILED = 1  # some recordings could not be answered; the others were
    USAGE = 2  # the options, the settings or a manifest make no sense; nothing was done
    ALL_FAILED = 3  # not one recording was answered, or there was no model to answer with
    UNFORESEEN = 70  # a fault of emotape's own (EX_SOFTWARE)
    INTERRUPTED = 130  # Ctrl-C; what was finished is kept


def fault_of(error: Exception) -> EmotapeError:
    """Return what is said of an exception that nothing below foresaw; a full disk is no fault of emotape's."""
    if isinstance(error, OSError) and error.errno in _FULL:
        path = os.fsdecode(error.filename) if error.filename else "-"
        return BadRequest("output_unwritable", path=path, reason=error.strerror or str(error))
    return unforeseen(error)


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
    colon = "：" if language == "zh" else ": "
    return (
        f"{place or interface_text('error', language)}{colon}{text.message} [{error.code}]\n"
        f"  {interface_text('error_cause', language)}{colon}{text.cause}\n"
        f"  {interface_text('error_cure', language)}{colon}{text.cure}"
    )


def report(error: EmotapeError, language: Language) -> None:
    """Tell an error on standard error."""
    lines = error_lines(error, language) + "\n"
    sys.stderr.write(lines.encode("utf-8", "backslashreplace").decode("utf-8"))
    sys.stderr.flush()


def reader_left(error: BaseException) -> bool:
    """Return whether standard output's reader closed it, as `| head` does."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE
