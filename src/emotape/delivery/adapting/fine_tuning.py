"""From a fitted head to a network that is tuned to the labels: the last blocks, or adapters on them."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from emotape.audio.waveform import SAMPLE_RATE
from emotape.delivery.adapting.directory import Learned
from emotape.delivery.adapting.heads import Head
from emotape.delivery.adapting.prefix import FrozenPart, Prefix
from emotape.delivery.adapting.tuning import Lesson, TuneOptions, Tuning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform
    from emotape.delivery.adapting.lora import Adapters
    from emotape.delivery.adapting.material import Material
    from emotape.delivery.adapting.options import AdaptOptions, Listener
    from emotape.delivery.adapting.trunk import Trunk
    from emotape.recognizer import Recognizer

_AHEAD: Final = 8  # recordings decoded at a time


def fine_tune(
    material: Material, start: Head, recognizer: Recognizer, asked: AdaptOptions, listener: Listener, folder: Path
) -> tuple[Learned, NDArray[np.float64], bool]:
    """Train the last blocks, or adapters, with the head from where it stands; return also dev's logits [n, C].

    The third value says whether an interruption ended it. Of a recording longer than a window, the first window is
    heard. `folder` is for what is only needed meanwhile.
    """
    from emotape.delivery.adapting.lora import add_adapters
    from emotape.delivery.adapting.trunk import Trunk
    from emotape.model.weights import load

    device = recognizer.plan.devices[0]
    encoder = load(recognizer.model.path).encoder
    first = encoder.dims.blocks - (asked.unfreeze or encoder.dims.blocks)
    prefix = _prefix(material, recognizer, FrozenPart(encoder, first, device), folder / "prefix", listener)
    trunk = Trunk(encoder, first, start)
    trunk.requires_grad_(requires_grad=True)
    adapters = add_adapters(trunk, asked.lora) if asked.lora else None
    options = TuneOptions(asked.epochs, frames=_frames(asked.batch_seconds), rate=asked.rate, seed=asked.seed)
    lesson = Lesson(prefix, material.classes, material.split, len(material.labels))
    notebook = asked.cache / f"{_fingerprint(material, recognizer, asked)}.run"
    tuning = Tuning(trunk, lesson, options, device, notebook)
    course = tuning.run(lambda epoch, loss, recall: listener.say("adapt_epoch", epoch=epoch, loss=loss, recall=recall))
    logits = tuning.logits(material.split.dev.tolist())
    learned = _learned(trunk, adapters, first, {"best_epoch": course.best_epoch, "recalls": course.recalls})
    listener.say("adapt_best", epoch=course.best_epoch, recall=max(course.recalls))
    if not course.interrupted:
        notebook.unlink(missing_ok=True)
    return learned, logits, course.interrupted


def _prefix(material: Material, recognizer: Recognizer, frozen: FrozenPart, path: Path, listener: Listener) -> Prefix:
    prefix = Prefix(path, frozen.width)
    with listener.counting(len(material.samples)) as advance:
        for waveform in _waveforms(material, recognizer):
            prefix.add(frozen.tokens(waveform))
            advance()
    return prefix.sealed()


def _waveforms(material: Material, recognizer: Recognizer) -> Iterator[Waveform]:
    """Decode recordings in order, a few at a time, and cut each to its first window."""
    longest = int(recognizer.options.window.longest * SAMPLE_RATE)
    paths = [sample.path for sample in material.samples]
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="emotape-adapt") as pool:
        for start in range(0, len(paths), _AHEAD):
            for recording in pool.map(recognizer.decode, paths[start : start + _AHEAD]):
                waveform = recording.waveforms[0]
                yield waveform.part(0, min(len(waveform), longest))


def _frames(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE / 320)


def _learned(trunk: Trunk, adapters: Adapters | None, first: int, chosen: dict[str, object]) -> Learned:
    """Take the weights out of a trained trunk."""
    trunk.cpu()
    if adapters:
        adapters.merge()
    blocks = {
        f"blocks.{first + index}.{name}": values.detach()
        for index, block in enumerate(trunk.blocks)
        for name, values in block.named_parameters()
    }
    state = {name: values.detach().numpy() for name, values in trunk.head.named_parameters()}
    hidden = (state["hidden.weight"], state["hidden.bias"]) if "hidden.weight" in state else None
    return Learned(Head(state["weight"], state["bias"], hidden, chosen), blocks)


def _fingerprint(material: Material, recognizer: Recognizer, asked: AdaptOptions) -> str:
    """Return what tells one run from another: its base, its options, and what it learns from."""
    split = set(material.split.dev.tolist())
    data = [
        (str(sample.path), sample.label, place in split, material.embedded[place].vector.tobytes().hex()[:64])
        for place, sample in enumerate(material.samples)
    ]
    options = [asked.head, asked.unfreeze, asked.lora, asked.epochs, asked.rate, asked.batch_seconds, asked.seed]
    return hashlib.sha256(json.dumps([recognizer.digest, options, data]).encode()).hexdigest()[:32]
