"""Recordings become embeddings: those that are kept already at once, the others through the recognizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emotape.delivery.adapting.shelf import Embedded, audio_digest
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emotape.delivery.adapting.manifest import Sample
    from emotape.delivery.adapting.shelf import Shelf
    from emotape.recognizer import Recognizer

TOLERATED: Final = 0.1  # share of the recordings that may be unreadable; more is a fault of the manifest
_LISTED: Final = 5


def embed(
    samples: Sequence[Sample], recognizer: Recognizer, shelf: Shelf, advance: Callable[[], None]
) -> list[Embedded | EmotapeError]:
    """Return the embedding of every sample, or why there is none, in order. `advance` is called after each."""
    digests = [audio_digest(sample.path) for sample in samples]
    found: list[Embedded | EmotapeError | None] = [shelf.find(digest) if digest else None for digest in digests]
    for embedded in found:
        if embedded is not None:
            advance()
    missing = [place for place, embedded in enumerate(found) if embedded is None]
    answers = recognizer.recognize_many((samples[place].path for place in missing), embedding=True)
    for place, (_, answer) in zip(missing, answers, strict=True):
        if isinstance(answer, EmotapeError):
            found[place] = answer
        else:
            assert answer.embedding is not None  # noqa: S101 - it was asked for
            found[place] = embedded = Embedded(answer.embedding, answer.seconds)
            if digest := digests[place]:
                shelf.keep(digest, embedded)
        advance()
    return [embedded for embedded in found if embedded is not None]


def unreadable(samples: Sequence[Sample], found: Sequence[Embedded | EmotapeError]) -> Mapping[Sample, EmotapeError]:
    """Return the recordings without an embedding, and why.

    Raises BadRequest "adapt_unreadable" when they are more than the share that is tolerated.
    """
    failed = {sample: error for sample, error in zip(samples, found, strict=True) if isinstance(error, EmotapeError)}
    if len(failed) > TOLERATED * len(samples):
        first = "; ".join(f"{sample.file} [{error.code}]" for sample, error in list(failed.items())[:_LISTED])
        raise BadRequest("adapt_unreadable", count=len(failed), all=len(samples), share=f"{TOLERATED:.0%}", first=first)
    return failed
