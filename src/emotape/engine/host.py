"""Keeps a pipeline while it is needed: it is loaded once for all, follows its load, and is let go when nobody asks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from emotape.engine.control.adaptation import Adaptation
from emotape.engine.control.pressure import MemoryWatch
from emotape.engine.control.release import return_memory, trim
from emotape.engine.control.ticker import Ticker
from emotape.engine.pipeline import attempted
from emotape.engine.progress import Pending, Progress, fail
from emotape.engine.residence import Residence
from emotape.errors import Overloaded
from emotape.events import ModelUnloaded, Observer, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from emotape.audio.processes import Decoder
    from emotape.engine.pipeline import Pipeline
    from emotape.engine.plan import Plan
    from emotape.model.labels import Label

    # Leads to a request's answer, or raises what it is answered with; called once more if it raised NoRoom.
    Hear = Callable[["Loaded[Before]", Pending["Answer"], Decoder], None]

Answer = TypeVar("Answer")
Before = TypeVar("Before")

TICK_SECONDS: Final = 1.0
"""How often the engine and its memory are looked at."""


@dataclass(frozen=True)
class HostOptions:
    """How a pipeline is kept.

    adapt         follow what is measured: decoding, tapes, and what memory allows
    idle_seconds  let the model go after so long without a request; None: never
    most_coming   requests that may wait for a model that comes back
    """

    adapt: bool
    idle_seconds: float | None
    most_coming: int


@dataclass(frozen=True, eq=False)
class Loaded(Generic[Before]):
    """A pipeline, and what stands before it."""

    pipeline: Pipeline
    before: Before
    attendant: Ticker | None

    def close(self) -> None:
        """Answer everything that was admitted, then end."""
        if self.attendant is not None:
            self.attendant.stop()
        self.pipeline.close()


@dataclass(frozen=True, eq=False)
class About:
    """What stays known of a model that was let go."""

    name: str
    digest: str
    plan: Plan
    labels: tuple[Label | None, ...]


class Host(Generic[Before]):
    """Keeps what `load` makes, and what `prepare` puts before it. Safe to use from any thread.

    `keep` is told which share of its memory a cache may fill. Nothing is loaded or started before it is needed.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        prepare: Callable[[Pipeline], Before],
        keep: Callable[[float], None],
        options: HostOptions,
        observer: Observer,
    ) -> None:
        self._make = load
        self._prepare = prepare
        self._keep = keep
        self._options = options
        self._observer = observer
        self._residence: Residence[Loaded[Before]] = Residence(self._load)
        self._about: About | None = None

    @property
    def present(self) -> Pipeline | None:
        """The pipeline, if it is loaded now. Never waits."""
        loaded = self._residence.present
        return None if loaded is None else loaded.pipeline

    @property
    def is_asleep(self) -> bool:
        """Whether the model was let go and comes back when it is needed. Never waits."""
        return self._about is not None and self._residence.present is None and not self._residence.is_closed

    def about(self) -> About:
        """Return what is known of the model, which is loaded if it never was. Raises EngineFault `closed`."""
        self._residence.check()
        if self._about is None:
            with self.inside():
                pass
        assert self._about is not None  # noqa: S101 - loading makes it
        return self._about

    @contextmanager
    def inside(self) -> Iterator[Pipeline]:
        """Give the pipeline, loaded first if need be, and keep it meanwhile."""
        loaded = self._residence.enter()
        try:
            yield loaded.pipeline
        finally:
            self._residence.leave()

    def admit(self, hear: Hear[Before, Answer], deadline: float | None = None) -> Pending[Answer]:
        """Admit a request, and keep the model until it is answered; one that was let go comes back meanwhile.

        `deadline` is on the monotonic clock. Raises Overloaded, and EngineFault `closed`.
        """
        loaded = self._residence.enter_if_present()
        if loaded is not None:
            return self._entered(loaded, hear, deadline)
        if self._residence.coming >= self._options.most_coming:
            raise Overloaded(retry_after=1.0, waiting=0)
        answer: Pending[Answer] = Pending()
        answer.follow(lambda: Progress("loading"))
        self._residence.enter_later(
            lambda loaded: attempted(answer, lambda: self._entered(loaded, hear, deadline)),
            lambda error: fail(answer, error),
        )
        return answer

    def close(self) -> None:
        """Answer everything that was admitted, then let the model go for good."""
        self._residence.close()

    def _entered(self, loaded: Loaded[Before], hear: Hear[Before, Answer], deadline: float | None) -> Pending[Answer]:
        def heard(answer: Pending[Answer], decode: Decoder) -> None:
            hear(loaded, answer, decode)

        try:
            admitted = loaded.pipeline.admit(heard, deadline)
        except BaseException:
            self._residence.leave()
            raise
        admitted.add_done_callback(lambda _: self._residence.leave())
        return admitted

    def _load(self) -> Loaded[Before]:
        pipeline = self._make()
        resident = pipeline.resident
        self._about = About(resident.name, resident.digest, resident.plan, resident.labels)
        return Loaded(pipeline, self._prepare(pipeline), self._attendant(pipeline))

    def _attendant(self, pipeline: Pipeline) -> Ticker | None:
        """Return the thread, running, that adapts a pipeline and lets it go; None if neither is wanted."""
        options = self._options
        if not options.adapt and options.idle_seconds is None:
            return None
        adapt = self._adaptation(pipeline).tick if options.adapt else lambda: None

        def tick() -> bool:
            adapt()
            return not self._let_go(name)

        name = pipeline.resident.name
        ticker = Ticker(tick, TICK_SECONDS, return_memory)
        ticker.start()
        return ticker

    def _adaptation(self, pipeline: Pipeline) -> Adaptation:
        self._keep(1.0)
        return Adaptation(
            pipeline,
            memory=MemoryWatch(),
            keep=self._keep,
            release=pipeline.release,
            trim=trim,
            observer=self._observer,
        )

    def _let_go(self, name: str) -> bool:
        idle = self._options.idle_seconds
        if idle is None or not self._residence.let_go(idle):
            return False
        tell(self._observer, ModelUnloaded(name, idle))
        return True
