"""Is the index of an MP4 honest? FFmpeg builds it in memory before anyone can stop it.

A box of 20 bytes can claim a thousand million samples, for which FFmpeg would fill gigabytes. So before FFmpeg sees
an MP4, the tables that claim numbers of samples are found and their claims are held against the limits and the size
of the file. Sound and other payload (`mdat`) is not looked at. Box names are those of ISO/IEC 14496-12.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.errors import BadAudio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.audio.limits import DecodeLimits
    from emotape.audio.reader import Reader

_PAYLOAD: Final = frozenset({b"mdat", b"free", b"skip", b"wide"})
_TABLES: Final = re.compile(rb"stsz|stz2|trun|cmov")
_PACKETS_PER_SECOND: Final = 400  # over all tracks; the shortest packets in use, of Opus, last 2.5 ms
_LONGEST_INDEX: Final = 256 * 1024**2  # bytes of one top-level box that is no payload
_PCM_BLOCK: Final = 1024  # samples of PCM for which FFmpeg makes one entry, at least


@dataclass(frozen=True)
class Box:
    """One box: its name, and the bytes `start` to `stop` of what it holds."""

    name: bytes
    start: int
    stop: int


def check_index(reader: Reader, limits: DecodeLimits) -> None:
    """Raise BadAudio when the index of the MP4 in `reader` claims more packets than the file or the limits allow."""
    size = reader.size or 0
    allowed = int(limits.seconds * _PACKETS_PER_SECOND)
    claimed = 0
    for box in _top_boxes(reader, size):
        if box.name in _PAYLOAD:
            continue
        if box.stop - box.start > _LONGEST_INDEX:
            _refuse()
        reader.seek(box.start)
        claimed += _claimed_packets(_read_exactly(reader, box.stop - box.start), box.name, size)
        if claimed > allowed:
            _refuse()
    reader.seek(0)


def _top_boxes(reader: Reader, size: int) -> Iterator[Box]:
    at = 0
    while at + 8 <= size:
        reader.seek(at)
        box = _box(_read_exactly(reader, 16), 0, size - at)
        if box is None:
            return
        yield Box(box.name, at + box.start, at + box.stop)
        at += box.stop


def _box(data: bytes, at: int, stop: int) -> Box | None:
    """Read the box at `at`, cut off at `stop` as FFmpeg does; None where there is none."""
    if at + 8 > len(data):
        return None
    length, name = struct.unpack_from(">I4s", data, at)
    head = 8
    if length == 1 and at + 16 <= len(data):
        head, length = 16, int.from_bytes(data[at + 8 : at + 16], "big")
    elif length == 0:
        length = stop - at
    return Box(name, at + head, min(at + length, stop)) if length >= head else None


def _boxes(data: bytes, start: int, stop: int) -> Iterator[Box]:
    while start + 8 <= stop and (box := _box(data, start, stop)) is not None:
        yield box
        start = box.stop


def _claimed_packets(data: bytes, name: bytes, size: int) -> int:
    """Return how many packets the tables in one top-level box claim."""
    if name != b"moov":
        return _claims(data)
    tracks = [box for box in _boxes(data, 0, len(data)) if box.name == b"trak"]
    others = bytearray(data)
    for start, stop in [(box.start, box.stop) for box in tracks] + list(_covers(data)):
        others[start:stop] = bytes(stop - start)
    return _claims(bytes(others)) + sum(_track_packets(data[box.start : box.stop], size) for box in tracks)


def _covers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where cover pictures lie: megabytes in which any four letters may occur."""
    for user in _named(data, (0, len(data)), b"udta"):
        for meta in _named(data, user, b"meta"):
            start, stop = meta
            if data[start : start + 4] == bytes(4) and data[start + 8 : start + 12] == b"hdlr":
                for items in _named(data, (start + 4, stop), b"ilst"):
                    yield from _named(data, items, b"covr")


def _named(data: bytes, within: tuple[int, int], name: bytes) -> Iterator[tuple[int, int]]:
    return ((box.start, box.stop) for box in _boxes(data, *within) if box.name == name)


def _track_packets(track: bytes, size: int) -> int:
    """Return the packets that a track claims; for plain PCM, whose samples are counted one by one, its blocks."""
    claimed = _claims(track)
    return claimed // _PCM_BLOCK if _is_honest_pcm(track, claimed, size) else claimed


def _is_honest_pcm(track: bytes, samples: int, size: int) -> bool:
    """Say whether FFmpeg will index whole chunks of PCM, and the chunks are no larger than the file holds."""
    times = [_numbers(track, match.end(), 4) for match in re.finditer(rb"stts", track)]
    if samples > size or len(times) != 1 or times[0][1] != 1 or times[0][3] != 1:
        return False
    chunks = sum(_numbers(track, match.end(), 2)[1] for match in re.finditer(rb"stco|co64", track))
    largest = max((_largest_chunk(track, match.end()) for match in re.finditer(rb"stsc", track)), default=0)
    return chunks * largest <= 4 * samples + size


def _largest_chunk(track: bytes, at: int) -> int:
    count = min(_numbers(track, at, 2)[1], (len(track) - at) // 12)
    return max((_numbers(track, at + 8 + 12 * entry, 2)[1] for entry in range(count)), default=0)


def _claims(data: bytes) -> int:
    """Add up the claims of all tables in `data`, wherever they lie: FFmpeg finds them in many places."""
    total = 0
    for match in _TABLES.finditer(data):
        if match.group() == b"cmov":  # a compressed index: nothing has written one for twenty years
            _refuse()
        total += _numbers(data, match.end(), 3)[1 if match.group() == b"trun" else 2]
    return total


def _numbers(data: bytes, at: int, count: int) -> tuple[int, ...]:
    """Return `count` 32-bit numbers at `at`, zeros where the data ends."""
    return struct.unpack(f">{count}I", data[at : at + 4 * count].ljust(4 * count, b"\x00"))


def _read_exactly(reader: Reader, count: int) -> bytes:
    blocks = []
    while count > 0 and (block := reader.take(count)):
        blocks.append(block)
        count -= len(block)
    return b"".join(blocks)


def _refuse() -> None:
    raise BadAudio("damaged_file", container="mp4")
