"""Tapes side by side on a processor: they do run at once, and each clip gets what it gets alone."""

from __future__ import annotations

from threading import Barrier
from typing import TYPE_CHECKING, Any

import numpy as np

from emotape import EngineOptions, Recognizer, RecognizerOptions
from emotape.model.encoder import Encoder
from tests.conftest import AUDIO

if TYPE_CHECKING:
    import pytest

    from emotape.engine.result import Prediction

SPEECH = (AUDIO / "jfk.flac", AUDIO / "thorsten_neutral.wav")


def embedding(prediction: Prediction) -> Any:
    assert prediction.embedding is not None
    return prediction.embedding


def test_clips_on_tapes_side_by_side_get_what_they_get_alone() -> None:
    """Four tapes at once, many requests: to 1e-4 of the answers of one tape after another."""
    answers = {}
    for threads in (1, 4):
        with Recognizer(options=RecognizerOptions(engine=EngineOptions("cpu", compute_threads=threads))) as recognizer:
            assert recognizer.plan.replicas == threads
            asked = [recognizer.submit(file, embedding=True) for _ in range(8) for file in SPEECH]
            answers[threads] = [embedding(answer.result(timeout=60)) for answer in asked]
    for one, other in zip(answers[1], answers[4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_two_tapes_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other inside the network; alone, either would wait in vain."""
    options = RecognizerOptions(engine=EngineOptions("cpu", compute_threads=2, tape_tokens=1))
    with Recognizer(options=options) as recognizer:
        meeting, run = Barrier(2), Encoder.forward

        def met(*arguments: Any) -> object:
            meeting.wait(60)
            return run(*arguments)

        monkeypatch.setattr(Encoder, "forward", met)
        asked = [recognizer.submit(SPEECH[0]) for _ in range(2)]
        assert len({answer.result(timeout=120).emotion for answer in asked}) == 1
