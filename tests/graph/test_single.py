"""The network of one clip is the network of the tape."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from emotape.engine.runner import Clip, TorchRunner
from emotape.model.encoder import make_head
from emotape.model.single import SingleClip
from emotape.model.weights import LoadedModel, load
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform


@pytest.mark.parametrize("network", ["large_like", "base_like", "embedding_only"])
@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 48_123])
def test_one_clip_alone_gives_what_the_tape_gives(network: str, samples: int, noise: Waveform) -> None:
    model = load(GOLDEN / network)
    clip = noise.part(0, samples)
    single = SingleClip(model.encoder, model.labels)
    with torch.inference_mode():
        found = dict(zip(single.outputs, single(torch.tensor(clip.samples)), strict=True))
    (wanted,) = TorchRunner(model).run([Clip(clip, frame_embeddings=True)])
    for name in found.keys() - {"scores"}:
        np.testing.assert_allclose(found[name].numpy(), getattr(wanted, name), rtol=1e-4, atol=1e-5, err_msg=name)
    assert ("scores" in found) == (wanted.logits is not None)


def test_unused_labels_get_no_score(noise: Waveform) -> None:
    model = load(GOLDEN / "base_like")
    single = SingleClip(model.encoder, model.labels)
    with torch.inference_mode():
        scores = single(torch.tensor(noise.samples))[single.outputs.index("scores")]
    assert [label is None for label in model.labels] == (scores == 0).tolist()
    assert float(scores.sum()) == pytest.approx(1)


def test_a_head_with_a_hidden_layer_takes_the_mean_vector_and_every_frames_own(noise: Waveform) -> None:
    model = load(GOLDEN / "large_like")
    model.encoder.dims = replace(model.dims, head_hidden=8)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model.encoder.head = make_head(model.dims)
    single = SingleClip(model.encoder, model.labels)
    with torch.inference_mode():
        found = dict(zip(single.outputs, single(torch.tensor(noise.samples)), strict=True))
    (wanted,) = TorchRunner(LoadedModel(model.encoder, model.labels, model.digest)).run([Clip(noise)])
    for name in ("logits", "frame_logits"):
        np.testing.assert_allclose(found[name].numpy(), getattr(wanted, name), rtol=1e-4, atol=1e-5, err_msg=name)
