"""Decoding within room: no recording becomes larger than the room that was taken for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emotape.audio.reader import way_back
from emotape.errors import TooLong

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.audio.decode import AudioSource, ChannelMode, DecodeLimits, Recording
    from emotape.audio.processes import Decoder
    from emotape.engine.room import Lease, Room


class RoomyDecoder:
    """Decodes one request's recording within room; a `Decoder`. Raises NoRoom where it would have to wait for some.

    A recording is decoded into room for a short one; where that turns out too small, by its header or on the way, into
    as much as it takes. `lease` is room that it has already. With `keep` the sound holds its room as long as it lives,
    without it only until it is decoded. `check` may refuse, before it is decoded, one that takes so many bytes.
    """

    def __init__(
        self,
        room: Room,
        decode: Decoder,
        lease: Lease | None = None,
        *,
        keep: bool = True,
        check: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._room = room
        self._decode = decode
        self._lease = lease
        self._keep = keep
        self._check = check

    def __call__(self, data: AudioSource, limits: DecodeLimits, channels: ChannelMode) -> Recording:
        """Return the recording that `data` holds. Raises NoRoom, and as `emotape.audio.decode.decode` does."""
        back = way_back(data)
        lease, self._lease = self._lease, None
        lease = lease or self._room.lease(self._first(limits, once=back is None))
        while True:
            found = self._tried(lease, data, limits, channels)
            if not isinstance(found, int):
                return found
            limits.check_memory(found)
            self._check(found)
            if back is not None:
                back()
            lease = self._room.lease(self._next(lease.bytes, found, limits))

    def close(self) -> None:
        """Give back room that was not needed."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end()

    def _first(self, limits: DecodeLimits, *, once: bool) -> int:
        """Return the room to begin with: of what can be read only `once`, for whatever it may be."""
        return min(limits.memory, self._room.largest if once else self._room.short)

    def _next(self, before: int, needed: int, limits: DecodeLimits) -> int:
        """Return the room to go on with: what it takes, or twice as much as before; that may be only the beginning."""
        return max(needed, min(2 * before, self._room.largest, limits.memory))

    def _tried(self, lease: Lease, data: AudioSource, limits: DecodeLimits, channels: ChannelMode) -> Recording | int:
        """Return the recording, or how many bytes it takes at least where those are more than the lease."""
        try:
            recording = self._decode(data, replace(limits, memory=min(limits.memory, lease.bytes)), channels)
        except TooLong as error:
            lease.end()
            needed = error.facts.get("bytes")
            if error.code != "too_much_memory" or lease.bytes >= limits.memory or not isinstance(needed, int):
                raise
            return needed
        except BaseException:
            lease.end()
            raise
        if self._keep:
            lease.keep(recording.waveforms, _in_memory(data))
        else:
            lease.end()
        return recording


def _in_memory(data: AudioSource) -> int:
    """Return the bytes of a file that is in memory: its request holds it as long as its sound."""
    return memoryview(data).nbytes if isinstance(data, bytes | bytearray | memoryview) else 0
