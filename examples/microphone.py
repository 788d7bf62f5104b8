"""What a microphone hears, second by second: python microphone.py [SERVER [RECORDING]]; Ctrl-C ends it.

Needs `emotape serve`, here or elsewhere, and `pip install sounddevice`. A RECORDING is heard instead of the microphone.
"""
# ruff: noqa: T201

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import emotape

RATE = 16_000  # Hz
BLOCK = RATE // 10  # samples


async def microphone() -> AsyncIterator[bytes]:
    """Yield blocks of the sound as it comes, without end."""
    import sounddevice

    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[bytes] = asyncio.Queue()

    def heard(block: memoryview, *_: object) -> None:  # called from a thread of sounddevice's own
        loop.call_soon_threadsafe(blocks.put_nowait, bytes(block))

    with sounddevice.RawInputStream(RATE, BLOCK, channels=1, dtype="float32", callback=heard):
        while True:
            yield await blocks.get()


async def recording(path: str) -> AsyncIterator[bytes]:
    """Yield blocks of a file."""
    samples = emotape.decode(path).waveforms[0].samples
    for start in range(0, len(samples), BLOCK):
        yield samples[start : start + BLOCK].tobytes()


async def main(server: str = "http://127.0.0.1:7860", path: str | None = None) -> None:
    """Print a line for every window of two seconds, and what the whole sounded like if it has an end."""
    sound = recording(path) if path else microphone()
    options = emotape.StreamOptions("f32le", RATE, window=2.0, hop=1.0, late="wait" if path else "skip")
    async with emotape.AsyncClient(server) as client:
        async for told in client.stream(sound, options):
            if isinstance(told, emotape.StreamSummary):
                print(f"the whole: {told.emotion} {told.confidence:.0%}")
                continue
            heard = told.prediction
            said = f"{heard.emotion} {heard.confidence:.0%}" if heard else told.error
            print(f"{told.start:5.1f} – {told.stop:5.1f} s  {said}")


with suppress(KeyboardInterrupt):
    asyncio.run(main(*sys.argv[1:]))
