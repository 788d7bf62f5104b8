"""Which recordings are read to be recognized again, and which are left for decoding as they came."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from emotape.audio.limits import DecodeLimits
from emotape.audio.waveform import Waveform
from emotape.store.cache.key import Sound
from emotape.store.cache.recordings import Known, KnownRecordings, in_memory, recording_name

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = DecodeLimits()


@pytest.fixture(autouse=True)
def four_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four bytes be the most that is read."""
    monkeypatch.setattr("emotape.store.cache.recordings.MOST_BYTES", 4)


class Stream:
    """What can be read only once."""

    def read(self, count: int = -1) -> bytes:
        raise AssertionError(f"nobody may read {count} bytes of a stream but the decoder")


@pytest.mark.parametrize(("data", "is_read"), [(b"1234", True), (b"12345", False)])
def test_short_files_are_read_and_others_are_left(tmp_path: Path, data: bytes, is_read: bool) -> None:
    """A path, as text or not, and a file object from its position on, to which it goes back."""
    path = tmp_path / "sound"
    path.write_bytes(data)
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    for source in (path, str(path), file):
        found: Any = in_memory(source, LIMITS)
        assert found == data if is_read else found is source
    assert is_read or file.tell() == 6


def test_what_is_in_memory_or_no_file_stays_what_it_is(tmp_path: Path) -> None:
    """A stream, a pipe and what is not there are for the decoder; a waveform is its sound already."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sources: tuple[Any, ...] = (b"12345", Stream(), pipe, tmp_path, "", Waveform(np.zeros(400, np.float32)))
    assert [in_memory(source, LIMITS) is source for source in sources] == [True] * len(sources)


def test_a_recording_in_memory_is_named_by_its_bytes_and_its_channels() -> None:
    names = [recording_name(b"1", "mix"), recording_name(b"1", "split"), recording_name(b"2", "mix")]
    assert len({*names, None}) == 4
    assert recording_name(bytearray(b"1"), "mix") == recording_name(memoryview(b"1"), "mix") == names[0]
    assert recording_name(Waveform(np.zeros(400, np.float32)), "mix") is None


def test_only_what_has_a_name_is_known_again() -> None:
    known, recordings = Known(Sound(("digest",), (400,)), ("clipped",)), KnownRecordings()
    recordings.note(None, known)
    assert recordings.find(None) is None
    recordings.note("name", known)
    assert (recordings.find("name"), recordings.find("other")) == (known, None)
