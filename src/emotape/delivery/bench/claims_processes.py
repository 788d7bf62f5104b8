"""Claims that only fresh processes can tell of: variables that are read at the start, and memory at its peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emotape.delivery.bench import fresh
from emotape.delivery.bench.claim import Measured, in_turns
from emotape.delivery.bench.claims_child import PLANNED
from emotape.delivery.bench.pairing import Side
from emotape.delivery.bench.recordings import recording
from emotape.delivery.bench.reference import installed, require

if TYPE_CHECKING:
    from emotape.delivery.bench.claim import Given

COUNTS: Final = (1, 2, 8)
"""What people write into the variables: one thread, a few, and as many as the machine of the guide had."""
_UNSET: Final = "not set"
_RECORDING_SECONDS: Final = 30.0
_TIMES: Final = 5
_REQUESTS: Final = 4
_MANY_REQUESTS: Final = 40


def decoding_threads(given: Given) -> Measured:
    """Let processes with other variables decode the same mp3."""
    path = given.folder / "speech.mp3"
    path.write_bytes(recording("mp3", _RECORDING_SECONDS))
    counts = {_UNSET: None, **{str(count): count for count in COUNTS}}
    sides = [
        Side(
            name,
            lambda _, count=count: fresh.play("claim_decoding", variables=count, recording=path, times=_TIMES),  # type: ignore[misc]
        )
        for name, count in counts.items()
    ]
    found = in_turns(sides, given, warm_up=False)
    readers = [name.removesuffix(" ms") for name in found[_UNSET][0]]
    ways = {
        f"{reader}, {name}": [{"ms": each[f"{reader} ms"]} for each in rounds]
        for reader in readers
        for name, rounds in found.items()
    }
    compared = {f"{reader}, {count}": f"{reader}, {_UNSET}" for reader in readers for count in COUNTS}
    notes = () if "librosa" in readers else ("librosa is not installed: decoding-threads is of emotape alone",)
    said = "OMP_NUM_THREADS, MKL_NUM_THREADS and NUMEXPR_NUM_THREADS speed up decoding"
    return Measured("decoding-threads", said, ways, compared, notes=notes)


def network_threads(given: Given) -> Measured:
    """Let processes with other variables answer the same clips, one after another and several at once."""
    shared = {"directory": given.model.directory, "seconds": given.seconds, "requests": _REQUESTS}
    counts = {**{str(count): count for count in COUNTS}, PLANNED: None}
    sides = [
        Side(name, lambda _, count=count: fresh.play("claim_network", variables=count, **shared))  # type: ignore[misc]
        for name, count in counts.items()
    ]
    found = in_turns(sides, given, warm_up=False)
    ways = {
        f"{callers} at once, {name}": [{"ms": each[f"{callers} at once, ms"]} for each in rounds]
        for callers in (1, 2, _REQUESTS)
        for name, rounds in found.items()
    }
    compared = {
        f"{callers} at once, {count}": f"{callers} at once, {PLANNED}"
        for callers in (1, 2, _REQUESTS)
        for count in COUNTS
    }
    said = f"the variables speed up the network ({_REQUESTS} clips of {given.seconds:g} s, fp32)"
    return Measured("network-threads", said, ways, compared)


def halves(given: Given) -> Measured:
    """Load and answer in fresh processes: the reference as it is and after `.half()`, and emotape."""
    require("funasr")
    shared = {
        "official": given.model.official, "directory": given.model.directory, "threads": given.threads,
        "seconds": given.seconds,
    }  # fmt: skip
    ways = {
        "reference, torch.load": {"reference": 1, "dtype": "float32"},
        "reference, torch.load and .half()": {"reference": 1, "dtype": "float16"},
        "emotape, as planned": {"reference": 0, "dtype": "auto"},
    }
    sides = [
        Side(name, lambda _, way=way: fresh.play("claim_loading", **way, **shared))  # type: ignore[misc]
        for name, way in ways.items()
    ]
    found = in_turns(sides, given, warm_up=False)
    first, *others = ways
    figure = "MB growth at peak" if "MB growth at peak" in found[first][0] else "load ms"
    said = "torch.load and then `.half()` halves the memory"
    return Measured("halves", said, found, dict.fromkeys(others, first), figure)


def collecting(given: Given) -> Measured:
    """Clean up after every request in a process like the server's, or not."""
    shared = {
        "directory": given.model.directory, "threads": given.threads, "seconds": given.seconds,
        "requests": _MANY_REQUESTS, "page": 1,
    }  # fmt: skip
    ways = {
        "neither": 0,
        "both after every request": 1,
    }
    sides = [
        Side(name, lambda _, way=way: fresh.play("claim_collecting", cleaning=way, **shared))  # type: ignore[misc]
        for name, way in ways.items()
    ]
    found = in_turns(sides, given, warm_up=False)
    first, *others = ways
    notes = () if installed("gradio") else ("gradio is not installed: its objects were not there to be looked through",)
    said = "gc.collect() and torch.cuda.empty_cache() after every request keep memory low"
    return Measured("collecting", said, found, dict.fromkeys(others, first), notes=notes)
