"""Reading a source: what can be read a second time, and from where."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from emotape.audio.limits import DecodeLimits
from emotape.audio.reader import HEAD_BYTES, TAIL_BYTES, Reader, open_reader, way_back

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = DecodeLimits()
DATA = bytes(range(256)) * 1_000


class Stream:
    """Gives its bytes once, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, count: int) -> bytes:
        return self._data.read(min(count, 1_000))


def test_what_can_be_read_twice_has_a_way_back(tmp_path: Path) -> None:
    """Where nothing can be read at all there is one, too: whoever decodes says why."""
    path, pipe, file = tmp_path / "sound", tmp_path / "pipe", io.BytesIO(DATA)
    path.write_bytes(DATA)
    os.mkfifo(pipe)
    anew: tuple[Any, ...] = (DATA, path, str(path), tmp_path, "", tmp_path / "nothing")
    once: tuple[Any, ...] = (pipe, Stream(DATA), 7)
    assert [way_back(source) is not None for source in (*anew, *once)] == [True] * 6 + [False] * 3
    file.seek(6)
    back = way_back(file)
    file.read()
    assert back is not None
    back()
    assert file.tell() == 6


def test_a_reader_sees_a_file_from_its_position_on() -> None:
    """Its head, its tail and its size are those of the view; looking at them moves nothing."""
    file = io.BytesIO(b"before" + DATA)
    file.seek(6)
    reader = Reader(file, LIMITS)
    assert (reader.size, reader.head, reader.tail()) == (len(DATA), DATA[:HEAD_BYTES], DATA[-TAIL_BYTES:])
    assert (reader.tell(), reader.take(10), reader.tell()) == (0, DATA[:10], 10)
    assert (reader.seek(5, io.SEEK_CUR), reader.take(1)) == (15, DATA[15:16])
    assert (reader.seek(-3, io.SEEK_END), reader.take(9)) == (len(DATA) - 3, DATA[-3:])
    assert (reader.seek(-1), reader.seek(0, 99), reader.tell()) == (-1, -1, len(DATA))
    assert reader.seek(20) == 20
    assert b"".join(reader.drain()) == DATA[20:]


def test_a_stream_is_given_whole_though_its_head_was_read_first() -> None:
    with open_reader(Stream(DATA), LIMITS) as reader:  # type: ignore[arg-type]
        assert (reader.seekable(), reader.size, reader.tail(), reader.head) == (False, None, None, DATA[:HEAD_BYTES])
        assert b"".join(reader.drain()) == DATA
