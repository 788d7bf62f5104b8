"""Corpora on disk → clips: who speaks, what is felt, which split; and all audio as one int16 array at 16 kHz.

Two layouts are read. A folder with ``manifest.csv`` (columns ``file, label, speaker``) holds one file per clip.
A folder of shards holds pairs ``NAME.opus`` and ``NAME.jsonl``, each row giving ``off`` and ``n`` in samples.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SAMPLE_RATE = 16_000
EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
UNLABELLED = -1

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    """One utterance; ``offset`` and ``samples`` (at 16 kHz) locate it in the prepared array."""

    corpus: str
    file: str
    speaker: str
    emotion: int  # index into EMOTIONS, or UNLABELLED
    split: str  # "train", "dev" or "test", always whole speakers
    offset: int
    samples: int


@dataclass(frozen=True)
class Corpora:
    """All clips, and their audio as a read-only memory map of int16 [samples]."""

    clips: tuple[Clip, ...]
    audio: Samples

    def select(self, split: str, corpus: str | None = None, labelled: bool = False) -> list[int]:
        """Return the indices of a split's clips, optionally of one corpus and with a label only."""
        return [
            index
            for index, clip in enumerate(self.clips)
            if clip.split == split
            and (corpus is None or clip.corpus == corpus)
            and not (labelled and clip.emotion == UNLABELLED)
        ]

    def wave(self, index: int) -> npt.NDArray[np.float32]:
        """Return the clip's samples as float32 in [-1, 1)."""
        clip = self.clips[index]
        wave: npt.NDArray[np.float32] = self.audio[clip.offset : clip.offset + clip.samples].astype(np.float32)
        return wave / np.float32(32768)


def prepare(root: Path, work: Path) -> None:
    """Decode every corpus below ``root`` into ``work/audio.i16`` and ``work/clips.jsonl``."""
    work.mkdir(parents=True, exist_ok=True)
    splits = json.loads((root / "splits.json").read_text())
    offset = 0
    with (work / "audio.i16").open("wb") as audio, (work / "clips.jsonl").open("w") as rows:
        for clip, wave in _read(root, splits):
            audio.write(wave.tobytes())
            rows.write(json.dumps(asdict(replace(clip, offset=offset, samples=len(wave)))) + "\n")
            offset += len(wave)


def load(work: Path) -> Corpora:
    """Read what ``prepare`` wrote."""
    clips = tuple(Clip(**json.loads(line)) for line in (work / "clips.jsonl").read_text().splitlines())
    return Corpora(clips, np.memmap(work / "audio.i16", dtype=np.int16, mode="r"))


def _read(root: Path, splits: dict[str, dict[str, list[str]]]) -> Iterator[tuple[Clip, Samples]]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        reader = _read_files if (folder / "manifest.csv").exists() else _read_shards
        yield from reader(folder, splits.get(folder.name, {}))


def _read_files(folder: Path, splits: dict[str, list[str]]) -> Iterator[tuple[Clip, Samples]]:
    with (folder / "manifest.csv").open(newline="") as manifest:
        for row in csv.DictReader(manifest):
            wave = _decode(folder / row["file"])
            yield _clip(folder.name, row["file"], row["speaker"], row["label"], splits), wave


def _read_shards(folder: Path, splits: dict[str, list[str]]) -> Iterator[tuple[Clip, Samples]]:
    for index in sorted(folder.glob("*.jsonl")):
        shard = _decode(index.with_suffix(".opus"))
        for line in index.read_text().splitlines():
            row = json.loads(line)
            wave = shard[row["off"] : row["off"] + row["n"]]
            yield _clip(folder.name, row["file"], row["speaker"], row["label"], splits), wave


def _clip(corpus: str, file: str, speaker: str, label: str | None, splits: dict[str, list[str]]) -> Clip:
    emotion = EMOTIONS.index(label) if label in EMOTIONS else UNLABELLED
    return Clip(corpus, file, speaker, emotion, _split_of(speaker, splits), 0, 0)


def _split_of(speaker: str, splits: dict[str, list[str]]) -> str:
    return next((name for name in ("test", "dev") if speaker in splits.get(name, ())), "train")


def _decode(path: Path) -> Samples:
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="VHQ")
    scaled: Samples = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    return scaled


def by_length(clips: Sequence[Clip], indices: Sequence[int], seconds: float) -> Iterator[list[int]]:
    """Yield batches of similar length, each at most ``seconds`` of padded audio (or a single clip)."""
    batch: list[int] = []
    for index in sorted(indices, key=lambda i: clips[i].samples):
        if batch and (len(batch) + 1) * clips[index].samples > seconds * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
