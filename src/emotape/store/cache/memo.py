"""A request on its way past the cache: what is known is answered, what is under way is shared, what ran is kept."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from emotape.audio.waveform import SAMPLE_RATE
from emotape.events import CacheHit, CacheMiss, Observer, tell
from emotape.store.cache.entry import DamagedEntry, entry_size, own_copy, pack, unpack
from emotape.store.cache.key import Sound
from emotape.store.cache.recordings import Known, KnownRecordings, in_memory, recording_name
from emotape.store.cache.shared_runs import Caller, SharedRuns

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.audio.decode import ChannelMode, DecodeLimits
    from emotape.audio.reader import AudioSource
    from emotape.audio.waveform import Waveform
    from emotape.engine.prediction import Decoding
    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import Wanted
    from emotape.store.cache.result_cache import ResultCache

log = logging.getLogger("emotape")

_LARGEST: Final = 8_000_000  # bytes of arrays: the embeddings of 40 s of frames; packing more would hold others up


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a look-up or a run gave, still without the warnings of any one file; the look-up took `looked` seconds."""

    predictions: tuple[Prediction, ...]
    ran: bool
    looked: float


@dataclass(frozen=True)
class Steps:
    """What the memo leaves to others.

    key(sound, wanted)                          gives the cache's key
    run(decoding, wanted, work, deadline, end)  leads to `work` having `end(predictions)` as its result, or an error
    elsewhere(task)                             does a task in another thread; raises RuntimeError when there is none
    """

    key: Callable[[Sound, Wanted], str]
    run: Callable[[Decoding, Wanted, Pending[Outcome], float | None, Callable[[tuple[Prediction, ...]], Outcome]], None]
    elsewhere: Callable[[Callable[[], None]], object]


@dataclass(frozen=True, eq=False)
class Asked:
    """A recording and what is wanted of it. `deadline` is on the monotonic clock.

    `decode(source, channels)` gives the waveforms; it raises BadAudio, TooLong and Overloaded.
    """

    source: AudioSource | Waveform
    decode: Callable[[AudioSource | Waveform, ChannelMode], Decoding]
    channels: ChannelMode
    wanted: Wanted
    deadline: float | None


class Memo:
    """Stands between requests and the network."""

    def __init__(self, cache: ResultCache, steps: Steps, limits: DecodeLimits, observer: Observer) -> None:
        self._cache = cache
        self._steps = steps
        self._limits = limits
        self._observer = observer
        self._recordings = KnownRecordings()
        self._runs: SharedRuns[Outcome] = SharedRuns(steps.elsewhere)

    def answer(self, asked: Asked, answer: Pending[tuple[Prediction, ...]]) -> None:
        """Lead a request to its answer. Raises as decoding does."""
        started = time.perf_counter()
        source = in_memory(asked.source, self._limits)
        name = recording_name(source, asked.channels)
        known, decoding = self._recordings.find(name), None
        if known is None:
            decoding = asked.decode(source, asked.channels)
            known = Known(Sound.of(decoding.waveforms), decoding.warnings)
            self._recordings.note(name, known)
        key = self._steps.key(known.sound, asked.wanted)
        heard = time.perf_counter()

        def start(work: Pending[Outcome], deadline: float | None) -> None:
            found = self._found(key)
            looked = time.perf_counter() - heard
            if found is not None:
                work.set_result(Outcome(found, ran=False, looked=looked))
                return
            tell(self._observer, CacheMiss(_seconds(known), looked))
            # In the cache's terms a recording is its sound: the warnings of this file are for its own callers.
            bare = replace(decoding or asked.decode(source, asked.channels), warnings=())
            self._steps.run(bare, asked.wanted, work, deadline, lambda made: self._kept(key, made, looked))

        def deliver(outcome: Outcome, own: bool) -> tuple[Prediction, ...]:
            stages = {"decode": heard - started, "cache": time.perf_counter() - heard}
            if not (own and outcome.ran):
                tell(self._observer, CacheHit(_seconds(known), stages["cache"], shared=outcome.ran))
            return tuple(
                _delivered(prediction, known.warnings, outcome, None if own and outcome.ran else stages)
                for prediction in outcome.predictions
            )

        self._runs.join(key, Caller(answer, asked.deadline, deliver), start)

    def _found(self, key: str) -> tuple[Prediction, ...] | None:
        try:
            entry = self._cache.get(key)
            return None if entry is None else unpack(entry)
        except DamagedEntry as damage:
            log.warning("an entry of the cache cannot be read: %s", damage)
        except Exception:  # a cache that fails must never cost a request its answer
            log.exception("the cache could not be asked")
        return None

    def _kept(self, key: str, predictions: tuple[Prediction, ...], looked: float) -> Outcome:
        """Keep what ran, if it is not too large, before anybody is told."""
        if entry_size(predictions) <= _LARGEST:
            try:
                self._cache.put(key, pack(predictions))
            except Exception:  # as above
                log.exception("a result could not be kept")
        return Outcome(predictions, ran=True, looked=looked)


def _seconds(known: Known) -> float:
    return sum(known.sound.samples) / SAMPLE_RATE


def _delivered(
    prediction: Prediction, warnings: tuple[str, ...], outcome: Outcome, stages: dict[str, float] | None
) -> Prediction:
    """Make a prediction one caller's own: its file's warnings, its stages (None: those of the run), its arrays."""
    if stages is None:
        own = {"decode": prediction.stages.get("decode", 0.0), "cache": outcome.looked}
        rest = {stage: seconds for stage, seconds in prediction.stages.items() if stage not in own}
        return replace(prediction, warnings=(*warnings, *prediction.warnings), stages=own | rest)
    return replace(own_copy(prediction), warnings=(*warnings, *prediction.warnings), stages=stages)
