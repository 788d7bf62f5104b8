"""The recognizer: real audio in, one answer out, from threads and coroutines, whatever fails or leaves."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from emotape import DecodeLimits, EngineOptions, Prediction, Recognizer, RecognizerOptions, Waveform, decode
from emotape.audio.speech import speech_probabilities
from emotape.audio.waveform import SAMPLE_RATE
from emotape.audio.window import WindowOptions
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import (
    BadAudio,
    BadRequest,
    Cancelled,
    EmotapeError,
    EngineFault,
    Expired,
    ModelFault,
    Overloaded,
    TooLong,
)
from emotape.events import Answered, Decoded, Event, ModelLoaded
from emotape.model.encoder import Encoder
from emotape.model.weights import load
from tests.conftest import AUDIO, GOLDEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.engine.scheduler import RunReport

SPEECH = AUDIO / "thorsten_neutral.wav"


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    """The bundled model, resident for this module."""
    with Recognizer() as opened:
        yield opened


@pytest.fixture(scope="module")
def speech() -> Waveform:
    return decode(SPEECH).waveforms[0]


def test_one_window_is_exactly_what_the_network_says(recognizer: Recognizer, speech: Waveform) -> None:
    """Nothing between the file and the network changes the scores."""
    model = load(recognizer.model.path)
    (alone,) = TorchRunner(model).run([Clip(speech, frame_embeddings=True)])
    prediction = recognizer.recognize(SPEECH, granularity="frame", embedding=True)
    assert alone.logits is not None
    powers = np.exp(alone.logits - alone.logits.max())
    np.testing.assert_allclose(list(prediction.scores.values()), powers / powers.sum(), rtol=1e-5, atol=1e-7)
    assert prediction.embedding is not None
    assert alone.frame_embeddings is not None
    np.testing.assert_allclose(prediction.embedding, alone.frame_embeddings, rtol=1e-4, atol=1e-5)
    assert prediction.frames is not None
    assert prediction.frames.shape == (model.dims.frames(len(speech)), 9)
    np.testing.assert_allclose(prediction.frames.sum(1), 1, rtol=1e-5)
    assert prediction.windows == ((0.0, speech.seconds),)
    assert "windowed" not in prediction.warnings


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "file", "waveform"])
def test_every_kind_of_source_gives_the_same(recognizer: Recognizer, speech: Waveform, kind: str) -> None:
    """A path, its bytes, an open file and the decoded waveform are one recording."""
    wanted = recognizer.recognize(SPEECH)
    with SPEECH.open("rb") as file:
        source = {"path": SPEECH, "str": str(SPEECH), "bytes": SPEECH.read_bytes(), "file": file, "waveform": speech}[
            kind
        ]
        found = recognizer.recognize(source)  # type: ignore[arg-type]
    assert found.scores == wanted.scores
    assert found.provenance.audio_sha256 == wanted.provenance.audio_sha256


def test_a_prediction_says_where_it_came_from(recognizer: Recognizer) -> None:
    """Version, weights, arithmetic, sound, stages; and that the bundled weights are experimental."""
    prediction = recognizer.recognize(SPEECH, embedding=True, quality=True)
    assert prediction.emotion == max(prediction.scores, key=prediction.scores.__getitem__)
    assert prediction.confidence == prediction.scores[str(prediction.emotion)]
    assert abs(sum(prediction.scores.values()) - 1) < 1e-5
    provenance = prediction.provenance
    assert provenance.experimental
    assert (provenance.dtype, provenance.device) == ("float32", "cpu")
    assert provenance.model_digest == load(recognizer.model.path).digest
    assert {"decode", "window", "queue", "run"} <= set(prediction.stages)
    assert prediction.embedding is not None
    assert prediction.embedding.shape == (192,)
    assert prediction.quality is not None
    assert prediction.quality.speech_share > 0.3


def test_segments_tile_real_speech(recognizer: Recognizer) -> None:
    """Eleven seconds of a speech with pauses: segments and silences follow one another to the end."""
    prediction = recognizer.recognize(AUDIO / "jfk.flac", granularity="segment")
    segments = prediction.segments
    assert segments[0].start == 0
    assert segments[-1].stop == prediction.seconds
    assert all(one.stop == after.start for one, after in itertools.pairwise(segments))
    assert any(segment.emotion is None for segment in segments)
    assert 0 < prediction.speech_seconds < prediction.seconds


def test_a_long_recording_is_windowed_and_loses_no_frame(speech: Waveform) -> None:
    """Cut at pauses into windows of at most 3 s here, its frames are as many as those of the whole."""
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    long = Waveform(np.concatenate([np.concatenate([speech.samples, pause]) for _ in range(6)]))
    options = RecognizerOptions(window=WindowOptions(longest=3.0))
    with Recognizer(options=options) as recognizer:
        prediction = recognizer.recognize(long, granularity="frame", embedding=True)
        dims = load(recognizer.model.path).dims
    assert "windowed" in prediction.warnings
    assert len(prediction.windows) > 3
    assert all(stop - start <= 3.0 + 0.01 for start, stop in prediction.windows)
    assert prediction.frames is not None
    assert prediction.embedding is not None
    assert len(prediction.frames) == len(prediction.embedding) == dims.frames(len(long))


def test_channels_are_recognized_one_by_one(recognizer: Recognizer, speech: Waveform, tmp_path: Path) -> None:
    """A stereo call: each side gets what it would get alone."""
    import soundfile

    silence = np.zeros_like(speech.samples)
    stereo = tmp_path / "call.wav"
    soundfile.write(stereo, np.stack([speech.samples, silence], 1), SAMPLE_RATE, subtype="FLOAT")
    left, right = recognizer.recognize_channels(stereo)
    assert left.scores == pytest.approx(recognizer.recognize(speech).scores, abs=1e-6)
    assert "silent" in right.warnings
    assert "silent" not in left.warnings


def test_bad_audio_harms_no_neighbour(recognizer: Recognizer) -> None:
    """Good and bad requests at once: the good are answered, the bad have typed errors."""
    good = [recognizer.submit(SPEECH) for _ in range(4)]
    bad = [recognizer.submit(content) for content in (b"", b"not audio at all", SPEECH.read_bytes()[:40])]
    assert len({future.result(timeout=60).emotion for future in good}) == 1
    for future in bad:
        assert isinstance(future.exception(timeout=60), BadAudio)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_samples_that_are_no_sound_are_refused(recognizer: Recognizer, value: float) -> None:
    """Also where the caller decoded them; what comes out of the network would be no number."""
    samples = np.zeros(SAMPLE_RATE, np.float32)
    samples[500] = value
    with pytest.raises(BadAudio, match="bad_samples"):
        recognizer.recognize(Waveform(samples))


def test_many_recordings_come_back_in_order_with_what_became_of_each(recognizer: Recognizer) -> None:
    """Recordings of any kind, read as there is room: an error is an answer, any other is that of the file alone."""
    folder: list[Any] = [
        SPEECH,
        AUDIO / "thorsten_angry.mp3",
        AUDIO / "nothing.wav",
        b"no sound",
        str(AUDIO / "jfk.flac"),
    ] * 3
    found = list(recognizer.recognize_many(iter(folder), embedding=True))
    assert [source for source, _ in found] == folder
    for source, outcome in found:
        if isinstance(outcome, Prediction):
            assert outcome.scores == recognizer.recognize(source).scores
            assert outcome.embedding is not None
    codes = [outcome.code for _, outcome in found if isinstance(outcome, EmotapeError)]
    assert codes == ["no_such_file", "text_not_audio"] * 3


def test_endless_recordings_are_read_as_they_are_answered(recognizer: Recognizer) -> None:
    read = itertools.count()
    endless = (SPEECH for _ in read)
    found = recognizer.recognize_many(endless)
    for _ in range(3):
        assert isinstance(next(found)[1], Prediction)
    found.close()  # type: ignore[attr-defined]
    assert next(read) < 1000


def test_what_no_recording_could_be_asked_is_refused_at_once(recognizer: Recognizer) -> None:
    with pytest.raises(BadRequest):
        recognizer.recognize_many([SPEECH], granularity="word")  # type: ignore[arg-type]


def test_many_threads_get_their_own_answers(recognizer: Recognizer, noise: Waveform) -> None:
    """Sixteen callers with clips of their own: each answer is that of the clip alone."""
    clips = [noise.part(start, start + 4_000 + 501 * start // 1_000) for start in range(0, 24_000, 1_000)]
    alone = [recognizer.recognize(clip).scores for clip in clips]
    with ThreadPoolExecutor(16) as callers:
        together = [prediction.scores for prediction in callers.map(recognizer.recognize, clips)]
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def test_coroutines(speech: Waveform) -> None:
    """The async door: entered, awaited many times at once, and a cancelled task withdraws its request."""

    async def story() -> set[str | None]:
        async with Recognizer() as recognizer:
            doomed = asyncio.create_task(recognizer.arecognize(speech))
            await asyncio.sleep(0)  # let it start
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
            return {prediction.emotion for prediction in await asyncio.gather(*[recognizer.arecognize(speech)] * 3)}

    assert len(asyncio.run(story())) == 1


class Stuck:
    """Holds the network still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.reached = threading.Event()
        run = TorchRunner.run

        def wait_and_run(runner: TorchRunner, clips: list[Clip]) -> object:
            self.reached.set()
            assert self.go_on.wait(60)
            return run(runner, clips)

        monkeypatch.setattr(TorchRunner, "run", wait_and_run)


def test_cancelled_and_expired_requests_are_answered(
    recognizer: Recognizer, speech: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the network is busy one caller leaves and one runs out of time; a third is answered as if alone."""
    stuck = Stuck(monkeypatch)
    first = recognizer.submit(speech)
    assert stuck.reached.wait(60)
    leaving, late, staying = (
        recognizer.submit(speech),
        recognizer.submit(speech, deadline=0.0),
        recognizer.submit(speech),
    )
    assert leaving.cancel()
    stuck.go_on.set()
    assert first.result(timeout=60).scores == pytest.approx(staying.result(timeout=60).scores, abs=1e-6)
    assert isinstance(late.exception(timeout=60), Expired)
    with pytest.raises(CancelledError):
        leaving.result(timeout=60)


def test_a_fault_of_the_network_is_one_answer(
    recognizer: Recognizer, speech: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that fails gives its request a typed error and leaves the recognizer usable."""

    def broken(runner: TorchRunner, clips: list[Clip]) -> RunReport:
        raise MemoryError("no room on the device")

    with monkeypatch.context() as patch:
        patch.setattr(TorchRunner, "run", broken)
        with pytest.raises(EngineFault, match="no room"):
            recognizer.recognize(speech)
    assert recognizer.recognize(speech).emotion


def test_too_many_requests_at_once_are_refused(speech: Waveform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are counted from arrival to answer; an answered request gives its place back."""
    with Recognizer(options=RecognizerOptions(pending=2)) as recognizer:
        stuck = Stuck(monkeypatch)
        waiting = [recognizer.submit(speech) for _ in range(2)]
        with pytest.raises(Overloaded):
            recognizer.submit(speech)
        stuck.go_on.set()
        for future in waiting:
            future.result(timeout=60)
        assert recognizer.recognize(speech).emotion


def test_closing_answers_what_was_admitted(speech: Waveform) -> None:
    """Leaving the context drains; afterwards everything is refused, and closing twice is harmless."""
    events: list[Event] = []
    with Recognizer(observer=events.append) as recognizer:
        futures = [recognizer.submit(SPEECH) for _ in range(8)]
    assert all(future.result(timeout=0).emotion for future in futures)
    recognizer.close()
    with pytest.raises(EngineFault):
        recognizer.recognize(speech)
    assert sum(isinstance(event, ModelLoaded) for event in events) == 1
    assert sum(isinstance(event, Answered) for event in events) == 8


def test_the_model_is_loaded_once_whoever_comes_first(speech: Waveform) -> None:
    """Eight threads use a recognizer that nobody opened."""
    events: list[Event] = []
    recognizer = Recognizer(observer=events.append)
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(recognizer.recognize, [speech] * 8))
    recognizer.close()
    assert sum(isinstance(event, ModelLoaded) for event in events) == 1


def test_an_observer_that_fails_costs_nobody_an_answer(speech: Waveform) -> None:
    """Metrics are listeners; their bugs stay theirs."""

    def broken(event: Event, /) -> None:
        raise RuntimeError("a bug in metrics")

    with Recognizer(observer=broken) as recognizer:
        assert recognizer.recognize(speech).emotion


def test_embedding_only_models_give_embeddings(speech: Waveform) -> None:
    """Asking such a model for emotions is an error that says so; embeddings work at both granularities."""
    with Recognizer(GOLDEN / "embedding_only") as recognizer:
        assert recognizer.labels == ()
        with pytest.raises(BadRequest) as refusal:
            recognizer.recognize(speech)
        assert refusal.value.code == "no_scores_in_model"
        prediction = recognizer.recognize(speech, embedding=True, granularity="frame")
        assert prediction.emotion is None
        assert prediction.scores == {}
        assert prediction.embedding is not None
        assert prediction.embedding.shape[1] == 32


def test_requests_and_options_that_make_no_sense(recognizer: Recognizer, speech: Waveform) -> None:
    """A clear error, at once, for each."""
    with pytest.raises(BadRequest):
        recognizer.recognize(speech, granularity="sentence")  # type: ignore[arg-type]
    with pytest.raises(ModelFault):
        Recognizer("no-such-model")
    with pytest.raises(EngineFault) as fault:
        Recognizer(options=RecognizerOptions(engine=EngineOptions(device="cuda:99"))).open()
    assert fault.value.code == "device_unavailable"


def test_an_interrupted_wait_withdraws_the_request(
    recognizer: Recognizer, speech: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cancelled from outside while somebody waits raises the typed error there."""
    stuck = Stuck(monkeypatch)
    with ThreadPoolExecutor(1) as caller:
        made = []
        submit = recognizer.submit

        def remembered(*arguments: object, **options: object) -> object:
            made.append(submit(*arguments, **options))  # type: ignore[arg-type]
            return made[-1]

        monkeypatch.setattr(recognizer, "submit", remembered)
        waiting = caller.submit(recognizer.recognize, speech)
        assert stuck.reached.wait(60)
        made[0].cancel()
        with pytest.raises(Cancelled):
            waiting.result(timeout=60)
        stuck.go_on.set()


def test_threads_of_decoding_do_not_compete_with_the_network(
    recognizer: Recognizer, speech: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens for speech calculates in its own thread; the network's team has those of the plan."""
    import torch

    recognizer.recognize(speech)  # what the tests before left behind is done once this is
    seen: dict[str, set[int]] = {"decode": set(), "network": set(), "team": set()}
    run = Encoder.forward

    def listened(waveform: Waveform) -> object:
        seen["decode"].add(torch.get_num_threads())
        return speech_probabilities(waveform)

    def ran(*arguments: Any) -> object:
        seen["network"].add(torch.get_num_threads())
        seen["team"].add(arguments[-1].threads)
        return run(*arguments)

    monkeypatch.setattr("emotape.engine.prediction.speech_probabilities", listened)
    monkeypatch.setattr(Encoder, "forward", ran)
    monkeypatch.setattr("emotape.engine.plan.LARGE", 0)  # a small one has many threads of its own, one for each tape
    options = RecognizerOptions(engine=EngineOptions(dtype="float32", compute_threads=3, decode_threads=2))
    with Recognizer(options=options) as other:
        for future in [other.submit(speech, granularity="segment") for _ in range(8)]:
            future.result(timeout=60)
    assert seen == {"decode": {1}, "network": {1}, "team": {3}}


def test_a_request_can_be_watched_on_its_way(recognizer: Recognizer) -> None:
    """The stages come in their order, whenever one looks, and end with "done"."""
    order = ("waiting", "decoding", "queued", "running", "finishing", "done")
    answer = recognizer.submit(SPEECH)
    seen = [answer.progress().stage]
    while not answer.done():
        seen.append(answer.progress().stage)
    assert [order.index(stage) for stage in seen] == sorted(order.index(stage) for stage in seen)
    assert answer.progress().stage == "done"


def test_before_it_is_opened_nothing_waits_and_nothing_is_ready() -> None:
    with Recognizer() as opened:
        assert opened.is_ready
        assert opened.digest == opened.recognize(SPEECH).provenance.model_digest
        assert len(opened.submit_channels(SPEECH).result()) == 1
    closed = Recognizer()
    assert not closed.is_ready
    assert closed.waiting_seconds == 0.0


def test_decoding_for_its_own_sake_is_the_recognizers_own() -> None:
    """The same limits, the same waveform, and the fact is stated."""
    facts: list[Event] = []
    with Recognizer(options=RecognizerOptions(decode=DecodeLimits(seconds=3.0)), observer=facts.append) as recognizer:
        found = recognizer.decode(SPEECH)
        assert found.waveforms[0].digest() == decode(SPEECH).waveforms[0].digest()
        assert any(isinstance(fact, Decoded) for fact in facts)
        with pytest.raises(TooLong):
            recognizer.decode(AUDIO / "jfk.flac")
