"""The reference law: the network gives what the reference package gives, within 1e-5 relative in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from emotape.audio.waveform import Waveform
from emotape.engine.result import join_windows
from emotape.engine.runner import Clip, TorchRunner
from emotape.model.weights import load
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

NETWORKS = ("large_like", "base_like", "embedding_only")


def relative_error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference, relative to the largest wanted value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("together", [False, True], ids=["alone", "on one tape"])
@pytest.mark.parametrize("network", NETWORKS)
def test_embeddings_and_scores_equal_the_reference(
    network: str, together: bool, golden_clips: list[NDArray[np.float32]]
) -> None:
    """Utterance and frame embeddings and the scores of all lengths, alone and batched, equal the reference's."""
    model = load(GOLDEN / network)
    runner = TorchRunner(model)
    clips = [Clip(Waveform(samples.copy()), frame_embeddings=True) for samples in golden_clips]
    results = runner.run(clips) if together else [runner.run([clip])[0] for clip in clips]
    with np.load(GOLDEN / network / "golden.npz") as wanted:
        for index, result in enumerate(results):
            assert result.frame_embeddings is not None
            assert result.frame_embeddings.shape == wanted[f"frame_{index}"].shape
            assert relative_error(result.frame_embeddings, wanted[f"frame_{index}"]) < 1e-5
            assert relative_error(result.embedding, wanted[f"utterance_{index}"]) < 1e-5
            scores = join_windows([result], [1.0], model.labels)
            named = [label.key for label in model.labels if label is not None]
            found = np.array([scores.by_key(scores.probabilities)[key] for key in named])
            np.testing.assert_allclose(found, wanted[f"scores_{index}"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("network", ["large_like", "base_like"])
def test_mean_of_frame_logits_is_the_utterances_logits(network: str, golden_clips: list[NDArray[np.float32]]) -> None:
    """The frame law: the head is linear, so true frame scores cost nothing."""
    runner = TorchRunner(load(GOLDEN / network))
    for samples in golden_clips:
        (result,) = runner.run([Clip(Waveform(samples.copy()))])
        assert result.logits is not None
        assert result.frame_logits is not None
        np.testing.assert_allclose(result.frame_logits.mean(0), result.logits, rtol=1e-5, atol=1e-5)
