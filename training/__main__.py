"""``python -m training prepare | teach | distil | refit | bar | finish | threshold``: from corpora to a model."""

from __future__ import annotations

import argparse
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from training import bar, calibrate, corpora, distil, export, finish, lessons, probe, refit, student, teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARES = {"emodb": 0.26, "emogator": 0.59, "asterisk": 0.15}  # of the clips in a batch
logger = logging.getLogger(__name__)
ENDLESS = 10_000_000  # steps; the clock ends the training


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage; each reads what the one before it left in the work folder."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    options.run(options)


def _prepare(options: argparse.Namespace) -> None:
    corpora.prepare(options.corpora, options.work)


def _teach(options: argparse.Namespace) -> None:
    clips = corpora.load(options.work)
    for split in ("dev", "train"):
        teacher.teach(clips, options.teacher, options.work, split)
    training = clips.select("train")
    pooled = torch.from_numpy(teacher.load_lessons(options.work, "train").pooled[training])
    soft, quality = probe.soft_labels([clips.clips[index] for index in training], pooled, SHARES)
    torch.save((soft, quality), options.work / "soft.pt")
    logger.info("soft labels: %s", quality)


def _distil(options: argparse.Namespace) -> None:
    clips = corpora.load(options.work)
    soft, _ = torch.load(options.work / "soft.pt")
    diet = lessons.Diet(SHARES, seconds=options.batch_seconds, seed=options.seed)
    stream = lessons.LessonStream(clips, teacher.load_lessons(options.work, "train"), soft, diet, ENDLESS)
    regimen = distil.Regimen(
        options.seconds or _seconds_until(options.until),
        rate=options.rate,
        device=options.device,
        loaders=options.loaders,
    )
    distil.distil(distil.Training(student.Dimensions(), regimen, options.init), stream, clips, options.out)


def _refit(options: argparse.Namespace) -> None:
    refit.refit(options.run_folder, corpora.load(options.work), SHARES)


def _bar(options: argparse.Namespace) -> None:
    heard = teacher.load_lessons(options.work, "train")
    encoder = teacher.WhisperEncoder(options.teacher)
    clips = corpora.load(options.work)
    figures = {"probe": bar.set_bar(clips, heard, encoder, SHARES)}
    if options.baseline is not None:
        figures["baseline"] = bar.measure_model(clips, options.baseline)
    (options.work / "bar.json").write_text(json.dumps(figures, indent=1))


def _finish(options: argparse.Namespace) -> None:
    figures = json.loads((options.work / "bar.json").read_text())
    finish.finish(options.run_folder, corpora.load(options.work), figures, options.out)


def _threshold(options: argparse.Namespace) -> None:
    threshold = calibrate.choose_threshold(export.read_model(options.model), corpora.load(options.work))
    calibrate.note_threshold(options.model, threshold)
    logger.info("threshold: %s", threshold)


def _seconds_until(clock: str) -> float:
    now = datetime.now(UTC)
    hour, minute = (int(part) for part in clock.split(":"))
    end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return ((end if end > now else end + timedelta(days=1)) - now).total_seconds()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="training", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads of the arithmetic (default: 1)")
    stages = parser.add_subparsers(required=True)

    stage = stages.add_parser("prepare", help="decode the corpora to one array at 16 kHz")
    stage.add_argument("--corpora", type=Path, required=True, help="folder with one folder per corpus and splits.json")
    stage.add_argument("--work", type=Path, required=True, help="folder for everything between the stages")
    stage.set_defaults(run=_prepare)

    stage = stages.add_parser("teach", help="let the frozen teacher hear dev and training clips; fit soft labels")
    stage.add_argument("--teacher", type=Path, required=True, help="Whisper's encoder as safetensors")
    stage.add_argument("--work", type=Path, required=True)
    stage.set_defaults(run=_teach)

    stage = stages.add_parser("distil", help="train the student; run again to resume")
    stage.add_argument("--work", type=Path, required=True)
    stage.add_argument("--out", type=Path, required=True, help="gets checkpoint.pt, history.jsonl, last/ and best/")
    budget = stage.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="wall clock of the whole schedule, over all resumptions")
    budget.add_argument("--until", help="end of the schedule as HH:MM in UTC; for a run that is not to be resumed")
    stage.add_argument("--init", type=Path, help="model directory to start from (default: from scratch)")
    stage.add_argument("--rate", type=float, default=1e-3, help="highest learning rate (default: 1e-3)")
    stage.add_argument("--batch-seconds", type=float, default=16.0, help="audio in a batch (default: 16 s)")
    stage.add_argument("--seed", type=int, default=0)
    stage.add_argument("--device", default="cpu", help="cpu or cuda")
    stage.add_argument("--loaders", type=int, default=1, help="processes that augment (GPU: one per core)")
    stage.set_defaults(run=_distil)

    stage = stages.add_parser("refit", help="fit the best checkpoint's head anew on all training clips")
    stage.add_argument("--run", dest="run_folder", type=Path, required=True, help="what distil was given as --out")
    stage.add_argument("--work", type=Path, required=True)
    stage.set_defaults(run=_refit)

    stage = stages.add_parser("bar", help="figures of the probe on the teacher's features: what the student must reach")
    stage.add_argument("--teacher", type=Path, required=True)
    stage.add_argument("--work", type=Path, required=True)
    stage.add_argument("--baseline", type=Path, help="model directory to compare with")
    stage.set_defaults(run=_bar)

    stage = stages.add_parser("finish", help="best checkpoint → model directory with figures and card; run it once")
    stage.add_argument("--run", dest="run_folder", type=Path, required=True, help="what distil was given as --out")
    stage.add_argument("--work", type=Path, required=True)
    stage.add_argument("--out", type=Path, required=True)
    stage.set_defaults(run=_finish)

    stage = stages.add_parser("threshold", help="choose the threshold of confidence anew; part of finish")
    stage.add_argument("--model", type=Path, required=True, help="model directory, whose emotape.json gets it")
    stage.add_argument("--work", type=Path, required=True)
    stage.set_defaults(run=_threshold)
    return parser


if __name__ == "__main__":
    main()
