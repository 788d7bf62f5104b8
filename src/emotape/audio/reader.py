"""One way to read every source: bytes, a path, a seekable file or a stream that may never end.

FFmpeg sees nothing but these readers, so it cannot open a file or an address by itself.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from emotape.audio.sniff import container_of, is_mp4
from emotape.errors import BadAudio, BadRequest, TooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotape.audio.limits import DecodeLimits

AudioSource = bytes | bytearray | memoryview | os.PathLike[str] | str | BinaryIO

HEAD_BYTES: Final = 4_096
_SPOOL_MEMORY: Final = 8 * 1024**2  # bytes of a stream kept in memory before they go to a temporary file
_SPOOL_BLOCK: Final = 256 * 1024
TAIL_BYTES: Final = 65_536 + 307  # more than the longest page of an Ogg file

# ID3 is hidden from FFmpeg wherever it would find it: nothing of it is wanted, and a kilobyte unpacks to a megabyte.
_ID3_HEAD: Final = 10
_ID3: Final = re.compile(rb"ID3(?=[^\xff][^\xff].[\x00-\x7f]{4})", re.DOTALL)
_ID3_BEGUN: Final = re.compile(rb"I(D(3.{0,6})?)?\Z", re.DOTALL)
_HAS_FOOTER: Final = 0x10
_MATROSKA_TAG: Final = b"\x67\xc8"
_MOST_NAMED: Final = 10_000


class Reader:
    """A bounded view of one source, from its current position on.

    `head` holds its first bytes. `size` is its length in bytes, or None for a stream. What goes wrong while
    FFmpeg reads is kept in `failure`: FFmpeg itself sees the end of the file. ID3 tags at the beginning are left out.
    """

    def __init__(self, raw: BinaryIO, limits: DecodeLimits) -> None:
        self._raw = raw
        self._limits = limits
        self._origin = 0
        self._position = 0
        self._furthest = 0
        self._again = b""  # of a stream: what was read to see what it is
        self._until: float | None = None
        self._named = 0  # tags of a Matroska that it may have before its sound
        self.failure: Exception | None = None
        self.size = self._measure()
        limits.check_bytes(self.size or 0)
        self._skip_tags()
        self.head = self._peek(HEAD_BYTES)

    def _measure(self) -> int | None:
        if not can_seek(self._raw):
            return None
        with _reading():
            self._origin = self._raw.tell()
            end = self._raw.seek(0, io.SEEK_END)
            self._raw.seek(self._origin)
        return max(end - self._origin, 0)

    def _skip_tags(self) -> None:
        """Begin behind the ID3 tags at the beginning, if there are any."""
        while _ID3.match(head := self._peek(_ID3_HEAD)):
            left = _tag_bytes(head)
            while left > 0 and (block := self.take(min(left, _SPOOL_BLOCK))):
                left -= len(block)
        self._origin += self._position
        self.size = None if self.size is None else self.size - self._position
        self._position = 0

    def _peek(self, count: int) -> bytes:
        """Return at most `count` bytes that come next, and stay."""
        if self.size is not None:
            block = self._take(count)
            with _reading():
                self._raw.seek(self._origin + self._position)
            return block
        while len(self._again) < count and (block := self._take(count - len(self._again))):
            self._again += block
        return self._again[:count]

    def _take(self, count: int) -> bytes:
        """Read at most `count` bytes from the source, never past the limit on bytes by more than one."""
        allowed = min(count, self._limits.bytes + 1 - self._furthest) if self.size is None else count
        with _reading():
            block = self._raw.read(allowed)
        if not isinstance(block, bytes | bytearray | memoryview):
            raise TypeError(f"a binary file gives bytes, not {type(block).__name__}")
        if len(block) > allowed:  # FFmpeg's buffer ends here
            raise BadAudio("unreadable_file", reason=f"read({allowed}) gave {len(block)} bytes")
        if self.size is None:
            self._furthest += len(block)
            self._limits.check_bytes(self._furthest)
        return bytes(block)

    def seekable(self) -> bool:
        """Say whether the source can go back."""
        return self.size is not None

    def tell(self) -> int:
        """Return the position in bytes from the start of the view."""
        return self._position

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes for FFmpeg: none at the end, and none after a failure, which is kept."""
        try:
            block = self._untagged(self.take(count))
            self._check_hurry(block)
        except Exception as failure:  # noqa: BLE001 - PyAV would print and drop it; whoever decodes raises it
            self.failure = self.failure or failure
            return b""
        return block

    def take(self, count: int) -> bytes:
        """Return at most `count` bytes, none at the end. Raises BadAudio and TooLong."""
        block, self._again = self._again[:count], self._again[count:]
        block = block or self._take(count)
        self._position += len(block)
        return block

    def _untagged(self, block: bytes) -> bytes:
        """Return a block in which FFmpeg finds no ID3 tag. Of 10^12 bytes of sound, nine look like a part of one."""
        ahead = self._peek(_ID3_HEAD - 1) if _ID3_BEGUN.search(block, max(0, len(block) - _ID3_HEAD + 1)) else b""
        return _ID3.sub(bytes(3), block + ahead)[: len(block)] if b"I" in block else block

    @contextmanager
    def hurried(self, seconds: float) -> Iterator[None]:
        """Give FFmpeg so many seconds of this thread's processor; then it sees the end of the file."""
        self._until = time.thread_time() + seconds
        try:
            yield
        finally:
            self._until = None

    def _check_hurry(self, block: bytes) -> None:
        """Raise BadAudio where FFmpeg would take too long to open this."""
        if self._until is None:
            return
        self._named += block.count(_MATROSKA_TAG)  # FFmpeg compares these when it has read them all
        if time.thread_time() > self._until or self._named > _MOST_NAMED:
            raise BadAudio("damaged_file", container=container_of(self.head) or "?")

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset` and return the new position, or -1 where there is none, which FFmpeg takes as an error."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size or 0}.get(whence)
        if base is None or base + offset < 0:
            return -1
        try:
            with _reading():
                self._raw.seek(self._origin + base + offset)
        except BadAudio as failure:
            self.failure = self.failure or failure
            return -1
        self._position = base + offset
        return self._position

    def tail(self) -> bytes | None:
        """Return the last bytes, or None for a stream. The position stays."""
        if self.size is None:
            return None
        position = self._position
        self.seek(max(self.size - TAIL_BYTES, 0))
        tail = b"".join(self.drain())
        self.seek(position)
        return tail

    def drain(self) -> Iterator[bytes]:
        """Yield everything from the position to the end."""
        while block := self.take(_SPOOL_BLOCK):
            yield block


def _tag_bytes(head: bytes) -> int:
    """Return how long the ID3 tag is that begins with `head`: seven bits of each byte count."""
    body = sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:_ID3_HEAD])))
    return _ID3_HEAD + body + (_ID3_HEAD if head[5] & _HAS_FOOTER else 0)


@contextmanager
def open_reader(data: AudioSource, limits: DecodeLimits) -> Iterator[Reader]:
    """Give a reader of `data`. A path is opened and closed here; a file object is left open for its owner.

    Raises BadRequest for a path that leads nowhere, BadAudio for what cannot be read, and TooLong over the limits.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        limits.check_bytes(memoryview(data).nbytes)
        yield Reader(io.BytesIO(data), limits)
    elif isinstance(data, str | os.PathLike):
        with _open_path(Path(data)) as file, _rewindable(Reader(file, limits), limits) as reader:
            yield reader
    elif hasattr(data, "read"):
        with _rewindable(Reader(data, limits), limits) as reader:
            yield reader
    else:
        raise TypeError(f"audio comes as bytes, a path or a binary file, not {type(data).__name__}")


@contextmanager
def _open_path(path: Path) -> Iterator[BinaryIO]:
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise BadAudio("unreadable_file", reason="it is a directory")
        file = path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise BadRequest("no_such_file", path=str(path)) from error
    except OSError as error:
        raise BadAudio("unreadable_file", reason=error.strerror or "unknown") from error
    with file:
        yield cast("BinaryIO", file)


@contextmanager
def _rewindable(reader: Reader, limits: DecodeLimits) -> Iterator[Reader]:
    """Spool an MP4 that comes as a stream: its index may be at the end, so FFmpeg has to go back."""
    if reader.size is not None or not is_mp4(reader.head):
        yield reader
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY) as spool:
        for block in reader.drain():
            spool.write(block)
        spool.seek(0)
        yield Reader(cast("BinaryIO", spool), limits)


def way_back(data: AudioSource) -> Callable[[], None] | None:
    """Return what lets a source be read once more from where it is now; None for what can be read only once."""
    if isinstance(data, bytes | bytearray | memoryview):
        return _nowhere
    if isinstance(data, str | os.PathLike):
        return None if _is_pipe(data) else _nowhere
    if not hasattr(data, "read") or not can_seek(data):
        return None
    position = data.tell()

    def back() -> None:
        with _reading():
            data.seek(position)

    return back


def _nowhere() -> None:
    """Stay: it is read from its beginning each time."""


def _is_pipe(path: str | os.PathLike[str]) -> bool:
    """Say whether a path leads to what gives its bytes only once."""
    try:
        found = os.stat(path).st_mode  # noqa: PTH116 - also "", which is no Path
    except (OSError, ValueError):
        return False  # whoever decodes says why
    return not stat.S_ISREG(found) and not stat.S_ISDIR(found)


def can_seek(raw: BinaryIO) -> bool:
    """Say whether a file object can go back, and has an end."""
    if not (hasattr(raw, "seek") and hasattr(raw, "tell")):
        return False
    try:
        raw.seek(0, io.SEEK_CUR)
    except (OSError, ValueError, TypeError):
        return False
    return not _is_device(raw)


def _is_device(raw: BinaryIO) -> bool:
    """Say whether `raw` is a device such as /dev/zero, which seeks and yet has no end."""
    try:
        return stat.S_ISCHR(os.fstat(raw.fileno()).st_mode)
    except (OSError, AttributeError, ValueError):
        return False


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (BadAudio, TooLong):
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise BadAudio("unreadable_file", reason=reason) from error
