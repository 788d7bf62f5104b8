"""One press of the button: a file becomes a prediction and the files to download."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from emotape.audio.decode import DecodeLimits, Source
    from emotape.audio.waveform import Waveform
    from emotape.engine.result import Granularity, Prediction
    from emotape.wording import Language

DOWNLOADS: Final = ("result.json", "embedding.npy", "frames.csv", "")
"""Files of the result folder that are offered one by one; the empty name is the whole folder, zipped."""


class Recognizes(Protocol):
    """What the page needs of `emotape.Recognizer`."""

    def recognize(self, source: Waveform, *, granularity: Granularity, embedding: bool, quality: bool) -> Prediction:
        """Return the emotions of one waveform."""


@dataclass(frozen=True)
class Desk:
    """Where a page's requests are answered: by what, within which limits, in which language."""

    recognizer: Recognizes
    limits: DecodeLimits
    language: Language


@dataclass(frozen=True)
class Request:
    """What a visitor asked for. `path` is the uploaded file, None before there is one."""

    path: str | None
    granularity: Granularity = "utterance"
    embedding: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """What a visitor gets. `sound` is what the network heard; `files` are to download, by their name in `DOWNLOADS`."""

    prediction: Prediction
    source: Source
    name: str
    sound: Path
    files: dict[str, Path]


def answer(desk: Desk, request: Request, folder: Path) -> Answer:
    """Decode, recognize and write the result folder under `folder`.

    Raises BadRequest ("page_no_audio") without a file, and whatever decoding and recognizing raise.
    """
    from emotape.audio.decode import decode

    if not request.path:
        raise BadRequest("page_no_audio")
    started = time.perf_counter()
    recording = decode(request.path, desk.limits)
    decoding = time.perf_counter() - started
    prediction = desk.recognizer.recognize(
        recording.waveforms[0], granularity=request.granularity, embedding=request.embedding, quality=True
    )
    prediction = replace(
        prediction,
        stages={"decode": decoding, **{k: v for k, v in prediction.stages.items() if k != "decode"}},
        warnings=tuple(dict.fromkeys((*recording.warnings, *prediction.warnings))),
    )
    sound, files = _write(prediction, recording.waveforms[0], folder, desk.language)
    return Answer(prediction, recording.source, Path(request.path).name, sound, files)


def _write(
    prediction: Prediction, waveform: Waveform, folder: Path, language: Language
) -> tuple[Path, dict[str, Path]]:
    """Write the known result folder and a zip of it; return the sound, and the files to offer."""
    from emotape.delivery.export import EXPORTERS, Contents, write_folder

    finished = datetime.now().astimezone()
    exports = tuple(EXPORTERS) if prediction.granularity == "segment" else ()
    written = write_folder(folder, Contents(prediction, waveform, finished, language, exports))
    archive = shutil.make_archive(str(written), "zip", root_dir=folder, base_dir=written.name)
    offered = {name: written / name if name else Path(archive) for name in DOWNLOADS}
    sound = written / "processed_audio.wav"
    return sound, {name: path for name, path in offered.items() if path.exists()}
