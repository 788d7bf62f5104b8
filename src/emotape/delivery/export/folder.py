"""The known result folder: `outputs_YYYYMMDD_HHMMSS/` with the sound, the result and what else was asked for."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from emotape.audio.waveform import SAMPLE_RATE
from emotape.delivery.export.document import details, result
from emotape.delivery.export.segments import EXPORTERS
from emotape.delivery.export.tables import frames_csv
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.engine.result import Prediction
    from emotape.wording import Language

PREFIX: Final = "outputs_"
RESULT: Final = "result.json"
DETAILS: Final = "details.json"
SOUND: Final = "processed_audio.wav"
EMBEDDING: Final = "embedding.npy"
FRAMES: Final = "frames.csv"
_BLOCK: Final = 2**20  # samples that are converted at once


@dataclass(frozen=True, eq=False)
class Contents:
    """What goes into one result folder.

    `more` joins `details.json`; `exports` are names of `EXPORTERS`; `language` words the captions and warnings.
    """

    prediction: Prediction
    waveform: Waveform
    finished: datetime
    language: Language = "en"
    exports: tuple[str, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


def write_folder(output: Path, contents: Contents) -> Path:
    """Write a new folder under `output` and return it; `result.json` comes last, so its presence means complete.

    Raises BadRequest ("output_unwritable") when the folder or a file in it cannot be written.
    """
    try:
        folder = _new_folder(output, contents.finished)
        _fill(folder, contents)
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(output), reason=error.strerror or str(error)) from error
    return folder


def _new_folder(output: Path, finished: datetime) -> Path:
    """Make a folder that nobody else has: `mkdir` itself decides between runs that share a second."""
    output.mkdir(parents=True, exist_ok=True)
    name = PREFIX + finished.strftime("%Y%m%d_%H%M%S")
    for number in count(1):
        folder = output / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("counting never ends")


def _fill(folder: Path, contents: Contents) -> None:
    prediction = contents.prediction
    _write_sound(folder / SOUND, contents.waveform)
    if prediction.embedding is not None:
        _write_embedding(folder / EMBEDDING, prediction)
    if prediction.frames is not None and prediction.granularity != "utterance":
        _write_text(folder / FRAMES, frames_csv(prediction))
    for name in contents.exports:
        file, export = EXPORTERS[name]
        _write_text(folder / file, export(prediction, contents.language))
    facts = details(prediction, contents.language, vectors=False) | contents.more
    _write_text(folder / DETAILS, _pretty(facts))
    partial = folder / f"{RESULT}.partial"
    _write_text(partial, _pretty(result(prediction, contents.finished)))
    partial.replace(folder / RESULT)


def _write_sound(path: Path, waveform: Waveform) -> None:
    """Write 16-bit PCM; samples beyond full scale are clipped, as any 16-bit file would.

    The bytes are libsndfile's, which goes by way of 32 bits. It is not used itself: its calls back into Python print
    what the system refuses, such as on a full disk.
    """
    import numpy as np

    with path.open("wb") as file, wave.open(file, "wb") as sound:
        sound.setparams((1, 2, SAMPLE_RATE, waveform.samples.size, "NONE", ""))
        for start in range(0, waveform.samples.size, _BLOCK):
            wide = np.rint(waveform.samples[start : start + _BLOCK] * np.float32(2**31))
            sound.writeframesraw(np.floor(wide / 2**16).clip(-(2**15), 2**15 - 1).astype(np.int16).tobytes())


def _write_embedding(path: Path, prediction: Prediction) -> None:
    import numpy as np

    np.save(path, np.asarray(prediction.embedding, dtype=np.float32), allow_pickle=False)


def _pretty(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
