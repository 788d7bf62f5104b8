"""Claims that are measured in one process, way after way: residence, batches, the cache, and a card's settings."""

from __future__ import annotations

import time
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.delivery.bench import speech
from emotape.delivery.bench.card_reference import CardReference
from emotape.delivery.bench.claim import Measured, in_turns
from emotape.delivery.bench.pairing import Side
from emotape.delivery.bench.peers import recognizer_of
from emotape.delivery.bench.recordings import recording
from emotape.delivery.bench.reference import Reference, relative_error, require
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform
    from emotape.delivery.bench.claim import Figures, Given
    from emotape.recognizer import Recognizer
    from emotape.store.cache.result_cache import ResultCache

Embeddings = list["NDArray[np.float32]"]

_SHARES: Final = (1.0, 0.5, 0.25, 0.75)  # of the longest clip of a batch
_HITS: Final = 20
_RECORDING_SECONDS: Final = 30.0


def resident(given: Given) -> Measured:
    """Load for every request, or once."""
    official = _official(given)
    clip = speech.clip(given.seconds)

    def loaded_anew() -> None:
        with recognizer_of(given.model.directory, "auto", given.threads) as recognizer:
            recognizer.recognize(clip)

    reference = Reference(official, given.threads)
    with recognizer_of(given.model.directory, "auto", given.threads) as recognizer:
        ways: dict[str, Callable[[], object]] = {
            "reference, loaded for every request": lambda: Reference(official, given.threads).hear(clip),
            "reference, resident": lambda: reference.hear(clip),
            "emotape, loaded for every request": loaded_anew,
            "emotape, resident": lambda: recognizer.recognize(clip),
        }
        found = in_turns(_timed(ways), given)
    compared = {f"{who}, resident": f"{who}, loaded for every request" for who in ("reference", "emotape")}
    return Measured("resident", f"the model should stay in memory ({given.seconds:g} s of speech)", found, compared)


def halves_speed(given: Given) -> Measured:
    """Run the reference on the processor as it is and after `.half()`, and emotape in the arithmetic of its plan."""
    import torch

    torch.set_num_threads(given.threads)
    clip = speech.clip(given.seconds)
    as_is, halved = (CardReference(_official(given), "cpu", half=half) for half in (False, True))
    with recognizer_of(given.model.directory, "auto", given.threads) as recognizer:
        ways: dict[str, Callable[[], object]] = {
            "reference": lambda: as_is.hear(clip),
            "reference, .half()": lambda: halved.hear(clip),
            "emotape, as planned": lambda: recognizer.recognize(clip),
        }
        found = in_turns(_timed(ways), given)
    first, *others = ways
    said = f"`.half()` speeds up inference on a processor ({given.seconds:g} s of speech)"
    return Measured("halves-speed", said, found, dict.fromkeys(others, first))


class _BatchReference(CardReference):
    """The reference, asked for several clips."""

    def listed(self, clips: Sequence[Waveform]) -> Embeddings:
        """Give `inference` a list, as its interface suggests."""
        import torch

        with torch.no_grad():
            results, _ = self._model.inference(
                [torch.from_numpy(np.array(clip.samples)) for clip in clips],
                key=[str(number) for number in range(len(clips))],
                tokenizer=self._tokenizer,
                device="cpu",
                granularity="utterance",
                extract_embedding=True,
                data_type="sound",
            )
        return [result["feats"] for result in results]

    def padded(self, clips: Sequence[Waveform], frames: Callable[[int], int]) -> Embeddings:
        """Pad clips to the longest, tell the network what is padding, and average the frames that are not."""
        import torch
        from torch.nn.functional import layer_norm

        lengths = [len(clip) for clip in clips]
        batch, padding = torch.zeros(len(clips), max(lengths)), torch.ones(len(clips), max(lengths), dtype=torch.bool)
        for row, clip in enumerate(clips):
            samples = torch.from_numpy(np.array(clip.samples))
            batch[row, : len(clip)] = layer_norm(samples, samples.shape)
            padding[row, : len(clip)] = False
        with torch.no_grad():
            vectors = self._model.extract_features(batch, padding_mask=padding)["x"]
        return [vectors[row, : frames(length)].mean(0).numpy() for row, length in enumerate(lengths)]


def batches(given: Given) -> Measured:
    """Give four clips of different lengths one by one, as a list, padded, and on a tape; all in fp32."""
    from emotape.engine.runner import Clip, TorchRunner
    from emotape.model.weights import load

    reference = _BatchReference(_official(given), "cpu", half=False)
    runner = TorchRunner(load(given.model.directory), "cpu", "float32", threads=given.threads)
    clips = [speech.clip(given.seconds * share, number) for number, share in enumerate(_SHARES)]
    wanted = [reference.hear(clip).embedding for clip in clips]

    def on_tapes(tapes: Sequence[Sequence[Waveform]]) -> Embeddings:
        return [scores.embedding for tape in tapes for scores in runner.run([Clip(clip) for clip in tape])]

    ways: dict[str, Callable[[], Embeddings]] = {
        "reference, one by one": lambda: [reference.hear(clip).embedding for clip in clips],
        "reference, as a list": lambda: reference.listed(clips),
        "reference, padded": lambda: reference.padded(clips, runner.dims.frames),
        "emotape, one by one": lambda: on_tapes([[clip] for clip in clips]),
        "emotape, one tape": lambda: on_tapes([clips]),
    }

    def measured(way: Callable[[], Embeddings]) -> Figures:
        began = time.perf_counter()
        found = way()
        taken = 1000 * (time.perf_counter() - began)
        return {"ms": taken, "error": max(relative_error(mine, one) for mine, one in zip(found, wanted, strict=True))}

    sides = [Side(name, lambda _, way=way: measured(way)) for name, way in ways.items()]  # type: ignore[misc]
    compared = {
        "reference, as a list": "reference, one by one",
        "reference, padded": "reference, one by one",
        "emotape, one by one": "reference, one by one",
        "emotape, one tape": "emotape, one by one",
    }
    lengths = ", ".join(f"{clip.seconds:.3g}" for clip in clips)
    said = f"small batches are faster (clips of {lengths} s, fp32; error of the worst clip's embedding)"
    return Measured("batches", said, in_turns(sides, given), compared)


def cache(given: Given) -> Measured:
    """Ask for the same mp3 again, without a cache, with one in memory, and with Redis alone."""
    from emotape.store.cache.memory import MemoryCache
    from emotape.store.cache.redis import RedisCache

    data = recording("mp3", _RECORDING_SECONDS)
    caches: dict[str, ResultCache | None] = {"no cache": None, "memory": MemoryCache()}
    if given.redis is not None:
        caches["Redis"] = RedisCache(given.redis)
    with ExitStack() as stack:
        ways: dict[str, Callable[[], object]] = {}
        for name, kept in caches.items():
            if kept is not None:
                stack.callback(kept.close)
            recognizer = stack.enter_context(_remembering(given, kept))
            ways[name] = lambda recognizer=recognizer: recognizer.recognize(data)  # type: ignore[misc]
        sides = [
            Side(name, lambda _, way=way, times=1 if name == "no cache" else _HITS: {"ms": _typical(way, times)})  # type: ignore[misc]
            for name, way in ways.items()
        ]
        found = in_turns(sides, given)
    notes = () if given.redis else ("Redis was left out: name one with --redis",)
    said = f"results belong in a cache ({_RECORDING_SECONDS:g} s of mp3, asked for again)"
    return Measured("cache", said, found, {name: "no cache" for name in caches if name != "no cache"}, notes=notes)


def _remembering(given: Given, kept: ResultCache | None) -> Recognizer:
    from emotape.engine.resident import EngineOptions
    from emotape.recognizer import Recognizer, RecognizerOptions

    engine = EngineOptions(device="cpu", compute_threads=given.threads)
    return Recognizer(given.model.directory, options=RecognizerOptions(engine=engine), cache=kept)


def card(given: Given) -> Measured:
    """Run the reference on a card as it is, tuning by cudnn, and emptying the allocator's cache after every clip.

    Raises BadRequest `bench_no_card`.
    """
    import torch

    device = given.device or ("cuda" if torch.cuda.is_available() else None)
    if device is None:
        raise BadRequest("bench_no_card")
    reference = CardReference(_official(given), device, half=False)
    lengths = np.random.default_rng(7).uniform(1.0, max(2.0, 2 * given.seconds), (given.runs, len(_SHARES)))

    def run(number: int, *, tuned: bool, emptied: bool) -> Figures:
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, tuned
        try:
            began = time.perf_counter()
            for seconds in lengths[number]:
                reference.hear(speech.clip(seconds, number))
                if emptied:
                    torch.cuda.empty_cache()
            return {"ms": 1000 * (time.perf_counter() - began)}
        finally:
            torch.backends.cudnn.benchmark = before

    sides = [
        Side("neither", lambda number: run(number, tuned=False, emptied=False)),
        Side("cudnn.benchmark", lambda number: run(number, tuned=True, emptied=False)),
        Side("empty_cache() after every clip", lambda number: run(number, tuned=False, emptied=True)),
    ]
    first, *others = (side.name for side in sides)
    said = f"cudnn.benchmark and empty_cache() speed up a card ({device}; clips of ever new lengths)"
    return Measured("card", said, in_turns(sides, given), dict.fromkeys(others, first))


def _timed(ways: dict[str, Callable[[], object]]) -> list[Side[Figures]]:
    return [Side(name, lambda _, way=way: {"ms": _typical(way, 1)}) for name, way in ways.items()]  # type: ignore[misc]


def _typical(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def _official(given: Given) -> Path:
    require("funasr")
    official: Any = given.model.official
    assert official is not None  # noqa: S101 - the subject was made with it
    found: Path = official
    return found
