"""The recognizer of a cluster's ingress: the same questions and answers, given by replicas elsewhere."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from emotape.audio.decode import Recording
from emotape.audio.reader import open_reader
from emotape.audio.waveform import Waveform
from emotape.delivery.cluster.calls import Lost
from emotape.delivery.cluster.dispatch import Dispatch, DispatchOptions, Errand
from emotape.delivery.cluster.loads import Loads
from emotape.delivery.cluster.messages import Question, Sound
from emotape.engine.pipeline import first
from emotape.engine.progress import Pending, Progress, fail
from emotape.engine.settling import Settling
from emotape.engine.wanted import wanted_of
from emotape.errors import BadRequest, EngineFault, Overloaded
from emotape.events import ModelLoaded, Observer, silent, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from emotape.audio.decode import AudioSource, ChannelMode
    from emotape.delivery.cluster.calls import Replicas
    from emotape.delivery.cluster.messages import About
    from emotape.engine.plan import Plan
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import RequestOptions, Wanted
    from emotape.model.labels import Label
    from emotape.recognizer import RecognizerOptions, Source
    from emotape.store.catalogue import ModelEntry

_READERS: Final = 8  # threads; uploads lie in memory or in a temporary file
_JOBS_AT_ONCE: Final = 8
_ATTEMPTS: Final = 4


class RemoteRecognizer:
    """A `Recognition` whose model runs in replicas. Any thread may call it; each request gets exactly one answer.

    `model_asked` returns the name of the model that the current request asks for, "" for the main one.
    """

    def __init__(
        self,
        replicas: Replicas,
        options: RecognizerOptions,
        dispatch: DispatchOptions,
        *,
        model_asked: Callable[[], str] = lambda: "",
        observer: Observer = silent,
    ) -> None:
        self.options = options
        self._replicas = replicas
        self._model_asked = model_asked
        self._observer = observer
        self._loads = Loads(time.monotonic)
        self._dispatch = Dispatch(replicas.recognize, dispatch, self._loads.note)
        self._readers = ThreadPoolExecutor(_READERS, "emotape-read")
        self._places = threading.BoundedSemaphore(options.pending)
        self._about: About | None = None
        self._closed = False

    def open(self) -> RemoteRecognizer:
        """Wait for an engine, and ask it about its model. Raises ModelFault, EngineFault and NotReady."""
        if self._about is None:
            about = self._attempted(lambda: self._replicas.about(""))
            self._about = replace(about, plan=_of_many(about.plan))
            tell(self._observer, ModelLoaded(about.model.name, about.digest, "", about.dtype, 0.0))
        return self

    def close(self) -> None:
        """Answer everything that was admitted; nothing is admitted any more."""
        self._closed = True
        self._readers.shutdown()
        self._dispatch.close()

    def submit(self, source: Source, **wanted: Unpack[RequestOptions]) -> Pending[Prediction]:
        """Do as `Recognizer.submit` does."""
        return first(self._submit(source, "mix", wanted))

    def submit_channels(self, source: Source, **wanted: Unpack[RequestOptions]) -> Pending[tuple[Prediction, ...]]:
        """Do as `Recognizer.submit_channels` does."""
        return self._submit(source, "split", wanted)

    def decode(self, source: AudioSource, channels: ChannelMode = "mix") -> Recording:
        """Have a recording decoded, by a decoding replica where there is one. Raises BadAudio, TooLong, BadRequest."""
        if self._replicas.decoding is None:
            from emotape.audio.decode import decode

            return decode(source, self.options.decode, channels)
        content = read(source, self.options)
        sound = self._attempted(lambda: self._replicas.decode(content, channels))
        waveforms = tuple(map(Waveform, sound.channels))
        assert sound.source is not None  # noqa: S101 - it comes from a file
        return Recording(waveforms, sound.source, sound.warnings, sound.corrupt)

    @property
    def model(self) -> ModelEntry:
        """The model that answers, as the engines know it. Waits for one."""
        return self._known().model

    @property
    def is_ready(self) -> bool:
        """Whether an engine has said what it runs."""
        return self._about is not None

    @property
    def is_asleep(self) -> bool:
        """Never: an engine that lets its model go takes it back itself."""
        return False

    @property
    def digest(self) -> str:
        """The digest of the engines' weights. Waits for one."""
        return self._known().digest

    @property
    def plan(self) -> Plan:
        """How an engine runs, with as many recordings of jobs under way as suits several. Waits for one."""
        return self._known().plan

    @property
    def labels(self) -> tuple[Label, ...]:
        """The emotions that the engines' model knows. Waits for one."""
        return self._known().labels

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for devices, as far as the engines that were lately asked said."""
        return self._loads.waiting()

    @property
    def queue_seconds(self) -> float | None:
        """Seconds of audio that may wait with these engines."""
        return self._loads.bound()

    def _known(self) -> About:
        self.open()
        assert self._about is not None  # noqa: S101 - opening makes it
        return self._about

    def _attempted(self, ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Ask until a replica has an answer."""
        for _ in range(_ATTEMPTS):
            try:
                return self._dispatch.run(ask())
            except Lost as loss:
                last = loss
        raise EngineFault("cluster_gave_up", attempts=_ATTEMPTS, reason=last.reason)

    def _submit(
        self, source: Source, channels: ChannelMode, options: RequestOptions
    ) -> Pending[tuple[Prediction, ...]]:
        wanted = wanted_of(options)
        seconds = options.get("deadline")
        deadline = None if seconds is None else time.monotonic() + seconds
        settling = Settling(self._observer)
        settling.begin()
        return settling.watch(lambda: self._admitted(source, channels, wanted, deadline))

    def _admitted(
        self, source: Source, channels: ChannelMode, wanted: Wanted, deadline: float | None
    ) -> Pending[tuple[Prediction, ...]]:
        if self._closed:
            raise EngineFault("closed")
        model = self._model_asked()
        if not model and not self._known().labels and not wanted.embedding:
            raise BadRequest("no_scores_in_model", model=self.model.name)
        if not self._places.acquire(blocking=False):
            raise Overloaded(retry_after=1.0, waiting=round(self.waiting_seconds))
        answer: Pending[tuple[Prediction, ...]] = Pending()
        answer.add_done_callback(lambda _: self._places.release())
        answer.follow(lambda: Progress("queued", self.waiting_seconds))

        def send(content: bytes | Sound) -> None:
            question = Question(wanted, channels, None, content)
            self._dispatch.send(Errand(model, question, answer, deadline, size_of(content)))

        if isinstance(source, Waveform):
            send(Sound((source.samples,)))
        elif isinstance(source, bytes):
            send(source)
        else:
            self._read_first(source, answer, send)
        return answer

    def _read_first(
        self, source: AudioSource, answer: Pending[tuple[Prediction, ...]], send: Callable[[bytes | Sound], None]
    ) -> None:
        """Read a file in a thread, then send it; what reading raises becomes the answer."""

        def work() -> None:
            try:
                if not answer.done():
                    send(read(source, self.options))
            except BaseException as error:  # noqa: BLE001 - a request without an answer would wait for ever
                fail(answer, error)

        try:
            self._readers.submit(work)
        except RuntimeError as error:  # closed in between
            fail(answer, error)


def read(source: AudioSource, options: RecognizerOptions) -> bytes:
    """Return the content of a recording, within the limits. Raises BadAudio, TooLong and BadRequest."""
    if isinstance(source, bytes):
        return source
    with open_reader(source, options.decode) as reader:
        return b"".join(reader.drain())


def size_of(content: bytes | Sound) -> int:
    """Return what a recording weighs when it is sent, in bytes."""
    return len(content) if isinstance(content, bytes) else sum(each.nbytes for each in content.channels)


def _of_many(plan: Plan) -> Plan:
    """Let more recordings of jobs be under way than one engine decodes at once."""
    return replace(plan, decode_threads=max(plan.decode_threads, _JOBS_AT_ONCE))
