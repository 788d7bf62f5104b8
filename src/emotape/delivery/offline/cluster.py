"""Answers from a Ray cluster: this process hands recordings out and alone writes what comes back.

A streaming pipeline of Ray Data: one reader brings chunks of recordings as they are wanted, workers that each keep a
model answer them. Chunks wait in the feed, a process of its own, until their rows are in the output. A worker that dies
is replaced and its chunks are given out again; a reader that starts again gets the same chunks under the same numbers.
"""

from __future__ import annotations

import logging
import pickle
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import ray
import ray.data

from emotape.delivery.joining import first_line
from emotape.delivery.offline.answers import packed
from emotape.delivery.offline.feed import CHUNK, Chunks, Feed, Hand
from emotape.delivery.offline.forms import form_of
from emotape.delivery.offline.local import local_engine
from emotape.delivery.offline.rows import failure_row
from emotape.errors import EmotapeError, EngineFault, as_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from emotape.delivery.offline.answers import Answers
    from emotape.delivery.offline.item import Item
    from emotape.delivery.offline.local import LocalEngine
    from emotape.delivery.offline.placement import Workers
    from emotape.delivery.offline.rows import Asked, Row
    from emotape.recognizer import RecognizerOptions
    from emotape.wording import Language

_AHEAD: Final = 4  # chunks under way for each worker: two in work, two on their way
_CALLS: Final = 2  # chunks that a worker works on at once, so that its tapes stay full between them
_SUSPECT: Final = 3  # tries of a chunk after which its recordings are answered one by one
_DEADLY: Final = 2  # deaths of a worker over one recording


@dataclass(frozen=True)
class Order:
    """What every worker does: with which model, what is asked, in which form and language rows come back."""

    model: str | Path | None
    options: RecognizerOptions
    asked: Asked
    language: Language
    as_json: bool


class Worker:
    """One model in one process of the cluster, called with chunks by Ray Data, a few at a time."""

    def __init__(self, order: Order, feed: Any) -> None:
        self._order = order
        self._feed = feed
        self._form = form_of(order.asked, as_json=order.as_json)
        self._loading = threading.Lock()
        self._engine: LocalEngine | None = None

    def __call__(self, chunks: pa.Table) -> pa.Table:
        """Return the answers to chunks, or the error that ends the run."""
        numbers = chunks.column("number").to_pylist()
        found = [self._answered(number, chunk) for number, chunk in zip(numbers, chunks.column("chunk"), strict=True)]
        return pa.table({"number": numbers, "answers": [pickle.dumps(answers) for answers in found]})

    def _answered(self, number: int, chunk: pa.Scalar) -> Answers | EmotapeError:
        items: Sequence[Item] = pickle.loads(chunk.as_py())  # noqa: S301 - from our own process
        try:
            tries, deaths = ray.get(self._feed.begin.remote(number))
            rows = self._rows(items) if tries < _SUSPECT else self._rows_one_by_one(number, items, deaths)
            return packed(rows, self._form)
        except Exception as error:  # noqa: BLE001 - Ray would try again, for ever
            return as_fault(error)

    def _rows(self, items: Sequence[Item]) -> list[Row]:
        return [row for rows in self._loaded().rows(items, CHUNK) for row in rows]

    def _rows_one_by_one(self, number: int, items: Sequence[Item], deaths: Sequence[int]) -> list[Row]:
        """Answer what killed workers before; who did so twice is given up."""
        rows = []
        for place, item in enumerate(items):
            if deaths.count(place) >= _DEADLY:
                error = EngineFault("batch_worker_died")
                rows.append(failure_row(item, error, self._order.asked, self._order.language))
            else:
                ray.get(self._feed.note.remote(number, place))
                rows += self._rows([item])
        return rows

    def _loaded(self) -> LocalEngine:
        from emotape.recognizer import Recognizer

        order = self._order
        with self._loading:
            if self._engine is None:
                recognizer = Recognizer(order.model, options=order.options).open()
                self._engine = local_engine(recognizer, order.asked, order.language)
            return self._engine


@dataclass(frozen=True)
class Cluster:
    """The engine of a whole cluster."""

    order: Order
    workers: Workers

    def answers(self, items: Iterable[Item]) -> Iterator[Answers]:
        """Yield the answers to each chunk once, as they come. Raises EngineFault ("batch_ray_failed")."""
        feed: Any = ray.remote(Feed).options(num_cpus=0, max_concurrency=4 + 2 * _CALLS * self.workers.count).remote()
        hand = Hand(feed, iter(items))
        if not hand.give(_AHEAD * self.workers.count):
            return
        with _told(), _single_rows():
            try:
                for number, answers in _results(self._pipeline(feed)):
                    if isinstance(answers, EmotapeError):
                        raise answers
                    if hand.take(number):
                        yield answers
                        hand.give(1)
            finally:
                ray.kill(feed)

    def _pipeline(self, feed: Any) -> Any:
        workers = self.workers
        chunks = ray.data.read_datasource(Chunks(feed), concurrency=1, num_cpus=0)
        return chunks.map_batches(
            Worker,
            fn_constructor_args=(self.order, feed),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                size=workers.count, max_concurrent_calls_per_actor=_CALLS, enable_true_multi_threading=True
            ),
            num_cpus=workers.processors,
            num_gpus=workers.cards or None,
        )


def _results(pipeline: Any) -> Iterator[tuple[int, Answers | EmotapeError]]:
    for batch in pipeline.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            yield row["number"], pickle.loads(row["answers"])  # noqa: S301 - from workers of our own


@contextmanager
def _told() -> Iterator[None]:
    """Turn what Ray raises into EngineFault ("batch_ray_failed"), and let Ray Data say only what is wrong."""
    loggers = [logging.getLogger(name) for name in ("ray.data", "ray")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    except ray.exceptions.RayError as error:
        raise EngineFault("batch_ray_failed", reason=first_line(error)) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _single_rows() -> Iterator[None]:
    """Let every row travel on its own as soon as it is there: a row of ours is a whole chunk."""
    context = ray.data.DataContext.get_current()
    before = context.target_max_block_size, context.enable_progress_bars
    context.target_max_block_size, context.enable_progress_bars = 1, False
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars = before
