"""How much sound one request may bring, checked before it hurts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from emotape.errors import BadAudio, TooLong

LOWEST_RATE: Final = 4_000  # Hz; below this nothing of speech is left
HIGHEST_RATE: Final = 768_000  # Hz; the fastest converters on the market


@dataclass(frozen=True)
class DecodeLimits:
    """The most that one recording may hold.

    bytes      size of the file or stream
    seconds    length of the sound
    channels   channels of the audio track
    memory     bytes of decoded samples, over all the waveforms that one recording becomes
    """

    bytes: int = 2 * 1024**3
    seconds: float = 14_400.0
    channels: int = 32
    memory: int = 2 * 1024**3

    def check_bytes(self, count: int) -> None:
        """Raise TooLong when a file of `count` bytes is over the limit."""
        if count > self.bytes:
            raise TooLong("too_many_bytes", bytes=count, limit=self.bytes)

    def check_seconds(self, seconds: float) -> None:
        """Raise TooLong when a recording of `seconds` is over the limit."""
        if seconds > self.seconds:
            raise TooLong("too_many_seconds", seconds=round(seconds, 1), limit=self.seconds)

    def check_channels(self, count: int) -> None:
        """Raise TooLong when a track of `count` channels is over the limit, and BadAudio when it has none."""
        if count < 1:
            raise BadAudio("no_channels")
        if count > self.channels:
            raise TooLong("too_many_channels", channels=count, limit=self.channels)

    def check_memory(self, count: int) -> None:
        """Raise TooLong when `count` bytes of samples are over the limit."""
        if count > self.memory:
            raise TooLong("too_much_memory", bytes=count, limit=self.memory)
