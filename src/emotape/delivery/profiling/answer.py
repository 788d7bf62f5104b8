"""One answer, stage after stage, each done by the product's own functions. Importing this imports all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import soundfile  # noqa: F401 - the output needs it, and its import is no part of a stage

from emotape.audio.decode import opened
from emotape.delivery.clock import local_now
from emotape.delivery.export import Contents, write_folder
from emotape.engine.prediction import listen_to, predict
from emotape.engine.resident import Resident
from emotape.engine.runner import Clip
from emotape.events import fan_out
from emotape.recognizer import Recognizer
from emotape.settings import recognizer_options
from emotape.store.catalogue import ModelEntry, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from emotape.audio.decode import Recording
    from emotape.delivery.profiling.stopwatch import Stopwatch
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import Wanted
    from emotape.events import Observer
    from emotape.recognizer import RecognizerOptions
    from emotape.settings import Settings


@dataclass(frozen=True, eq=False)
class Bench:
    """What answers need: a loaded model, the options of every stage, and a folder for results."""

    entry: ModelEntry
    resident: Resident
    options: RecognizerOptions
    output: Path


def load(settings: Settings, output: Path, observers: tuple[Observer, ...]) -> Bench:
    """Load the model that the settings name. Raises ModelFault, EngineFault and BadRequest."""
    options = recognizer_options(settings)
    entry = resolve(settings.model, options.models_folder)
    resident = Resident(entry.path, entry.name, options.engine, fan_out(*observers))
    return Bench(entry, resident, options, output)


def answer(bench: Bench, file: Path, wanted: Wanted, watch: Stopwatch) -> Prediction:
    """Answer one recording, its channels mixed, and write its result folder; every stage ends a lap.

    Decoding and resampling take turns, block by block, as they do in `emotape.audio.decode.decode`. Raises what
    `Recognizer.recognize` raises, and BadRequest ("output_unwritable").
    """
    recording = _decoded(bench, file, watch)
    waveform = recording.waveforms[0]
    heard = listen_to(waveform, recording.warnings, wanted, bench.options.window, {})
    watch.lap("window")
    clips = [Clip(waveform.part(span.start, span.stop), wanted.frame_embeddings) for span in heard.spans]
    scores = bench.resident.submit(clips, None).result().scores
    watch.lap("inference")
    provenance = bench.resident.provenance(waveform, experimental=bench.entry.experimental)
    prediction = predict(heard, scores, bench.resident.classes, wanted, provenance, bench.options.segment)
    watch.lap("prediction")
    write_folder(bench.output, Contents(prediction, waveform, local_now()))
    watch.lap("output")
    return prediction


def _decoded(bench: Bench, file: Path, watch: Stopwatch) -> Recording:
    with opened(file, bench.options.decode, "mix") as recording:
        watch.lap("validate")
        for samples, rate in _timed(iter(recording.frames), watch):
            recording.mixer.add(samples, rate)
            watch.lap("resample")
        decoded = recording.finished()
        watch.lap("resample")
    return decoded


def _timed(blocks: Iterator[tuple[NDArray[Any], int]], watch: Stopwatch) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield blocks; what it took to get each of them, and to find the end, is decoding."""
    for block in blocks:
        watch.lap("decode")
        yield block
    watch.lap("decode")


def recognizer_of(settings: Settings) -> Recognizer:
    """Return what the stages are compared with: a recognizer of the same model with the same options."""
    return Recognizer(settings.model, options=recognizer_options(settings))
