"""What the processes of `claims_processes.py` do: roles for `child.py`, which imports this before anything heavy."""

from __future__ import annotations

import gc
import os
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from emotape.delivery.bench import memory

if TYPE_CHECKING:
    from collections.abc import Callable

Facts = dict[str, Any]

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PLANNED = "the plan"
_LONG_ENOUGH = 500.0  # milliseconds


def decoding(asked: Facts) -> Facts:
    """Decode a recording several times by emotape and by librosa, under the variables as they are asked for."""
    _set_variables(asked["variables"])
    from pathlib import Path

    from emotape.delivery.bench.decode import by_emotape, by_librosa
    from emotape.delivery.bench.reference import installed, quiet

    path = Path(asked["recording"])
    ways = {"emotape ms": by_emotape, **({"librosa ms": by_librosa} if installed("librosa") else {})}
    with quiet():
        return {name: _typical(lambda way=way: way(path), asked["times"]) for name, way in ways.items()}  # type: ignore[misc]


def network(asked: Facts) -> Facts:
    """Answer the same clips for several callers at once: as the variables make torch run, or as the plan does."""
    _set_variables(asked["variables"])
    from emotape.delivery.bench import speech

    clips = [speech.clip(asked["seconds"], number) for number in range(asked["requests"])]
    answer_all = _as_planned(asked) if asked["variables"] is None else _as_torch_does(asked)
    for callers in (1, 2):
        answer_all(clips[:2], callers)
    return {
        f"{callers} at once, ms": _settled(lambda callers=callers: answer_all(clips, callers))  # type: ignore[misc]
        for callers in (1, 2, len(clips))
    }


def _as_planned(asked: Facts) -> Callable[[list[Any], int], object]:
    from pathlib import Path

    from emotape.delivery.bench.peers import recognizer_of
    from emotape.delivery.bench.throughput import ask

    recognizer = recognizer_of(Path(asked["directory"]), "float32").open()
    return lambda clips, callers: ask(recognizer, clips, callers)


def _as_torch_does(asked: Facts) -> Callable[[list[Any], int], object]:
    """Let every caller run the network in its own thread, as handlers of a web framework do."""
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from emotape.engine.runner import Clip, TorchRunner
    from emotape.model.weights import load

    runner = TorchRunner(load(Path(asked["directory"])), "cpu", "float32", lanes=asked["requests"])

    def answer_all(clips: list[Any], callers: int) -> object:
        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(lambda clip: runner.run([Clip(clip)]), clips))

    return answer_all


def loading(asked: Facts) -> Facts:
    """Load a network and answer a clip: the reference in fp32 or halved, or emotape. Memory is counted from imports."""
    from pathlib import Path

    from emotape.delivery.bench import speech
    from emotape.delivery.bench.card_reference import CardReference
    from emotape.delivery.bench.peers import recognizer_of

    clip = speech.clip(asked["seconds"])
    _import_all(reference=asked["reference"])
    import torch

    torch.set_num_threads(asked["threads"])
    memory.forget_peak()
    before, began = memory.resident_bytes(), time.perf_counter()
    hear: Callable[[Any], object]
    if asked["reference"]:
        hear = CardReference(Path(asked["official"]), "cpu", half=asked["dtype"] == "float16").hear
    else:
        hear = recognizer_of(Path(asked["directory"]), asked["dtype"], asked["threads"]).open().recognize
    loaded = time.perf_counter() - began
    answer = _once(lambda: hear(clip))
    peak = memory.peak_bytes()
    growth = {"MB growth at peak": (peak - before) / 1e6} if peak is not None and before is not None else {}
    return {**growth, "load ms": 1000 * loaded, "first answer ms": answer}


def _import_all(*, reference: bool) -> None:
    from emotape.delivery.bench.reference import quiet

    with quiet():
        import torch  # noqa: F401

        import emotape.recognizer  # noqa: F401
        from emotape.model import weights  # noqa: F401

        if reference:
            from funasr.models.emotion2vec.model import Emotion2vec  # noqa: F401
            from funasr.tokenizer.char_tokenizer import CharTokenizer  # noqa: F401


def collecting(asked: Facts) -> Facts:
    """Answer requests with a resident recognizer in a process like the server's, and clean up after each, or not."""
    from importlib.util import find_spec
    from pathlib import Path

    from emotape.delivery.bench import speech
    from emotape.delivery.bench.peers import recognizer_of
    from emotape.delivery.bench.reference import quiet

    with quiet():
        if asked["page"] and find_spec("gradio") is not None:
            import gradio  # noqa: F401 - what a page keeps for good is looked through by every collection
    recognizer = recognizer_of(Path(asked["directory"]), "auto", asked["threads"]).open()
    clips = [speech.clip(asked["seconds"], number) for number in range(20)]
    clean_up = _clean_up if asked["cleaning"] else _nothing
    for clip in clips:
        recognizer.recognize(clip)
    began, cleaning = time.perf_counter(), 0.0
    for number in range(asked["requests"]):
        recognizer.recognize(clips[number % len(clips)])
        cleaning += _once(clean_up)
    taken = 1000 * (time.perf_counter() - began)
    resident = memory.resident_bytes()
    level = {} if resident is None else {"MB at the end": resident / 1e6}
    return {"ms": taken / asked["requests"], "of it cleaning": cleaning / asked["requests"], **level}


def _clean_up() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _nothing() -> None:
    """Leave everything as it is."""


def _set_variables(threads: int | None) -> None:
    """Set the variables, or take them away; they count from here on, as nothing that reads them is imported yet."""
    for name in VARIABLES:
        os.environ.pop(name, None)
        if threads is not None:
            os.environ[name] = str(threads)


def _typical(work: Callable[[], object], times: int) -> float:
    """Do the work once, then several times; return the median in milliseconds."""
    work()
    return median(_once(work) for _ in range(times))


def _settled(work: Callable[[], object]) -> float:
    """Do the work for half a second, and at least once; return the median in milliseconds."""
    taken: list[float] = []
    while sum(taken) < _LONG_ENOUGH:
        taken.append(_once(work))
    return median(taken)


def _once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


ROLES: dict[str, Callable[[Facts], Facts]] = {
    "claim_decoding": decoding,
    "claim_network": network,
    "claim_loading": loading,
    "claim_collecting": collecting,
}
