"""The card of an adapted model: what it was made from, how it did on dev, and under which terms it may be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.adapting.manifest import Sample
    from emotape.delivery.adapting.split import Split
    from emotape.model.labels import Label

_HOW = {
    "given": "as the manifest gave it",
    "speakers": "by speakers: no speaker is in both",
    "recordings": "at random within each label. **Without speakers in the manifest the same voice may be in both, so "
    "the figures below flatter the model**",
}


@dataclass(frozen=True, eq=False)
class CardFacts:
    """What a card tells."""

    name: str
    base: str
    base_digest: str
    licence: str | None
    experimental: bool
    command: str
    seed: int
    trained: str
    labels: tuple[Label, ...]
    samples: Sequence[Sample]
    seconds: Sequence[float]
    split: Split
    unreadable: int
    figures: Mapping[str, Any]


def card(facts: CardFacts) -> str:
    """Return the text of README.md."""
    return "\n".join([*_head(facts), *_data(facts), *_figures(facts), *_terms(facts)]) + "\n"


def _head(facts: CardFacts) -> list[str]:
    labels = ", ".join(
        f"{label.emoji} {label.key}" + (f" ({label.zh})" if label.zh != label.key else "") for label in facts.labels
    )
    return [
        f"# {facts.name}",
        "",
        f"A speech emotion model with {len(facts.labels)} labels: {labels}.",
        "",
        f"- Base: {facts.base} (`{facts.base_digest[:16]}`){', experimental' if facts.experimental else ''}.",
        f"- Trained: {facts.trained}.",
        f"- Made by emotape {__version__}, seed {facts.seed}:",
        "",
        "  ```",
        f"  {facts.command}",
        "  ```",
        "",
        "Use: `emotape recognize --model PATH_OF_THIS_DIRECTORY recording.wav`; `serve`, `evaluate` and `batch` take",
        "the same option.",
        "",
    ]


def _data(facts: CardFacts) -> list[str]:
    train, dev = set(facts.split.train.tolist()), set(facts.split.dev.tolist())
    hours = sum(facts.seconds) / 3600
    speakers = {sample.speaker for sample in facts.samples} - {""}
    lines = [
        "## Data",
        "",
        f"{len(facts.samples)} recordings, {hours:.2f} hours, {len(speakers) or 'an unknown number of'} speakers;",
        f"{facts.unreadable} unreadable ones left out. Dev was parted {_HOW[facts.split.how]}.",
        "",
        "| label | training | dev |",
        "|---|---|---|",
    ]
    for label in facts.labels:
        places = {place for place, sample in enumerate(facts.samples) if sample.label == label.key}
        lines.append(f"| {label.key} | {len(places & train)} | {len(places & dev)} |")
    held = sorted({facts.samples[place].speaker for place in dev} - {""})
    if held:
        lines += ["", f"Dev speakers: {', '.join(held)}."]
    if facts.split.shared:
        lines += ["", f"Speakers in both parts, which flatters dev: {', '.join(facts.split.shared)}."]
    return [*lines, ""]


def _figures(facts: CardFacts) -> list[str]:
    found = facts.figures
    interval = found["interval"]
    others = " | ".join(f"{found[name]:.3f}" for name in ("accuracy", "macro_f1", "ece", "temperature"))
    lines = [
        "## Figures on dev",
        "",
        "The dev part also chose between variants and epochs and fitted the temperature, so expect less elsewhere;",
        "judge the model on recordings that had no part in it: `emotape evaluate`.",
        "",
        "| n | UAR [95 %] | accuracy | macro F1 | ECE | temperature |",
        "|---|---|---|---|---|---|",
        f"| {found['n']} | {found['uar']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}] | {others} |",
        "",
        f"The interval is a bootstrap over {interval['over']}s.",
        "",
        "| label | recall | precision | n |",
        "|---|---|---|---|",
    ]
    for key, values in found["per_class"].items():
        lines.append(f"| {key} | {values['recall']:.3f} | {values['precision']:.3f} | {int(values['n'])} |")
    return [*lines, ""]


def _terms(facts: CardFacts) -> list[str]:
    licence = facts.licence or "stated by the base model's publisher, see its own page"
    return [
        "## Terms and limits",
        "",
        f"The weights come from those of {facts.base}, whose licence carries on: **{licence}**. Whether the recordings",
        "it was adapted to may be used for this is for whoever adapted it to know.",
        "",
        "A label says what listeners heard in recordings like these, not what a person feels. Other microphones,",
        "languages, ages and situations than those in the data give worse results. The model must not be used to",
        "judge people.",
    ]
