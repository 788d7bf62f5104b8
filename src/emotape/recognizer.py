"""The spine on one screen: bytes → waveform → windows → tape → scores → prediction.

A `Recognizer` keeps one model resident. Recordings are decoded in a small pool of threads while the network runs; any
number of threads and coroutines may call it at once, and each request gets exactly one answer.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar, Unpack

from emotape.audio.decode import AudioSource, ChannelMode, DecodeLimits, Recording
from emotape.audio.reader import way_back
from emotape.audio.samples import check_samples
from emotape.audio.waveform import Waveform
from emotape.audio.window import WindowOptions
from emotape.engine.flight import in_order, room_for
from emotape.engine.host import Host, HostOptions, Loaded
from emotape.engine.machine import look_at_machine
from emotape.engine.pipeline import Pipeline, first, waited
from emotape.engine.prediction import Decoding, Heard, embedding_bytes, listen_to, predict
from emotape.engine.progress import Pending, Progress
from emotape.engine.resident import EngineOptions, Resident
from emotape.engine.runner import Clip
from emotape.engine.segments import SegmentOptions
from emotape.engine.settling import Settling
from emotape.engine.wanted import RequestOptions, Wanted, wanted_of
from emotape.errors import BadRequest, Expired
from emotape.events import Decoded, Observer, silent, tell
from emotape.store.cache.key import Network, cache_key
from emotape.store.cache.memo import Asked, Memo, Steps
from emotape.store.cache.result_cache import keeper
from emotape.store.catalogue import ModelEntry, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from emotape.audio.processes import Decoder
    from emotape.engine.plan import Plan
    from emotape.engine.result import Prediction
    from emotape.engine.scheduler import RunReport
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label
    from emotape.store.cache.result_cache import ResultCache

Answer = TypeVar("Answer")
Given = TypeVar("Given", bound="Source")
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Waveform


@dataclass(frozen=True)
class RecognizerOptions:
    """How a recognizer works: every stage's own options, and how many requests may be under way at once.

    With `adapt` the engine follows what is measured as it runs: decoding, tapes, and what memory allows. After
    `idle_unload_seconds` without a request the model is let go, and the next request loads it again; None: never.
    """

    decode: DecodeLimits = field(default_factory=DecodeLimits)
    window: WindowOptions = field(default_factory=WindowOptions)
    segment: SegmentOptions = field(default_factory=SegmentOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    models_folder: Path | None = None
    pending: int = 1024
    adapt: bool = False
    idle_unload_seconds: float | None = None


class Recognizer:
    """Recognizes emotions with one model, which is loaded once: on entering the context, or at the first use.

        with Recognizer() as recognizer:
            print(recognizer.recognize("speech.mp3").emotion)

    `model` is a name ("plus-large"), a directory, or None for the best model on this machine. With a `cache`
    (`MemoryCache()`, say) equal requests are calculated once; whoever made the cache closes it. Safe to use from any
    thread. Raises ModelFault when there is no such model.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        options: RecognizerOptions | None = None,
        observer: Observer = silent,
        cache: ResultCache | None = None,
    ) -> None:
        self.options = options or RecognizerOptions()
        self.model: ModelEntry = resolve(model, self.options.models_folder)
        self._observer = observer
        self._cache = cache
        host = HostOptions(self.options.adapt, self.options.idle_unload_seconds, self.options.pending)
        self._host: Host[Memo | None] = Host(self._load, self._memo_before, keeper(cache), host, observer)

    def recognize(self, source: Source, **wanted: Unpack[RequestOptions]) -> Prediction:
        """Return the emotion of a recording, its channels mixed down.

        `source` is a path, bytes, a binary file or a Waveform. Raises BadAudio or TooLong for input that cannot be
        used, BadRequest, Overloaded, Expired, Cancelled, ModelFault or EngineFault.
        """
        return waited(self.submit(source, **wanted))

    def recognize_channels(self, source: Source, **wanted: Unpack[RequestOptions]) -> tuple[Prediction, ...]:
        """Return the emotion of each channel of a recording, in order; otherwise like `recognize`."""
        return waited(self.submit_channels(source, **wanted))

    def recognize_many(
        self, sources: Iterable[Given], **wanted: Unpack[RequestOptions]
    ) -> Iterator[tuple[Given, Prediction | EmotapeError]]:
        """Yield every recording with its prediction, or with the error that it met, in the order given.

        As many are under way as keep the engine at work, and no more than there is room for, so `sources` may be
        endless. A deadline counts from when a recording's turn comes. Ending early withdraws what is under way.
        Raises BadRequest, ModelFault, and EngineFault `closed`, which no other recording would be spared.
        """
        wanted_of(wanted)
        return self._many(sources, wanted)

    async def arecognize(self, source: Source, **wanted: Unpack[RequestOptions]) -> Prediction:
        """Like `recognize`, for coroutines; cancelling the task withdraws the request."""
        await asyncio.to_thread(self.open)
        return await asyncio.wrap_future(self.submit(source, **wanted))

    def submit(self, source: Source, **wanted: Unpack[RequestOptions]) -> Pending[Prediction]:
        """Like `recognize`, without waiting. `cancel()` withdraws the request, `progress()` says how far it is.

        Raises BadRequest, Overloaded, ModelFault and EngineFault `closed` at once; other errors are the future's.
        """
        return first(self._submit(source, "mix", wanted))

    def submit_channels(self, source: Source, **wanted: Unpack[RequestOptions]) -> Pending[tuple[Prediction, ...]]:
        """Like `submit`, for each channel of a recording, in order."""
        return self._submit(source, "split", wanted)

    def decode(self, source: AudioSource, channels: ChannelMode = "mix") -> Recording:
        """Decode a recording as its requests would: within the same limits, in the same processes. Loads the model.

        Raises BadAudio, TooLong and BadRequest.
        """
        with self._host.inside() as pipeline:
            return self._recording(pipeline.decode, source, channels)

    def open(self) -> Self:
        """Load the model and make it warm, if it is not yet. Raises ModelFault or EngineFault."""
        self._ready()
        return self

    def close(self) -> None:
        """Answer everything that was admitted, then let the model go. Nothing is admitted any more."""
        self._host.close()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and warm, or comes back with the next request. Never waits."""
        return self._host.present is not None or self._host.is_asleep

    @property
    def is_asleep(self) -> bool:
        """Whether the model was let go for want of requests; the next one loads it again. Never waits."""
        return self._host.is_asleep

    @property
    def digest(self) -> str:
        """The digest of the weights. Loads the model the first time."""
        return self._host.about().digest

    @property
    def plan(self) -> Plan:
        """How the engine runs on this machine. Loads the model the first time."""
        return self._host.about().plan

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for a device; none while no model is loaded. Never waits."""
        pipeline = self._host.present
        return 0.0 if pipeline is None else pipeline.resident.waiting_seconds

    @property
    def queue_seconds(self) -> float | None:
        """Seconds of audio that may wait now: the plan's, or fewer; None while no model is loaded. Never waits."""
        pipeline = self._host.present
        return None if pipeline is None else pipeline.resident.scheduler.queue_seconds

    @property
    def labels(self) -> tuple[Label, ...]:
        """The emotions that the model knows, in its own order; none for an embedding-only one. Loads the first time."""
        return tuple(label for label in self._host.about().labels if label is not None)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.open)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _submit(
        self, source: Source, channels: ChannelMode, options: RequestOptions
    ) -> Pending[tuple[Prediction, ...]]:
        """Tell the whole story of one request."""
        wanted = wanted_of(options)
        seconds = options.get("deadline")
        deadline = None if seconds is None else time.monotonic() + seconds
        if not self._host.about().labels and not wanted.embedding:
            raise BadRequest("no_scores_in_model", model=self.model.name)

        settling = Settling(self._observer)
        back = None if isinstance(source, Waveform) else way_back(source)

        def hear(loaded: Loaded[Memo | None], answer: Pending[tuple[Prediction, ...]], decoder: Decoder) -> None:
            settling.begin()
            if back is not None:
                back()  # it may have been read before there was room for it
            answer.follow(lambda: Progress("decoding"))
            if deadline is not None and time.monotonic() > deadline:
                raise Expired("expired")
            if isinstance(source, Waveform):
                check_samples(source.samples)  # a file's are checked as they are decoded
                loaded.pipeline.hold(source.samples.nbytes, answer)
            decode = partial(self._decoded, decoder)
            if loaded.before is not None:
                loaded.before.answer(Asked(source, decode, channels, wanted, deadline), answer)
            else:
                self._run(loaded.pipeline, decode(source, channels), wanted, answer, deadline, lambda made: made)

        return settling.watch(lambda: self._host.admit(hear, deadline))

    def _many(
        self, sources: Iterable[Given], wanted: RequestOptions
    ) -> Iterator[tuple[Given, Prediction | EmotapeError]]:
        room = room_for(self.plan, look_at_machine().memory)
        asked = ((source, source) for source in sources)
        yield from in_order(lambda source: self.submit(source, **wanted), self, room, asked)

    def _decoded(self, decode: Decoder, source: Source, channels: ChannelMode) -> Decoding:
        """Decode a recording, unless it is."""
        if isinstance(source, Waveform):
            return Decoding((source,), (), 0.0)
        started = time.perf_counter()
        recording = self._recording(decode, source, channels)
        return Decoding(recording.waveforms, recording.warnings, time.perf_counter() - started)

    def _recording(self, decode: Decoder, source: AudioSource, channels: ChannelMode) -> Recording:
        started = time.perf_counter()
        recording = decode(source, self.options.decode, channels)
        about = recording.source
        tell(self._observer, Decoded(about.container, about.codec, about.seconds, time.perf_counter() - started))
        return recording

    def _run(
        self,
        pipeline: Pipeline,
        decoding: Decoding,
        wanted: Wanted,
        answer: Pending[Answer],
        deadline: float | None,
        end: Callable[[tuple[Prediction, ...]], Answer],
    ) -> None:
        """Find a recording's windows, have them run, and answer with what `end` makes of the predictions."""
        answer.follow(lambda: Progress("decoding"))
        if wanted.frame_embeddings:
            size = embedding_bytes(decoding.waveforms, pipeline.resident.dims)
            pipeline.room.require(size)
            pipeline.hold(size, answer)
        window, stages = self.options.window, {"decode": decoding.seconds}
        heard = [listen_to(waveform, decoding.warnings, wanted, window, stages) for waveform in decoding.waveforms]
        clips = [
            Clip(channel.waveform.part(span.start, span.stop), wanted.frame_embeddings)
            for channel in heard
            for span in channel.spans
        ]
        report = pipeline.resident.submit(clips, deadline)
        answer.add_done_callback(lambda _: report.cancel())
        pipeline.when_done(
            report, answer, lambda scores: end(self._predictions(pipeline.resident, heard, scores, wanted))
        )

    def _predictions(
        self, resident: Resident, heard: Sequence[Heard], report: RunReport, wanted: Wanted
    ) -> tuple[Prediction, ...]:
        """Give every channel the scores of its own windows."""
        scores = iter(report.scores)
        run = {"queue": report.queue_seconds, "run": report.run_seconds}
        return tuple(
            predict(
                replace(channel, stages={**channel.stages, **run}),
                [next(scores) for _ in channel.spans],
                resident.classes,
                wanted,
                resident.provenance(channel.waveform, experimental=self.model.experimental),
                self.options.segment,
            )
            for channel in heard
        )

    def _ready(self) -> Pipeline:
        with self._host.inside() as pipeline:
            return pipeline

    def _load(self) -> Pipeline:
        resident = Resident(self.model.path, self.model.name, self.options.engine, self._observer)
        return Pipeline(resident, self.options.pending)

    def _memo_before(self, pipeline: Pipeline) -> Memo | None:
        """Put the cache between requests and the network, if there is one."""
        if self._cache is None:
            return None
        options, resident = self.options, pipeline.resident
        network = Network(resident.digest, resident.dtype)
        steps = Steps(
            key=lambda sound, wanted: cache_key(sound, wanted, network, options.window, options.segment),
            run=lambda *request: self._run(pipeline, *request),
            elsewhere=pipeline.aside,
        )
        return Memo(self._cache, steps, options.decode, self._observer)
