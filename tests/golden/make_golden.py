"""Make the golden vectors: what the reference package says of small random networks.

Run with the reference package installed (`pip install funasr==1.4.16 torch==2.13.0 safetensors soundfile`):

    python -m tests.golden.make_golden tests/golden

It writes `clips.npz`, clips of four lengths; and for each network a model directory (the official layout, RANDOM
weights from a fixed seed) with `golden.npz`, what the reference's own `inference` gives for these clips in fp32.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from funasr.models.emotion2vec.model import Emotion2vec
from safetensors.torch import save_file

from tests.golden.layout import OFFICIAL_TOKENS, config

LENGTHS = (400, 5_555, 24_000, 53_017)  # samples; one frame, odd, round, longer than any reach

# The proportions of the published networks at a size that fits a repository: heads a power of two and not, prenet
# and depth apart, an unused token, and a model without classifier.
NETWORKS: dict[str, dict[str, Any]] = {
    "large_like": {"embed_dim": 32, "heads": 4, "prenet": 2, "depth": 3, "channels": 16, "tokens": OFFICIAL_TOKENS},
    "base_like": {
        "embed_dim": 48, "heads": 3, "prenet": 1, "depth": 2, "channels": 16,
        "tokens": (*OFFICIAL_TOKENS[:-1], "unuse_0", "<unk>"),
    },
    "embedding_only": {"embed_dim": 32, "heads": 2, "prenet": 1, "depth": 1, "channels": 8, "tokens": ()},
}  # fmt: skip


class Tokens:
    """All that the reference asks of a tokenizer."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self.token_list = list(tokens)


def randomize(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Give every parameter values that matter: no norm at one, no scale at its start, one scale below zero."""
    with torch.no_grad():
        for name, values in network.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            if values.ndim > 1 and "alibi" not in name and "extra" not in name:
                values.copy_(noise * (1.5 / values[0].numel() ** 0.5))
            else:
                values.copy_(values * 0 + 0.3 * noise + (1.0 if values.mean() == 1 else 0.0))
        scale = dict(network.named_parameters())["modality_encoders.AUDIO.alibi_scale"]
        scale.copy_(torch.linspace(-0.5, 2.0, scale.numel()).view_as(scale))


def clips() -> list[np.ndarray]:
    """Return noise with a moving tone, as 16-bit speech would be scaled, one clip for each length."""
    random = np.random.default_rng(20)
    made = []
    for samples in LENGTHS:
        tone = np.sin(np.cumsum(np.linspace(0.02, 0.3, samples)))
        made.append((0.1 * random.standard_normal(samples) + 0.2 * tone + 0.01).astype(np.float32))
    return made


def main(folder: Path) -> None:
    """Write every network's directory and golden vectors under `folder`."""
    np.savez_compressed(folder / "clips.npz", *clips())
    for name, sizes in NETWORKS.items():
        tokens = sizes.pop("tokens")
        settings = config(**sizes)
        network = Emotion2vec(**settings, vocab_size=len(tokens) or -1).eval()
        randomize(network, torch.Generator().manual_seed(7))
        directory = folder / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        if tokens:
            (directory / "tokens.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(state, directory / "model.safetensors")
        golden: dict[str, np.ndarray] = {}
        for index, clip in enumerate(clips()):
            for granularity in ("utterance", "frame"):
                with torch.inference_mode():
                    results, _ = network.inference(
                        [torch.from_numpy(clip)], key=["clip"], tokenizer=Tokens(tokens), device="cpu",
                        granularity=granularity, extract_embedding=True, data_type="sound",
                    )  # fmt: skip
                golden[f"{granularity}_{index}"] = results[0]["feats"]
                golden[f"scores_{index}"] = np.array(results[0]["scores"], np.float64)
        np.savez_compressed(directory / "golden.npz", allow_pickle=False, **golden)
        print(name, sum(value.numel() for value in state.values()), "random parameters")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
