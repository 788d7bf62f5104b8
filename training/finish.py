"""From a run's best model to what ships: calibrated, measured once on the test speakers, described."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from training.assess import interval, judge, summarise
from training.augment import CONDITIONS
from training.calibrate import calibrate, choose_threshold, note_threshold
from training.card import card
from training.corpora import EMOTIONS, Corpora
from training.export import read_model, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from training.assess import Floats, Integers


def finish(run: Path, corpora: Corpora, bar: dict[str, Any], out: Path) -> None:
    """Write ``out``: config.yaml, tokens.txt, model.safetensors, emotape.json, figures.json and MODEL_CARD.md."""
    chosen = max(run.glob("*/dev.json"), key=_score)
    student = read_model(chosen.parent)
    temperature = calibrate(student, corpora)
    write_model(student, out)
    student = read_model(out)  # what ships is the rounding to halves, so that is what is measured
    threshold = choose_threshold(student, corpora)
    note_threshold(out, threshold)
    heard = {
        (split, condition): judge(student, corpora, split, condition)
        for split in ("dev", "test")
        for condition in CONDITIONS
    }
    figures: dict[str, Any] = {
        "parameters": sum(value.numel() for value in student.parameters()),
        "bytes": (out / "model.safetensors").stat().st_size,
        "temperature": temperature,
        "uncertain": asdict(threshold),
        "chosen": json.loads(chosen.read_text()),
        "training": _training(run),
        "clips": _clips(corpora),
        "test details": _details(corpora, *heard["test", "clean"]),
        **bar,
    }
    for (split, condition), judged in heard.items():
        figures.setdefault(split, {})[condition] = summarise(corpora, *judged)
    figures["goals"] = goals(figures)
    (out / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    (out / "MODEL_CARD.md").write_text(card(figures, student.dimensions))


def _score(record: Path) -> float:
    return float(json.loads(record.read_text())["score"])


def goals(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each goal of the bundled model on the test speakers: what was wanted, what came out, whether it is met."""
    test, probe = figures["test"], figures["probe"]["last layer"]["test"]
    wanted: dict[str, dict[str, Any]] = {}
    for corpus, clean in test["clean"].items():
        wanted[f"{corpus}: recall, at least the probe's"] = _at_least(clean["uar"], probe["clean"][corpus]["uar"])
        for condition in ("telephone", "noise"):
            lost = clean["uar"] - test[condition][corpus]["uar"]
            wanted[f"{corpus}: recall lost by {condition}"] = _at_most(lost, 0.10)
        wanted[f"{corpus}: calibration error"] = _at_most(clean["ece"], 0.08)
    wanted["megabytes"] = _at_most(figures["bytes"] / 1e6, 16.0)
    return wanted


def _at_least(found: float, bound: float) -> dict[str, Any]:
    return {"wanted": f"≥ {bound:.3f}", "found": round(found, 4), "met": found >= bound}


def _at_most(found: float, bound: float) -> dict[str, Any]:
    return {"wanted": f"≤ {bound:.2f}", "found": round(found, 4), "met": found <= bound}


def _training(run: Path) -> dict[str, Any]:
    last = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    return {name: last[name] for name in ("step", "seconds heard", "losses", "regimen")}


def _clips(corpora: Corpora) -> dict[str, dict[str, dict[str, float]]]:
    """Return corpus → split → clips, labelled clips, speakers, seconds."""
    counts: dict[str, dict[str, dict[str, float]]] = {}
    for name in sorted({clip.corpus for clip in corpora.clips}):
        for split in ("train", "dev", "test"):
            clips = [corpora.clips[index] for index in corpora.select(split, name)]
            counts.setdefault(name, {})[split] = {
                "clips": len(clips),
                "labelled": sum(clip.emotion >= 0 for clip in clips),
                "speakers": len({clip.speaker for clip in clips}),
                "seconds": round(sum(clip.samples for clip in clips) / 16_000),
            }
    return counts


def _details(corpora: Corpora, indices: Integers, logits: Floats) -> dict[str, Any]:
    """Return for each corpus the recall's interval and the confusion (rows true, columns given)."""
    names = np.array([corpora.clips[index].corpus for index in indices])
    emotions = np.array([corpora.clips[index].emotion for index in indices])
    details: dict[str, Any] = {"emotions": EMOTIONS}
    for name in np.unique(names):
        own = names == name
        confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
        np.add.at(confusion, (emotions[own], logits[own].argmax(1)), 1)
        details[str(name)] = {"interval": interval(emotions[own], logits[own]), "confusion": confusion.tolist()}
    return details
