"""One recording: a file becomes a prediction, and what a visitor sees, hears and downloads of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from emotape.delivery.clock import local_now
from emotape.delivery.page.view import view
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from emotape.audio.decode import Recording, Source
    from emotape.audio.waveform import Waveform
    from emotape.delivery.page.shelf import Shelf
    from emotape.engine.progress import Pending
    from emotape.engine.result import Granularity, Prediction
    from emotape.wording import Language

DOWNLOADS: Final = ("result.json", "frames.csv", "segments.csv", "segments.srt", "embedding.npy")
"""Files of the result folder that are offered one by one, beside the whole folder as a zip."""
AT_ONCE: Final = 16  # recordings of all visitors that are in memory at a time


class Recognizes(Protocol):
    """What the page needs of `emotape.Recognizer`."""

    @property
    def is_ready(self) -> bool:
        """Tell whether the model is loaded and warm."""

    def decode(self, source: str, /) -> Recording:
        """Return the recording in a file. Raises BadAudio or TooLong."""

    def submit(
        self, source: Waveform, *, granularity: Granularity, embedding: bool, quality: bool
    ) -> Pending[Prediction]:
        """Return the future emotions of one waveform; waits until the model is loaded."""


@dataclass(frozen=True)
class Desk:
    """Where a page's requests are answered: by what, in which language, kept where."""

    recognizer: Recognizes
    language: Language
    shelf: Shelf
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    door: asyncio.Lock = field(default_factory=asyncio.Lock)  # one thread, not many, waits for a model that loads


@dataclass(frozen=True)
class Upload:
    """A file that a visitor gave: where it lies, and what they call it."""

    path: str
    name: str


@dataclass(frozen=True)
class Request:
    """What a visitor asked for."""

    uploads: tuple[Upload, ...]
    granularity: Granularity = "utterance"
    embedding: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """What was recognized of an upload, with the time that decoding took here."""

    prediction: Prediction
    waveform: Waveform
    source: Source
    name: str
    finished: datetime


@dataclass(frozen=True)
class Shelved:
    """What remains of an answer once it is written: where its view is, and what a list of answers shows."""

    view: str
    folder: Path
    label: dict[str, str] | None
    document: dict[str, Any]


def decoded(desk: Desk, upload: Upload) -> tuple[Recording, float]:
    """Return the recording and the seconds that decoding took. Raises BadAudio, TooLong or BadRequest."""
    started = time.perf_counter()
    try:
        recording = desk.recognizer.decode(upload.path)
    except EmotapeError as error:
        if error.code != "no_such_file":
            raise
        raise BadRequest("page_upload_gone") from error  # its visitor knows no path, and cannot put it back there
    return recording, time.perf_counter() - started


def answered(upload: Upload, recording: Recording, decoding: float, prediction: Prediction) -> Answer:
    """Join what decoding and recognizing say of a recording."""
    whole = replace(
        prediction,
        stages={"decode": decoding, **{k: v for k, v in prediction.stages.items() if k != "decode"}},
        warnings=tuple(dict.fromkeys((*recording.warnings, *prediction.warnings))),
    )
    return Answer(whole, recording.waveforms[0], recording.source, upload.name, local_now())


def shelve(desk: Desk, answer: Answer, place: str) -> Shelved:
    """Write the known result folder, a zip of it and what the page shows into a place of the shelf.

    Raises BadRequest ("output_unwritable") when the disk is full.
    """
    from emotape.delivery.export import EXPORTERS, Contents, document, write_folder

    prediction, shelf = answer.prediction, desk.shelf
    exports = tuple(EXPORTERS) if prediction.granularity == "segment" else ()
    contents = Contents(prediction, answer.waveform, answer.finished, desk.language, exports)
    folder = write_folder(shelf.folder(place), contents)
    shutil.make_archive(str(folder), "zip", root_dir=folder.parent, base_dir=folder.name)
    offered = [*(name for name in DOWNLOADS if (folder / name).exists()), f"{folder.name}.zip"]
    links = {name: shelf.address(place, name) for name in offered}
    shown = view(answer, shelf.address(place, "processed_audio.wav"), links)
    sheet = shelf.folder(place) / "view.json"
    sheet.write_text(json.dumps(shown, ensure_ascii=False, allow_nan=False), encoding="utf-8", errors="replace")
    facts = document(answer.name, replace(prediction, frames=None, embedding=None), answer.finished, {}, desk.language)
    label = next((label for label in shown["labels"] if label["key"] == shown["emotion"]), None)
    return Shelved(shelf.address(place, "view.json"), folder, label, facts)
