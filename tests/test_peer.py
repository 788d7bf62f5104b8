"""The reference law, live: the installed reference package and emotape say the same, at the real size too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from emotape.audio.decode import decode
from emotape.audio.waveform import Waveform
from emotape.engine.result import join_windows
from emotape.engine.runner import Clip, TorchRunner
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO
from tests.golden.layout import OFFICIAL_TOKENS, config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # the reference warns about itself


class Tokens:
    """All that the reference asks of a tokenizer."""

    token_list = OFFICIAL_TOKENS


@pytest.fixture(scope="module")
def reference_class() -> Any:
    """The reference's network class."""
    return pytest.importorskip("funasr.models.emotion2vec.model").Emotion2vec


def asked(reference: Any, samples: np.ndarray, granularity: str) -> dict[str, Any]:
    with torch.inference_mode():
        results, _ = reference.inference(
            [torch.from_numpy(samples.copy())], key=["clip"], tokenizer=Tokens(), device="cpu",
            granularity=granularity, extract_embedding=True, data_type="sound",
        )  # fmt: skip
    found: dict[str, Any] = results[0]
    return found


def assert_equal_to_reference(directory: Path, reference: Any, clips: list[Waveform]) -> None:
    """Embedding, frames and scores of clips on one tape equal the reference's, clip by clip."""
    model = load(directory)
    answers = TorchRunner(model, arithmetic="float32").run([Clip(clip, frame_embeddings=True) for clip in clips])
    for clip, answer in zip(clips, answers, strict=True):
        utterance, frames = asked(reference, clip.samples, "utterance"), asked(reference, clip.samples, "frame")
        for found, wanted in ((answer.embedding, utterance["feats"]), (answer.frame_embeddings, frames["feats"])):
            assert found is not None
            assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
        scores = join_windows([answer], [1.0], model.labels).probabilities
        np.testing.assert_allclose(scores, utterance["scores"], rtol=2e-5, atol=1e-6)


def test_the_real_size_with_random_weights(reference_class: Any, tmp_path: Path) -> None:
    """Emotion2Vec+ Large's own sizes (162 M parameters, random weights), three clips on one tape."""
    torch.manual_seed(3)
    settings = config(embed_dim=1024, heads=16, prenet=4, depth=8, channels=512)
    reference = reference_class(**settings, vocab_size=9).eval()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (tmp_path / "tokens.txt").write_text("\n".join(OFFICIAL_TOKENS), encoding="utf-8")
    save_file(
        {name: values.contiguous() for name, values in reference.state_dict().items()}, tmp_path / "model.safetensors"
    )
    random = np.random.default_rng(9)
    clips = [Waveform((0.1 * random.standard_normal(length)).astype(np.float32)) for length in (16_000, 7_777, 40_123)]
    assert_equal_to_reference(tmp_path, reference, clips)


def test_the_bundled_weights_on_real_speech(reference_class: Any) -> None:
    """The reference loads our bundled file strictly and agrees on recorded speech."""
    directory = bundled_model().path
    settings = yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))
    reference = reference_class(**settings, vocab_size=9).eval()
    reference.load_state_dict(
        {name: values.float() for name, values in load_file(directory / "model.safetensors").items()}
    )
    clips = [decode(path).waveforms[0] for path in sorted(AUDIO.glob("*.flac"))]
    assert clips
    assert_equal_to_reference(directory, reference, clips)
