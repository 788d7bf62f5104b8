"""Recordings on their way to a cluster's workers: in numbered chunks, kept until their rows are written."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import ray
import ray.data
from ray.data.block import BlockMetadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.offline.item import Item

CHUNK: Final = 32  # recordings that travel together
_CHUNK_BYTES: Final = 8 * 1024**2  # of recordings that travel themselves


class Feed:
    """Chunks by number, kept until their rows are written; waits for those that are still to come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._chunks: dict[int, bytes] = {}
        self._end: int | None = None
        self._tries: dict[int, int] = {}
        self._at: dict[int, int] = {}  # the recording of a suspect chunk that is in work
        self._deaths: dict[int, list[int]] = {}

    def put(self, number: int, chunk: bytes) -> None:
        """Take a chunk."""
        with self._changed:
            self._chunks[number] = chunk
            self._changed.notify_all()

    def finish(self, end: int) -> None:
        """There are no chunks from `end` on."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def get(self, number: int) -> bytes | None:
        """Return a chunk when it has come, an empty one for what is done, or None when there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: number in self._chunks or self._end is not None)
            return self._chunks.get(number) if self._end is None or number < self._end else None

    def drop(self, number: int) -> None:
        """Forget a chunk, whose rows are written."""
        with self._changed:
            self._chunks[number] = b""
            for kept in (self._tries, self._at, self._deaths):
                kept.pop(number, None)

    def begin(self, number: int) -> tuple[int, list[int]]:
        """Count a try of a chunk; return how many there were, and over which of its recordings workers died."""
        with self._changed:
            self._tries[number] = self._tries.get(number, 0) + 1
            deaths = self._deaths.setdefault(number, [])
            if number in self._at:
                deaths.append(self._at.pop(number))
            return self._tries[number], list(deaths)

    def note(self, number: int, place: int) -> None:
        """Note which recording of a suspect chunk is in work."""
        with self._changed:
            self._at[number] = place


class Chunks(ray.data.Datasource):
    """The chunks of a feed as a source of Ray Data."""

    def __init__(self, feed: Any) -> None:
        self._feed = feed

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows how much will come."""
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:  # noqa: ARG002 - Ray's signature
        """Return one task, which reads as long as there is something."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        feed = self._feed
        return [ray.data.ReadTask(lambda: _read(feed), unknown)]


def _read(feed: Any) -> Iterator[pa.Table]:
    number = 0
    while (chunk := ray.get(feed.get.remote(number))) is not None:
        yield pa.table({"number": [number], "chunk": [chunk]})
        number += 1


class Hand:
    """Gives recordings to a feed in numbered chunks, and takes each number back once."""

    def __init__(self, feed: Any, items: Iterator[Item]) -> None:
        self._feed = feed
        self._items = items
        self._given = 0
        self._out: set[int] = set()
        self._ended = False

    def give(self, chunks: int) -> bool:
        """Give so many chunks, or what is left; return whether any is out."""
        for _ in range(chunks):
            chunk = () if self._ended else tuple(_chunk(self._items))
            if not chunk:
                break
            self._feed.put.remote(self._given, pickle.dumps(chunk))
            self._out.add(self._given)
            self._given += 1
        else:
            return True
        if not self._ended:
            self._ended = True
            self._feed.finish.remote(self._given)
        return bool(self._out)

    def take(self, number: int) -> bool:
        """Take a chunk's number back; return False for one that came before."""
        if number not in self._out:
            return False
        self._out.remove(number)
        self._feed.drop.remote(number)
        return True


def _chunk(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of one chunk; those that hold recordings make it a short one."""
    held = 0
    for item in islice(items, CHUNK):
        source = item.source
        yield replace(item, source=source.absolute()) if isinstance(source, Path) else item
        held += len(item.source) if isinstance(item.source, bytes) else 0
        if held >= _CHUNK_BYTES:
            return
