"""An engine replica: a real recognizer, its tapes laid from its own queue, and a few more models on request."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from emotape.audio.waveform import Waveform
from emotape.delivery.cluster.busy import Busy
from emotape.delivery.cluster.messages import About, Answers, Load, Question, Sound, as_value
from emotape.delivery.cluster.options import choice, settings_of
from emotape.delivery.cluster.share import own_cores
from emotape.delivery.engine_log import EngineLog
from emotape.delivery.rehearsal import rehearse
from emotape.engine.plan import QUEUE_SECONDS_PER_CORE
from emotape.errors import EmotapeError, EngineFault
from emotape.events import fan_out
from emotape.recognizer import Recognizer
from emotape.settings import cache_options, recognizer_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.delivery.cluster.options import ClusterOptions
    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import RequestOptions
    from emotape.recognizer import RecognizerOptions

_TRIES: Final = 3  # a model may be let go for another in the moment in which it is asked


class Engine:
    """Answers questions. Loading takes place in the constructor; raises ModelFault and EngineFault there."""

    def __init__(self, options: ClusterOptions) -> None:
        from ray import serve

        from emotape.store.cache.options import open_cache

        settings = settings_of(options)
        self._named = options.models
        self._options = shared_out(recognizer_options(settings), own_cores())
        self._busy = Busy(time.monotonic)
        self._observer = fan_out(self._busy, EngineLog(settings.language or "en"))
        self._cache = open_cache(cache_options(settings), self._busy)
        self._kept = self._cache.__enter__()
        self._main = self._opened(settings.model)
        rehearse()
        self._others: WeakValueDictionary[str, Model] = WeakValueDictionary()
        self._replica = serve.get_replica_context().replica_id.unique_id

        async def load(name: str) -> Model:
            return await asyncio.to_thread(self._another, name)

        # Made here, because how many may be kept is a matter of the configuration.
        self._another_model: Any = serve.multiplexed(max_num_models_per_replica=options.models_at_once)(load)

    async def about(self, name: str = "") -> About | EmotapeError:
        """Return what is known of a model; without a name, of the main one."""
        try:
            recognizer = await self._recognizer(name)
            dtype = recognizer.plan.arithmetic
            return About(recognizer.model, recognizer.digest, dtype, recognizer.plan, recognizer.labels)
        except Exception as error:  # noqa: BLE001 - errors travel as values
            return as_value(error)

    async def recognize(
        self, questions: Sequence[Question], sounds: Sequence[Sound | EmotapeError] | None = None
    ) -> Answers:
        """Answer every question; `sounds` are their recordings where they did not bring them."""
        from ray import serve

        name = serve.get_multiplexed_model_id()
        brought = [question.content for question in questions] if sounds is None else sounds
        pairs = zip(questions, brought, strict=True)
        given = await asyncio.gather(*(self._answered(name, question, content) for question, content in pairs))
        return Answers(tuple(given), self._load())

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the seconds of audio that wait, and the share of the last while in which a device ran."""
        return {"queued_seconds": self._load().waiting, "busy": self._busy.share()}

    def check_health(self) -> None:
        """Raise when this replica cannot answer any more; Ray Serve then starts another."""
        if not self._main.is_ready:
            raise EngineFault("closed")

    def __del__(self) -> None:
        """Let go of every model, once everything is answered."""
        with suppress(AttributeError):  # the constructor failed
            for recognizer in (self._main, *(model.recognizer for model in self._others.values())):
                recognizer.close()
            self._cache.__exit__(None, None, None)

    async def _answered(
        self, name: str, question: Question, content: bytes | Sound | EmotapeError | None
    ) -> tuple[Prediction, ...] | EmotapeError:
        if isinstance(content, EmotapeError):
            return content
        try:
            return await self._predictions(name, question, content)
        except Exception as error:  # noqa: BLE001 - errors travel as values
            return as_value(error)

    async def _predictions(
        self, name: str, question: Question, content: bytes | Sound | None
    ) -> tuple[Prediction, ...]:
        pending = await self._submitted(name, question, content)
        try:
            found = await asyncio.gather(*map(asyncio.wrap_future, pending))
        finally:
            for future in pending:
                future.cancel()
        flat = tuple(each for answer in found for each in (answer if isinstance(answer, tuple) else (answer,)))
        return tuple(_with_decoding(each, content) for each in flat) if isinstance(content, Sound) else flat

    async def _submitted(self, name: str, question: Question, content: bytes | Sound | None) -> list[Pending[Any]]:
        """Submit a recording to its model; one that was let go just now is loaded again."""
        for _ in range(_TRIES):
            recognizer = await self._recognizer(name)
            try:
                return _submit(recognizer, question, content)
            except EngineFault as fault:
                if fault.code != "closed" or not name:
                    raise
        raise EngineFault("closed")

    async def _recognizer(self, name: str) -> Recognizer:
        other = choice(name, self._main.model.name, self._named)
        if not other:
            return self._main
        model: Model = await self._another_model(other)
        return model.recognizer

    def _another(self, name: str) -> Model:
        model = self._others[name] = Model(self._opened(name))
        return model

    def _opened(self, name: str | None) -> Recognizer:
        return Recognizer(name, options=self._options, observer=self._observer, cache=self._kept).open()

    def _load(self) -> Load:
        every = (self._main, *(model.recognizer for model in self._others.values()))
        return Load(self._replica, sum(each.waiting_seconds for each in every), self._main.queue_seconds)


class Model:
    """A model that requests may name. Ray Serve calls its destructor, in a thread, when it makes room for another."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def __del__(self) -> None:
        """Answer what was admitted, then let the model go."""
        self.recognizer.close()


def shared_out(options: RecognizerOptions, cores: int) -> RecognizerOptions:
    """Let a recognizer use so many cores of its machine, unless the user decided otherwise.

    It decodes in threads: processes of its own would be more than Ray knows of.
    """
    engine = options.engine
    on_processor = engine.device == "cpu" or not _has_card()
    return replace(
        options,
        engine=replace(
            engine,
            compute_threads=engine.compute_threads or cores,
            decode_threads=engine.decode_threads or cores,
            decode_processes=engine.decode_processes or 0,
            queue_seconds=engine.queue_seconds or (QUEUE_SECONDS_PER_CORE * cores if on_processor else None),
        ),
    )


def _has_card() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _submit(recognizer: Recognizer, question: Question, content: bytes | Sound | None) -> list[Pending[Any]]:
    wanted = question.wanted
    options: RequestOptions = {
        "granularity": wanted.granularity,
        "embedding": wanted.embedding,
        "quality": wanted.quality,
        "deadline": question.seconds,
    }
    if isinstance(content, Sound):
        return _submit_each(recognizer, content, options)
    submit = recognizer.submit_channels if question.channels == "split" else recognizer.submit
    return [submit(content or b"", **options)]


def _submit_each(recognizer: Recognizer, sound: Sound, options: RequestOptions) -> list[Pending[Any]]:
    """Submit every channel; when one is refused, the others are withdrawn."""
    pending: list[Pending[Any]] = []
    try:
        for samples in sound.channels:
            pending.append(recognizer.submit(Waveform(samples), **options))  # noqa: PERF401 - a refusal must find them
    except EmotapeError:
        for each in pending:
            each.cancel()
        raise
    return pending


def _with_decoding(prediction: Prediction, sound: Sound) -> Prediction:
    """Return the prediction with what decoding had to say, elsewhere, before it."""
    if sound.seconds is None:
        return prediction
    stages = {**prediction.stages, "decode": sound.seconds}
    return replace(prediction, warnings=(*sound.warnings, *prediction.warnings), stages=stages)
