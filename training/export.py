"""A trained student as a model directory in FunASR's layout: config.yaml, tokens.txt, model.safetensors in halves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.corpora import EMOTIONS
from training.student import CONVOLUTIONS, Dimensions, Student

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
)
NAMES = tuple(token.rsplit("/", 1)[-1] for token in TOKENS)
TRAINED = [NAMES.index(emotion) for emotion in EMOTIONS]  # places of our emotions among the official labels
NEVER = -30.0  # bias of the labels no corpus teaches


def configuration(dimensions: Dimensions) -> dict[str, Any]:
    """Return FunASR's configuration of a network with these dimensions (official values elsewhere)."""
    channels = dimensions.channels
    audio = {
        "type": "AUDIO",
        "extractor_mode": "layer_norm",
        "feature_encoder_spec": " + ".join(f"[({channels}, {kernel}, {stride})]" for kernel, stride in CONVOLUTIONS),
        "prenet_depth": dimensions.prenet_depth,
        "prenet_layerdrop": 0.0,
        "prenet_dropout": 0.1,
        "num_extra_tokens": dimensions.extra_tokens,
        "init_extra_token_zero": True,
        "conv_pos_width": dimensions.positional_width,
        "conv_pos_depth": dimensions.positional_depth,
        "conv_pos_groups": dimensions.positional_groups,
        "conv_pos_pre_ln": False,
        "use_alibi_encoder": True,
        "alibi_scale": 1.0,
        "alibi_max_pos": None,
        "num_alibi_heads": dimensions.heads,
        "learned_alibi": False,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "model_depth": dimensions.depth,
        "decoder": None,
        "ema_local_encoder": False,
        "encoder_zero_mask": True,
        "local_grad_mult": 1.0,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        **_masking(),
    }
    network = {
        "_name": "data2vec_multi",
        "supported_modality": "AUDIO",
        "modalities": {"_name": None, "audio": audio},
        "embed_dim": dimensions.width,
        "num_heads": dimensions.heads,
        "depth": dimensions.depth,
        "mlp_ratio": float(dimensions.mlp_ratio),
        "normalize": True,
        "layer_norm_first": False,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "average_top_k_layers": dimensions.depth + dimensions.prenet_depth,
        "end_of_block_targets": False,
        "encoder_dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "post_mlp_drop": 0.1,
        "dropout_input": 0.0,
        "layerdrop": 0.0,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "clone_batch": 1,
        "loss_beta": 0.0,
        "loss_scale": None,
        "shared_decoder": None,
        "skip_ema": True,
    }
    return {
        "model": "Emotion2vec",
        "model_conf": network,
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "scope_map": ["d2v_model.", "none"],
    }


def _masking() -> dict[str, Any]:
    """Return the official masking options, all off: they concern pretraining only but must be present."""
    return {
        "add_masks": False,
        "inverse_mask": False,
        "keep_masked_pct": 0.0,
        "mask_prob": 0.0,
        "mask_prob_adjust": 0.0,
        "mask_prob_min": None,
        "mask_length": 5,
        "mask_noise_std": 0.01,
        "mask_dropout": 0.0,
        "mask_channel_prob": 0.0,
        "mask_channel_length": 64,
        "remove_masks": False,
    }


def write_model(student: Student, folder: Path) -> None:
    """Write the student as a model directory; labels without training data can never win."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().float().clone() for name, value in student.state_dict().items()}
    scale = "modality_encoders.AUDIO.alibi_scale"
    state[scale] = state[scale].clamp_min(0)
    untrained = [place for place in range(len(TOKENS)) if place not in TRAINED]
    state["proj.weight"][untrained] = 0.0
    state["proj.bias"][untrained] = NEVER
    temporary = folder / "model.safetensors.part"
    save_file({name: value.half().contiguous() for name, value in state.items()}, temporary)
    temporary.replace(folder / "model.safetensors")
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    text = yaml.safe_dump(configuration(student.dimensions), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text("# emotion2vec network, small (not the emotion2vec+ weights)\n" + text)


def read_dimensions(folder: Path) -> Dimensions:
    """Read the dimensions from a model directory's config.yaml."""
    network = yaml.safe_load((folder / "config.yaml").read_text())["model_conf"]
    audio = network["modalities"]["audio"]
    channels = re.match(r"\[\((\d+)", audio["feature_encoder_spec"])
    if channels is None:
        raise ValueError(f"feature_encoder_spec of {folder} is not understood")
    return Dimensions(
        channels=int(channels[1]),
        width=network["embed_dim"],
        heads=network["num_heads"],
        prenet_depth=audio["prenet_depth"],
        depth=network["depth"],
        mlp_ratio=int(network["mlp_ratio"]),
        positional_depth=audio["conv_pos_depth"],
        positional_width=audio["conv_pos_width"],
        positional_groups=audio["conv_pos_groups"],
        extra_tokens=audio["num_extra_tokens"],
    )


def read_model(folder: Path) -> Student:
    """Read the student in a model directory, in fp32, ready to be judged."""
    student = Student(read_dimensions(folder))
    student.load_state_dict(_floats(folder))
    return student.eval()


def warm_start(student: Student, folder: Path) -> list[str]:
    """Copy what fits from a model directory; surplus blocks start from its last one, with no contribution of their own.

    Returns the names that started afresh.
    """
    state, own = _floats(folder), student.state_dict()
    afresh = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    own.update({name: value for name, value in state.items() if name in own and name not in afresh})
    depth = read_dimensions(folder).depth
    for index in range(depth, student.dimensions.depth):
        own[f"blocks.{index}.attn.proj.weight"].zero_()
        own[f"blocks.{index}.mlp.fc2.weight"].zero_()
        for norm in ("norm1", "norm2"):
            for part in ("weight", "bias"):
                own[f"blocks.{index}.{norm}.{part}"].copy_(state[f"blocks.{depth - 1}.norm2.{part}"])
    student.load_state_dict(own)
    return afresh


def _floats(folder: Path) -> dict[str, Tensor]:
    return {name: value.to(torch.float32) for name, value in load_file(folder / "model.safetensors").items()}
