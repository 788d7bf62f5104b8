"""One run of `emotape recognize`: clips through the batch, into folders and onto the screen, in order."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from emotape.delivery.batch import Answer, Batch, BatchOptions, Outcome, Recognizing
from emotape.delivery.clock import local_now
from emotape.delivery.export import Contents, document, failure, write_folder
from emotape.delivery.export.folder import EMBEDDING
from emotape.delivery.export.pieces import as_it_is
from emotape.delivery.ledger import Ledger, ledger_key

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.audio.decode import DecodeLimits
    from emotape.delivery.batch import Decoding
    from emotape.delivery.cli.inputs import Clip
    from emotape.delivery.cli.recognize import Request
    from emotape.delivery.cli.screen import Screen
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label


class Resident(Recognizing, Protocol):
    """What a run needs of a recognizer beside its answers."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels of its model."""


@dataclass
class Tally:
    """How many recordings were answered (`resumed` of them by an earlier run) and how many were not."""

    done: int = 0
    failed: int = 0
    resumed: int = 0


@dataclass(frozen=True, eq=False)
class Task:
    """A clip on its way: with its key in the ledger, and with the documents of an earlier run, if any."""

    clip: Clip
    key: str | None = None
    earlier: tuple[dict[str, Any], ...] = ()

    @property
    def source(self) -> Path | BinaryIO | EmotapeError | None:
        """Where the sound is; None when an earlier run has answered."""
        return None if self.earlier else self.clip.source


def answer_all(
    clips: tuple[Clip, ...],
    recognizer: Resident,
    request: Request,
    screen: Screen,
    *,
    limits: DecodeLimits,
    arithmetic: str,
    decode: Decoding | None = None,
) -> Tally:
    """Answer every clip, show each result as it comes and in order, and count.

    `arithmetic` names weights and number format: results of another arithmetic are not taken for these. Without
    `decode`, the batch decodes within `limits` itself.
    """
    tally = Tally()
    desk = _Desk(request, arithmetic)
    options = BatchOptions(limits, request.granularity, request.channels, request.embedding, request.quality)
    with screen.opened(len(clips), recognizer.labels), Batch(recognizer, options, local_now, decode) as batch:
        for outcome in batch.outcomes(map(desk.task, clips)):
            for found in desk.documents(outcome):
                screen.show(found)
            _count(tally, outcome)
            screen.advance()
    screen.summarise(tally.done, tally.failed, tally.resumed)
    return tally


def _count(tally: Tally, outcome: Outcome[Task]) -> None:
    tally.failed += outcome.error is not None
    tally.done += outcome.error is None
    tally.resumed += bool(outcome.question.earlier)


class _Desk:
    """Turns clips into tasks and outcomes into documents, and keeps the output folder and its ledger."""

    def __init__(self, request: Request, arithmetic: str) -> None:
        self._request = request
        self._ledger = Ledger(request.output) if request.output else None
        self._asked = {
            "arithmetic": arithmetic,
            "granularity": request.granularity,
            "channels": request.channels,
            "embedding": request.embedding,
            "quality": request.quality,
            "exports": sorted(request.exports),
            "captions": (request.names or request.language) if request.exports else None,
        }

    def task(self, clip: Clip) -> Task:
        """Look a clip up in the ledger; what is not a readable file has no key and is always answered anew."""
        from pathlib import Path

        if self._ledger is None or not isinstance(clip.source, Path):
            return Task(clip)
        key = ledger_key(clip.source, self._asked)
        earlier = self._ledger.documents(key) if key and self._request.resume else None
        return Task(clip, key, tuple(earlier or ()))

    def documents(self, outcome: Outcome[Task]) -> list[dict[str, Any]]:
        """Return what is to be shown of one outcome, after its folders are written and recorded."""
        name = outcome.question.clip.name
        if outcome.error is not None:
            return [failure(name, outcome.error, self._request.language)]
        if outcome.question.earlier:
            return [{"file": name, **found} for found in outcome.question.earlier]
        facts = [_more(outcome.question.clip, answer) for answer in outcome.answers]
        self._keep(outcome, facts)
        return [
            document(name, answer.prediction, answer.finished, more, self._request.language, array=as_it_is)
            for answer, more in zip(outcome.answers, facts, strict=True)
        ]

    def _keep(self, outcome: Outcome[Task], facts: list[dict[str, Any]]) -> None:
        """Write a folder for every answer, note it among the answer's facts, and record them all."""
        output, task = self._request.output, outcome.question
        if output is None or self._ledger is None:
            return
        folders = []
        for answer, more in zip(outcome.answers, facts, strict=True):
            more.update(_vector_place(answer))
            folders.append(self._write(output, answer, more))
            more["folder"] = str(folders[-1])
        if task.key is not None:
            self._ledger.add(task.key, task.clip.name, folders)

    def _write(self, output: Path, answer: Answer, more: dict[str, Any]) -> Path:
        names = self._request.names or self._request.language
        return write_folder(
            output,
            Contents(answer.prediction, answer.waveform, answer.finished, names, self._request.exports, more),
        )


def _more(clip: Clip, answer: Answer) -> dict[str, Any]:
    """Return what the run knows of an answer beyond the prediction itself."""
    facts: dict[str, Any] = {"source": asdict(answer.source)}
    if clip.key is not None:
        facts["key"] = clip.key
    if answer.channel is not None:
        facts["channel"] = answer.channel
    return facts


def _vector_place(answer: Answer) -> dict[str, Any]:
    """Return where in its folder the embedding of an answer is."""
    vector = answer.prediction.embedding
    return {} if vector is None else {"embedding": {"file": EMBEDDING, "shape": list(vector.shape)}}
