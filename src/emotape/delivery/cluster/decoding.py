"""A decoding replica: files in, sound out, within the product's own limits."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from emotape.delivery.cluster.messages import Sound, as_value
from emotape.delivery.cluster.options import settings_of
from emotape.delivery.cluster.share import own_cores
from emotape.settings import recognizer_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.audio.decode import ChannelMode
    from emotape.delivery.cluster.options import ClusterOptions
    from emotape.errors import EmotapeError


class Decoding:
    """Decodes as many files at once as it has cores; FFmpeg and soxr work outside the interpreter's lock."""

    def __init__(self, options: ClusterOptions) -> None:
        self._limits = recognizer_options(settings_of(options)).decode
        self._threads = ThreadPoolExecutor(own_cores(), "emotape-decode")

    async def decode(self, files: Sequence[tuple[bytes, ChannelMode]]) -> tuple[Sound | EmotapeError, ...]:
        """Return the sound of every file, or its error, in order."""
        loop = asyncio.get_running_loop()
        return tuple(
            await asyncio.gather(*(loop.run_in_executor(self._threads, self._decoded, *each) for each in files))
        )

    def _decoded(self, content: bytes, channels: ChannelMode) -> Sound | EmotapeError:
        from emotape.audio.decode import decode

        started = time.perf_counter()
        try:
            found = decode(content, self._limits, channels)
        except Exception as error:  # noqa: BLE001 - whatever one file does to a decoder, the others get their sound
            return as_value(error)
        samples = tuple(waveform.samples for waveform in found.waveforms)
        return Sound(samples, found.warnings, time.perf_counter() - started, found.source, found.corrupt_packets)
