"""What many tests start from: golden networks with random weights, and real clips."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from emotape.audio.waveform import Waveform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden"
AUDIO = TESTS / "data" / "audio"
SHARING = {"adapting", "cluster", "graph", "offline"}
"""Folders whose tests have costly fixtures in common, such as a Ray cluster; elsewhere it is those of a file."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes run tests, let those that share fixtures run in one of them."""
    for item in items:
        folder, *_ = item.path.relative_to(TESTS).parts if item.path.is_relative_to(TESTS) else (item.path.name,)
        group = folder if folder in SHARING else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


def example_of(document: str) -> str:
    """Return the Python that a document shows, which is the same in Chinese."""
    english, chinese = (
        re.findall(r"^```python\n(.*?)^```", (TESTS.parent / "docs" / name).read_text("utf-8"), re.M | re.S)
        for name in (f"{document}.md", f"{document}.zh.md")
    )
    assert english == chinese
    (example,) = english
    return str(example)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a run remembers out of the user's own cache, and the user's out of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heard() -> None:
    """Let the programs that tests start hear Ctrl-C, also where a shell's background job was told to ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden_clips() -> list[NDArray[np.float32]]:
    """The clips that the golden vectors were made from, [n] samples each."""
    with np.load(GOLDEN / "clips.npz") as stored:
        return [stored[name] for name in stored.files]


@pytest.fixture(scope="session")
def noise() -> Waveform:
    """Four seconds of loud noise; any window of it is a clip."""
    samples = 0.1 * np.random.default_rng(5).standard_normal(64_000)
    return Waveform(samples.astype(np.float32))
