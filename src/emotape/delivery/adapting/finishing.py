"""What was learned is measured, written, checked through the recognizer, and put in its place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.delivery.adapting.card import CardFacts, card
from emotape.delivery.adapting.directory import CARD, FIGURES, put_in_place, write_model
from emotape.delivery.adapting.measure import recall_interval, temperature_of
from emotape.delivery.evaluation.figures import figures, summary
from emotape.engine.result import softmax
from emotape.errors import EngineFault
from emotape.model.note import read_note
from emotape.recognizer import Recognizer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from emotape.delivery.adapting.directory import Learned
    from emotape.delivery.adapting.material import Material
    from emotape.delivery.adapting.options import AdaptOptions
    from emotape.recognizer import RecognizerOptions
    from emotape.store.catalogue import ModelEntry

_CHECKED: Final = 32  # recordings of dev that go through the written model
_APART: Final = 0.03  # probability; what emotape's own arithmetics may differ by


@dataclass(frozen=True, eq=False)
class Result:
    """What training gave, and the logits [n, C] of it on dev."""

    base: ModelEntry
    base_digest: str
    learned: Learned
    logits: NDArray[np.float64]
    interrupted: bool = False


def finish(
    folder: Path, material: Material, result: Result, asked: AdaptOptions, how: RecognizerOptions
) -> dict[str, Any]:
    """Write the model to its place, checked; return its figures on dev.

    Raises EngineFault "adapt_unfaithful" when the model that was written does not say what was learned.
    """
    truth = material.classes[material.split.dev]
    temperature = temperature_of(truth, result.logits)
    probabilities = softmax(result.logits / temperature)
    found = _figures(material, probabilities, temperature, asked)
    made = folder / "model"
    write_model(made, result.base, material.labels, result.learned, temperature, _note(result, asked, found))
    found["largest_difference"] = _check(made, material, probabilities, how)
    (made / FIGURES).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    facts = _card_facts(material, result, asked, found)
    (made / CARD).write_text(card(facts), encoding="utf-8")
    put_in_place(made, asked.output)
    return found


def _figures(
    material: Material, probabilities: NDArray[np.float32], temperature: float, asked: AdaptOptions
) -> dict[str, Any]:
    dev = material.split.dev
    keys = [label.key for label in material.labels]
    truth = [material.samples[place].label for place in dev]
    scores = [dict(zip(keys, row.tolist(), strict=True)) for row in probabilities]
    speakers = [material.samples[place].speaker for place in dev]
    interval = recall_interval(material.classes[dev], probabilities.argmax(1), speakers, asked.seed)
    return {
        **summary(figures(truth, scores, restrict=False)),
        "interval": asdict(interval),
        "temperature": temperature,
        "split": material.split.how,
        "train": len(material.split.train),
    }


def _note(result: Result, asked: AdaptOptions, found: Mapping[str, Any]) -> dict[str, Any]:
    noted = read_note(result.base.path)
    base = result.base.name
    return {
        "summary": {
            "en": f"adapted from {base} to labels of one's own; UAR on dev {found['uar']:.2f}",
            "zh": f"由 {base} 适配到自定义标签；开发集 UAR 为 {found['uar']:.2f}",
        },
        "license": noted.get("license"),
        "adapted": {
            "base": base,
            "base_digest": result.base_digest,
            "head": result.learned.head.kind,
            "unfreeze": asked.unfreeze,
            "lora": asked.lora,
            "seed": asked.seed,
            "command": asked.command,
        },
    }


def _check(made: Path, material: Material, wanted: NDArray[np.float32], how: RecognizerOptions) -> float:
    """Run some recordings of dev through the written model; return the largest difference of a probability.

    A recording of several windows is scored window by window, so it is no measure here.
    """
    longest = how.window.longest
    dev = [(place, row) for place, row in zip(material.split.dev, wanted, strict=True)]
    short = [(place, row) for place, row in dev if material.embedded[place].seconds <= longest]
    some = short[:: max(1, len(short) // _CHECKED)][:_CHECKED]
    keys = [label.key for label in material.labels]
    apart = 0.0
    with Recognizer(made, options=replace(how, models_folder=None)) as recognizer:
        for place, row in some:
            scores = recognizer.recognize(material.samples[place].path).scores
            apart = max(apart, float(np.abs(np.array([scores[key] for key in keys]) - row).max()))
    if apart > _APART:
        raise EngineFault("adapt_unfaithful", apart=apart, bound=_APART)
    return apart


def _card_facts(material: Material, result: Result, asked: AdaptOptions, found: Mapping[str, Any]) -> CardFacts:
    return CardFacts(
        name=asked.output.name,
        base=result.base.name,
        base_digest=result.base_digest,
        licence=read_note(result.base.path).get("license"),
        experimental=result.base.experimental,
        command=asked.command,
        seed=asked.seed,
        trained=_trained(result, asked),
        labels=material.labels,
        samples=material.samples,
        seconds=[embedded.seconds for embedded in material.embedded],
        split=material.split,
        unreadable=len(material.failed),
        figures=found,
    )


def _trained(result: Result, asked: AdaptOptions) -> str:
    blocks = f"the last {asked.unfreeze} blocks" if asked.unfreeze else "all blocks"
    chosen = ", ".join(f"{name} {value:g}" for name, value in result.learned.head.chosen.items() if name != "recalls")
    what = f"a {result.learned.head.kind} head on frozen embeddings ({chosen})"
    if asked.lora:
        what = f"a {result.learned.head.kind} head and LoRA of rank {asked.lora} in {blocks}, merged ({chosen})"
    elif asked.unfreeze:
        what = f"a {result.learned.head.kind} head and {blocks} ({chosen})"
    return what + (", ended early by an interruption" if result.interrupted else "")
