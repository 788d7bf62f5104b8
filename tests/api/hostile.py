"""Requests that nobody should be hurt by: each is what goes over the wire, byte for byte."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from tests.api.conftest import AUDIO, SPEECH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_BODY = 300_000
LONGEST_SECONDS = 60.0
FILES = sorted(AUDIO.glob("thorsten_neutral.*"))


@dataclass(frozen=True)
class Attack:
    """A request, the statuses that answer it rightly, and whether its sender leaves without waiting for one."""

    name: str
    request: bytes
    statuses: frozenset[int]
    leaves: bool = False


def head(*lines: str, target: str = "/v1/recognize") -> bytes:
    return "\r\n".join((f"POST {target} HTTP/1.1", "Host: 127.0.0.1", *lines, "", "")).encode()


def bare(body: bytes, *lines: str, kind: str = "audio/wav", target: str = "/v1/recognize") -> bytes:
    return head(f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines, target=target) + body


def form(*parts: tuple[str, bytes], end: bytes = b"\r\n--edge--\r\n", kind: str = "; boundary=edge") -> bytes:
    body = b"\r\n".join(
        b"--edge\r\nContent-Disposition: form-data; " + told.encode() + b"\r\n\r\n" + content for told, content in parts
    )
    return bare(body + end, kind=f"multipart/form-data{kind}")


def file(content: bytes) -> tuple[str, bytes]:
    return 'name="file"; filename="../../etc/x.wav"', content


def noise(random: Random) -> bytes:
    return random.randbytes(random.randrange(200_000, 290_000))


@cache
def silence(*, stated: bool) -> bytes:
    """Ten minutes in a few kilobytes; the head says how many samples there are, or not."""
    written = io.BytesIO()
    soundfile.write(written, np.zeros(600 * 8_000, np.int16), 8_000, format="FLAC")
    flac = bytearray(written.getvalue())
    if not stated:
        flac[21:26] = bytes([flac[21] & 0xF0, 0, 0, 0, 0])
    return bytes(flac)


@cache
def archive() -> bytes:
    """Ten megabytes in ten kilobytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("speech.wav", bytes(10_000_000))
    return written.getvalue()


def wave(channels: int = 1, rate: int = 16_000, size: int = 2**32 - 1) -> bytes:
    """Return the head of a WAV, and nothing behind it."""
    width = min(2 * channels, 65_535)
    told = struct.pack("<HHIIHH", 1, channels, rate, min(rate * width, 2**32 - 1), width, 16)
    return b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVEfmt \x10\0\0\0" + told + b"data" + struct.pack("<I", size)


def cut(random: Random) -> bytes:
    """Return the first bytes of a recording."""
    return random.choice(FILES).read_bytes()[: random.randrange(8, 24)]


def half_an_mp4() -> bytes:
    return (AUDIO / "thorsten_neutral.m4a").read_bytes()[:8_000]


OTHER_THINGS = (
    b"<!doctype html><title>speech</title>" * 30,
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(500),
    b"%PDF-1.7\n" + bytes(500),
    b"\x7fELF\x02\x01\x01" + bytes(500),
    b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/speech.wav\n",
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 1 RTP/AVP 0\r\n",
    struct.pack(">I4sQ", 1, b"ftyp", 2**62) + b"M4A " + bytes(500),
    bytes(2_000),
)

UNUSABLE = frozenset({413, 415, 422})
NO_HTTP = frozenset({400})
NEVER_ANSWERED = frozenset[int]()
KINDS: tuple[tuple[str, Callable[[Random], bytes], frozenset[int]], ...] = (
    ("noise", lambda random: bare(noise(random)), UNUSABLE),
    ("noise in a form", lambda random: form(file(noise(random))), UNUSABLE),
    ("noise in JSON", lambda random: in_json({"files": [{"base64": text_of(noise(random))}]}), UNUSABLE),
    ("another kind of file", lambda random: bare(random.choice(OTHER_THINGS)), UNUSABLE),
    ("several, all bad", lambda random: form(file(cut(random)), file(b""), file(noise(random))), UNUSABLE),
    ("a cut container", lambda random: bare(cut(random)), UNUSABLE),
    ("a container without its index", lambda _: bare(half_an_mp4()), UNUSABLE),
    ("hours of silence", lambda _: bare(silence(stated=True)), frozenset({413})),
    ("hours of silence, not stated", lambda _: bare(silence(stated=False)), frozenset({413})),
    ("an archive", lambda _: bare(archive()), UNUSABLE),
    ("a packed body", lambda _: bare(gzip.compress(bytes(10_000_000), 1), "Content-Encoding: gzip"), UNUSABLE),
    ("a head alone", lambda random: bare(wave(size=random.randrange(2**32))), UNUSABLE),
    ("too many channels", lambda _: bare(wave(channels=65_535) + bytes(9_999)), UNUSABLE),
    ("an impossible rate", lambda random: bare(wave(rate=random.choice((0, 1, 2**32 - 1))) + bytes(9_999)), UNUSABLE),
    ("nothing", lambda _: bare(b""), frozenset({422})),
    ("an empty file", lambda _: form(file(b"")), UNUSABLE),
    ("a form without files", lambda _: form(('name="granularity"', b"frame")), frozenset({422})),
    ("text instead of a file", lambda _: form(('name="file"', b"speech")), frozenset({422})),
    ("too many files", lambda _: form(*[file(b"x")] * 70), frozenset({413})),
    ("a form without an end", lambda random: form(file(noise(random)), end=b""), UNUSABLE),
    ("a form without an edge", lambda _: form(file(b"x"), kind=""), frozenset({422})),
    ("a form with another edge", lambda random: form(file(noise(random)), kind="; boundary=other"), frozenset({422})),
    ("a type of no recording", lambda _: bare(SPEECH.read_bytes(), kind="text/html"), frozenset({415})),
    (
        "an option of no sense",
        lambda _: bare(SPEECH.read_bytes(), target="/v1/recognize?deadline=-1"),
        frozenset({422}),
    ),
    ("an unknown option", lambda _: bare(SPEECH.read_bytes(), target="/v1/recognize?root=1"), frozenset({422})),
    ("broken JSON", lambda _: in_json({})[:-1] + b"[", frozenset({422})),
    ("deep JSON", lambda _: bare(b"[" * 100_000, kind="application/json"), frozenset({422})),
    ("no base64", lambda _: in_json({"files": [{"base64": "%%%"}]}), frozenset({422})),
    ("an address to fetch", lambda _: in_json({"files": [], "url": "http://127.0.0.1:1/"}), frozenset({422})),
    ("a huge length", lambda _: head("Content-Type: audio/wav", f"Content-Length: {10**12}"), frozenset({413})),
    ("more than it may be", lambda _: chunked(bytes(LONGEST_BODY + 50_000)), frozenset({413})),
    ("a length that lies", lambda random: lying(random.randbytes(9_000)), UNUSABLE),
    ("a length that is none", lambda random: with_length(random.choice(("-5", "abc", "1e3"))), NO_HTTP),
    ("two lengths", lambda _: head("Content-Length: 4", "Content-Length: 5") + b"RIFFW", NO_HTTP),
    (
        "chunks that are none",
        lambda _: head("Content-Type: audio/wav", "Transfer-Encoding: chunked") + b"zz\r\n",
        NO_HTTP,
    ),
    ("no HTTP", lambda random: random.randbytes(999).replace(b"\n", b"") + b"\r\n\r\n", NO_HTTP),
    ("an endless head", lambda _: head("X-Long: " + "x" * 80_000)[:-4], NO_HTTP),
    ("leaving at the door", lambda _: with_length("50000"), NEVER_ANSWERED),
    ("leaving half-way", lambda random: with_length("300000") + noise(random), NEVER_ANSWERED),
    ("leaving before the answer", lambda _: bare(SPEECH.read_bytes()), NEVER_ANSWERED),
)


def text_of(content: bytes) -> str:
    return base64.b64encode(content[: LONGEST_BODY // 2]).decode()


def in_json(value: object) -> bytes:
    return bare(json.dumps(value).encode(), kind="application/json")


def chunked(body: bytes) -> bytes:
    return head("Content-Type: audio/wav", "Transfer-Encoding: chunked") + b"%x\r\n" % len(body) + body + b"\r\n"


def lying(body: bytes) -> bytes:
    """Say that most of a body is the next request."""
    return head("Content-Type: audio/wav", "Content-Length: 500") + body


def with_length(length: str) -> bytes:
    return head("Content-Type: audio/wav", f"Content-Length: {length}")


def attacks(count: int) -> Iterator[Attack]:
    """Yield so many attacks, all kinds in turn, each a little different from the last of its kind."""
    random = Random(4)
    for name, make, statuses in islice(cycle(KINDS), count):
        yield Attack(name, make(random), statuses, leaves=not statuses)
