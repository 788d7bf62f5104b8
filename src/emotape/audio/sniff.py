"""What the first bytes say: which container, or which thing that is no audio at all; and the header of a WAV.

The file's name is never asked.
"""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass
from typing import Final

_CONTAINERS: Final = (
    (0, b"RIFF", "wav"),
    (0, b"RF64", "wav"),
    (0, b"riff", "w64"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"\x1a\x45\xdf\xa3", "webm"),
    (0, b"#!AMR", "amr"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
    (0, b"ID3", "mp3"),
    (4, b"ftyp", "mp4"),
    (4, b"moov", "mp4"),
    (4, b"mdat", "mp4"),
)
_ARCHIVES: Final = (
    (b"PK\x03\x04", "ZIP"),
    (b"PK\x05\x06", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!", "RAR"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
)
_TEXT_CONTROLS: Final = frozenset(b"\t\n\r\x0b\x0c\x1b")
_MP4_ATOMS: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof", b"pnot")

UNKNOWN_SIZE: Final = 0x7FFF_0000  # bytes; programs that write a WAV to a pipe put this or more for "no idea"


def container_of(head: bytes) -> str | None:
    """Return the container that `head` begins, or None where it takes a closer look."""
    return next((name for at, magic, name in _CONTAINERS if head[at : at + len(magic)] == magic), None)


def archive_of(head: bytes) -> str | None:
    """Return the name of the archive format that `head` begins, or None."""
    return next((name for magic, name in _ARCHIVES if head.startswith(magic)), None)


def is_text(head: bytes) -> bool:
    """Say whether `head` reads as text: UTF-8 without control characters, or UTF-16 with its mark."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) and len(head) % 2 == 0 and b"\x00" in head:
        return True
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def is_mp4(head: bytes) -> bool:
    """Say whether `head` begins an MP4, whose index may be at its end."""
    return head[4:8] in _MP4_ATOMS


@dataclass(frozen=True)
class WavHeader:
    """What a WAV says of itself: Hz, channels, where its samples begin and how many bytes of them there are."""

    sample_rate: int
    channels: int
    start: int
    bytes: int | None  # None: the writer did not know

    @property
    def stop(self) -> int | None:
        """The size of a file that holds all that the header promises."""
        return None if self.bytes is None else self.start + self.bytes


def wav_header(head: bytes) -> WavHeader | None:
    """Read the header of a WAV; None when it is no WAV, or when its samples begin beyond `head`."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, form = 12, None
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"fmt " and at + 16 <= len(head):
            form = struct.unpack_from("<xxHI", head, at + 8)
        if name == b"data":
            known = 0 < size < UNKNOWN_SIZE
            return WavHeader(form[1], form[0], at + 8, size if known else None) if form else None
        at += 8 + size + size % 2
    return None


def ogg_is_cut(tail: bytes) -> bool:
    """Say whether an Ogg file that ends with `tail` stops inside a page or before the page marked as the last."""
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return True
    segments = tail[at + 26]
    body = sum(tail[at + 27 : at + 27 + segments])
    is_last = bool(tail[at + 5] & 4)
    return not is_last or len(tail) < at + 27 + segments + body
