"""Model directories in the official layout, at any size."""

from __future__ import annotations

from typing import Any

OFFICIAL_TOKENS = (
    "生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other", "难过/sad",
    "吃惊/surprised", "<unk>",
)  # fmt: skip


def config(embed_dim: int, heads: int, prenet: int, depth: int, channels: int) -> dict[str, Any]:
    """Return a `config.yaml` in the official layout with these sizes."""
    audio = {
        "type": "AUDIO", "prenet_depth": prenet, "prenet_layerdrop": 0.0, "prenet_dropout": 0.0,
        "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "num_extra_tokens": 10, "init_extra_token_zero": True,
        "mask_noise_std": 0.01, "mask_prob": 0.0, "use_alibi_encoder": True, "alibi_scale": 1.0,
        "learned_alibi": False, "alibi_max_pos": None, "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True, "learned_alibi_scale_per_layer": False, "num_alibi_heads": heads,
        "model_depth": depth, "decoder": None, "ema_local_encoder": False, "local_grad_mult": 1.0,
        "extractor_mode": "layer_norm", "conv_pos_width": 95, "conv_pos_groups": 16, "conv_pos_depth": 5,
        "conv_pos_pre_ln": False,
        "feature_encoder_spec": f"[({channels}, 10, 5)] + [({channels}, 3, 2)] * 4 + [({channels}, 2, 2)] * 2",
    }  # fmt: skip
    network = {
        "_name": "data2vec_multi", "depth": depth, "embed_dim": embed_dim, "num_heads": heads, "mlp_ratio": 4.0,
        "norm_eps": 1e-5, "norm_affine": True, "layer_norm_first": False, "encoder_dropout": 0.0,
        "attention_dropout": 0.0, "activation_dropout": 0.0, "post_mlp_drop": 0.0, "dropout_input": 0.0,
        "layerdrop": 0.0, "end_of_block_targets": False, "average_top_k_layers": 1, "loss_beta": 0.0,
        "loss_scale": None, "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "normalize": True,
        "skip_ema": True, "clone_batch": 1, "modalities": {"audio": audio}, "supported_modality": "AUDIO",
    }  # fmt: skip
    return {"model": "Emotion2vec", "model_conf": network}
