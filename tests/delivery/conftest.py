"""What the tests of the edges start from: a fake recognizer, a fixed hour, tones in files."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from emotape.audio.waveform import SAMPLE_RATE
from tests.delivery.fakes import FakeRecognizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture
def noon() -> datetime:
    return datetime(2026, 1, 4, 22, 30, 0, tzinfo=UTC)


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., Path]:
    """Write a WAV of a tone; equal arguments, equal bytes."""

    def write(name: str, pitch: float = 220.0, seconds: float = 0.5, channels: int = 1) -> Path:
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        waves = [0.3 * np.sin(2 * np.pi * pitch * (channel + 1) * time) for channel in range(channels)]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            soundfile.write(file, np.stack(waves, axis=1), SAMPLE_RATE, format="WAV", subtype="PCM_16")
        return path

    return write


@pytest.fixture
def largest_file() -> Callable[..., Any]:
    """Refuse this process files over so many bytes, for a while: what a disk does that fills up."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
