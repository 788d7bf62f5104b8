"""The program of a process that decodes for another: requests come in by a pipe, waveforms go back by a second one.

`emotape.audio.processes` starts it and holds the other ends. It imports neither torch nor anything above this layer.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, BinaryIO, Final

from emotape.audio.decode import ChannelMode, DecodeLimits, Recording, decode
from emotape.errors import EmotapeError, as_fault

if TYPE_CHECKING:
    from emotape.audio.decode import AudioSource

READY: Final = "ready"
"""What a worker sends first, once it has imported what it needs."""

Request = tuple["AudioSource", DecodeLimits, ChannelMode]
Answer = Recording | EmotapeError


def main() -> None:
    """Decode until the other end of the pipe is closed, be it because its process was killed."""
    for sent_to_all in (signal.SIGINT, signal.SIGTERM):  # a whole service is told to end: what is admitted is finished
        signal.signal(sent_to_all, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    serve(sys.stdin.buffer, answers)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one request after the other until there is nobody to ask or to answer."""
    try:
        _send(READY, answers)
        while True:
            _send(_answer(pickle.load(requests)), answers)  # noqa: S301 - from the process that started this one
    except (EOFError, BrokenPipeError):
        return


def _answer(request: Request) -> Answer:
    try:
        return decode(*request)
    except Exception as error:  # noqa: BLE001 - whatever one recording does, the worker stays for the next
        return as_fault(error)


def _send(answer: object, answers: BinaryIO) -> None:
    pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
    answers.flush()
