"""The reference's network on any device, in fp32 or halved, as its users run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emotape.delivery.bench.reference import Heard, quiet, require
from emotape.model.labels import label_of_token

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.audio.waveform import Waveform


class CardReference:
    """FunASR's `Emotion2vec` from an official directory; `half` is what its users call after loading."""

    def __init__(self, official: Path, device: str, *, half: bool) -> None:
        require("funasr")
        import torch
        import yaml

        with quiet():
            from funasr.models.emotion2vec.model import Emotion2vec
            from funasr.tokenizer.char_tokenizer import CharTokenizer

            settings = yaml.safe_load((official / "config.yaml").read_text(encoding="utf-8"))
            self._tokenizer = CharTokenizer(token_list=str(official / "tokens.txt"), **settings["tokenizer_conf"])
            model = Emotion2vec(**settings, vocab_size=len(self._tokenizer.token_list)).eval()
        model.load_state_dict(torch.load(official / "model.pt", map_location="cpu", weights_only=True)["model"])
        self._model: Any = (model.half() if half else model).to(device)
        self._device = device
        self._dtype = torch.float16 if half else torch.float32

    def hear(self, waveform: Waveform) -> Heard:
        """Run `Emotion2vec.inference` on one clip."""
        import torch

        samples = torch.from_numpy(np.array(waveform.samples)).to(self._dtype)
        with torch.no_grad():
            results, _ = self._model.inference(
                [samples],
                key=["clip"],
                tokenizer=self._tokenizer,
                device=self._device,
                granularity="utterance",
                extract_embedding=True,
                data_type="sound",
            )
        scores, labels = results[0]["scores"], results[0]["labels"]
        label = label_of_token(labels[int(np.argmax(scores))]) if scores else None
        return Heard(results[0]["feats"].astype(np.float32), label.key if label else None)
