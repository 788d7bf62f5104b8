"""Figures → the text of MODEL_CARD.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.student import Dimensions

TEMPLATE = """\
# emotape-small: a small emotion2vec-architecture network

It is not emotion2vec+ and never saw it. It lets the software recognise emotion offline from the first minute;
for the best accuracy pull the official weights.

- {parameters:.2f} M parameters, fp16, {megabytes:.1f} MB. Raw 16 kHz wave, layer norm per clip, seven convolutions with
  {channels} channels (official kernels and strides), width {width}, {heads} heads, prenet {prenet} + depth {depth},
  {extra} extra tokens, ALiBi with a learned scale per head, {positions} positional convolutions, mean over frames,
  linear head. State-dict names and `config.yaml` are FunASR's.
- Labels: the official nine in the official order. Seven are trained; `other` and `<unk>` have zero weight and bias
  -30, so they never win.
- Taught by the frozen encoder of Whisper base (MIT): its middle block's frames of the clean clip, its pooled features,
  the probabilities of a logistic regression on them (cross-fitted over speakers), and the true labels; the student
  heard augmented clips ({heard:,.0f} s of audio in {steps:,} steps).
- Recipe: `training/` of the repository. The checkpoint was chosen by the dev speakers; no test speaker took part in
  training, in the choice of a checkpoint or in calibration. {temperature}
- {uncertain}

## Data and licences

| corpus | licence | training clips (labelled) | speakers | dev speakers | test speakers |
|---|---|---|---|---|---|
{data}

The weights are published under **CC BY-SA 4.0** (they have heard prompts under CC BY-SA 3.0; attribution: the
authors of EMO-DB, EmoGator and the Asterisk sound prompts). EMO-DB's clips were 22.05 kHz and cut to their first 2 s.

## Figures on the test speakers

UAR is macro recall over the classes of the corpus; the interval is a bootstrap over clips. "Probe" is logistic
regression on the frozen teacher's last layer (mean and std), trained on the same clips; "both layers" adds the middle
block.
Telephone: 300-3400 Hz and 8-bit mu-law. Noise: pink, 10 dB. ECE has ten bins.

| corpus | clips | UAR [95 %] | telephone | noise | ECE clean / telephone / noise | probe | probe, both layers |{head}
|---|---|---|---|---|---|---|---|{rule}
{results}

| goal | wanted | found | met |
|---|---|---|---|
{goals}

## Limits

Acted and instructed emotion only: ten German actors' sentences and crowd-sourced vocal bursts. On spontaneous speech,
other languages, children or long recordings expect much less than the figures above, and treat the confidence as a
ranking.
It must not be used to judge people.
"""
LICENCES = {"emodb": "CC0", "emogator": "Apache-2.0", "asterisk": "CC BY-SA 3.0 (unlabelled prompts)"}


def card(figures: dict[str, Any], dimensions: Dimensions) -> str:
    """Write the model card in Markdown."""
    temperature = figures["temperature"]
    baseline = figures.get("baseline")
    return TEMPLATE.format(
        parameters=figures["parameters"] / 1e6,
        megabytes=figures["bytes"] / 1e6,
        channels=dimensions.channels,
        width=dimensions.width,
        heads=dimensions.heads,
        prenet=dimensions.prenet_depth,
        depth=dimensions.depth,
        extra=dimensions.extra_tokens,
        positions=dimensions.positional_depth,
        heard=figures["chosen"]["seconds heard"],
        steps=figures["chosen"]["step"],
        temperature=_temperature(temperature),
        uncertain=_uncertain(figures["uncertain"]),
        data="\n".join(_data(name, splits) for name, splits in figures["clips"].items()),
        head=f" {baseline['name']} |" if baseline else "",
        rule="---|" if baseline else "",
        results="\n".join(_result(name, figures) for name in figures["test"]["clean"]),
        goals="\n".join(_goal(name, goal) for name, goal in figures["goals"].items()),
    )


def _temperature(temperature: float) -> str:
    if temperature == 1.0:
        return "No temperature is applied: the one fitted on dev was not confirmed by the corpus left out."
    return f"Confidence: temperature {temperature:.2f}, fitted on one corpus's dev speakers, confirmed on the other's."


def _uncertain(threshold: dict[str, float]) -> str:
    return (
        f"A confidence below {threshold['below']:.3f} is called uncertain. Of the {threshold['n']} dev clips, "
        f"{threshold['coverage']:.1%} are not;\n  {threshold['accuracy']:.1%} of those are right, of all "
        f"{threshold['accuracy_of_all']:.1%}."
    )


def _data(name: str, splits: dict[str, dict[str, float]]) -> str:
    train, dev, test = (splits[split] for split in ("train", "dev", "test"))
    return (
        f"| {name} | {LICENCES.get(name, '?')} | {train['clips']} ({train['labelled']}) | {train['speakers']} "
        f"| {dev['speakers']} | {test['speakers']} |"
    )


def _result(name: str, figures: dict[str, Any]) -> str:
    clean, telephone, noise = (figures["test"][condition][name] for condition in ("clean", "telephone", "noise"))
    low, high = figures["test details"][name]["interval"]
    last, both = (figures["probe"][layers]["test"]["clean"][name]["uar"] for layers in _layers(figures))
    row = (
        f"| {name} | {clean['clips']} | **{clean['uar']:.3f}** [{low:.2f}-{high:.2f}] | {telephone['uar']:.3f} "
        f"| {noise['uar']:.3f} | {clean['ece']:.3f} / {telephone['ece']:.3f} / {noise['ece']:.3f} "
        f"| {last:.3f} | {both:.3f} |"
    )
    baseline = figures.get("baseline")
    return row + (f" {baseline['test']['clean'][name]['uar']:.3f} |" if baseline else "")


def _layers(figures: dict[str, Any]) -> list[str]:
    return list(figures["probe"])


def _goal(name: str, goal: dict[str, Any]) -> str:
    return f"| {name} | {goal['wanted']} | {goal['found']:.3f} | {'yes' if goal['met'] else 'no'} |"
