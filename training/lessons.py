"""Batches for the student: a pure function from (seed, step) to augmented waves and everything they should teach.

A clip's teacher frames were made once from the clean clip; cropping and changes of speed only choose among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.augment import Dice, augment, inside, normalise
from training.corpora import SAMPLE_RATE, Corpora
from training.student import FIELD, STRIDE, frames_of
from training.teacher import HOP, WIDTH, Lessons, mel_filters

BANDS = 80
SHORT, LONG = 100, 300  # frames of a batch's clips: 2 s and 6 s
LIMIT = 4.0  # targets are standardised and clipped to this many standard deviations


class Batch(NamedTuple):
    """What one step needs; B clips of at most F frames."""

    waves: Tensor  # [B, T] bfloat16, normalised
    frames: Tensor  # [B]
    middle: Tensor  # [B, F, WIDTH] the teacher's frames of the clean clips, standardised
    spectra: Tensor  # [B, F, BANDS] log-mel of the very samples each frame sees
    pooled: Tensor  # [B, POOLED] the teacher's pooled features, standardised
    whole: Tensor  # [B] share of the clip that was kept: how far ``pooled`` may be believed
    emotions: Tensor  # [B], UNLABELLED where unknown
    soft: Tensor  # [B, emotions] the probe's probabilities


@dataclass(frozen=True)
class Diet:
    """What the student is fed."""

    shares: dict[str, float]  # of clips, by corpus
    seconds: float = 16.0  # of audio in a batch
    long_every: int = 6  # one batch in so many has long clips
    seed: int = 0


@dataclass(frozen=True)
class Pool:
    """Training clips of one corpus; classes are drawn equally often, unlabelled clips by their length."""

    indices: npt.NDArray[np.int64]
    chances: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of the targets over the training clips; the constant part would teach nothing.

    The teacher adds an encoding of absolute position to its frames, a seventh of their variance, which a student that
    hears a crop cannot know: the mean is taken for every position.
    """

    frame_mean: Tensor  # [positions, WIDTH]
    frame_deviation: Tensor
    pooled_mean: Tensor
    pooled_deviation: Tensor


def standardise(lessons: Lessons, training: list[int]) -> Standard:
    """Measure the teacher's features over the training clips."""
    spans = lessons.spans[training]
    sums, squares = np.zeros((spans[:, 1].max(), WIDTH)), np.zeros(WIDTH)
    for first, count in spans:
        frames = lessons.frames[first : first + count].astype(np.float32)
        sums[:count] += frames
        squares += np.square(frames).sum(0)
    counts = (spans[:, 1][:, None] > np.arange(len(sums))[None]).sum(0)[:, None]
    overall = sums.sum(0) / counts.sum()
    # few clips reach the late positions: their means lean on the overall one as if 50 more frames had been average
    by_position = (sums + 50 * overall) / (counts + 50)
    deviation = np.sqrt(squares / counts.sum() - np.square(overall)) + 1e-3
    pooled = torch.from_numpy(lessons.pooled[training])
    return Standard(
        torch.from_numpy(by_position.astype(np.float32)),
        torch.from_numpy(deviation.astype(np.float32)),
        pooled.mean(0),
        pooled.std(0) + 1e-3,
    )


class LessonStream(Dataset[Batch]):
    """``stream[step]`` is the batch of that step, the same on every run and in every worker."""

    def __init__(self, corpora: Corpora, lessons: Lessons, soft: Tensor, diet: Diet, steps: int) -> None:
        training = corpora.select("train")
        self._corpora, self._lessons, self._diet, self._steps = corpora, lessons, diet, steps
        self._standard = standardise(lessons, training)
        self._pools = {name: _pool(corpora, name) for name in diet.shares}
        self._kin: dict[tuple[str, str, int], list[int]] = {}
        for clip in training:
            self._kin.setdefault(self._kind(clip), []).append(clip)
        pooled = torch.from_numpy(lessons.pooled) - self._standard.pooled_mean
        self._pooled = (pooled / self._standard.pooled_deviation).clamp(-LIMIT, LIMIT)
        self._soft = torch.zeros(len(corpora.clips), soft.shape[1])
        self._soft[training] = soft
        self._mel = mel_filters(BANDS)
        self._window = torch.hann_window(FIELD)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        torch.set_num_threads(1)  # in a loader's process; the cores belong to the student
        random = np.random.default_rng((self._diet.seed, step))
        limit = LONG if step % self._diet.long_every == 0 else SHORT
        length = (limit - 1) * STRIDE + FIELD
        batch = max(2, round(self._diet.seconds * SAMPLE_RATE / length))
        utterances = [self._utterance(random, length, more=limit == LONG) for _ in range(batch)]
        waves = torch.zeros(batch, length)
        middle = torch.zeros(batch, limit, WIDTH)
        for row, frames, utterance in zip(waves, middle, utterances, strict=True):
            row[: len(utterance.wave)] = torch.from_numpy(utterance.wave)
            chosen = torch.from_numpy(self._lessons.frames[utterance.teacher_frames].astype(np.float32))
            usual = self._standard.frame_mean[torch.from_numpy(utterance.positions)]
            frames[: len(chosen)] = (chosen - usual) / self._standard.frame_deviation
        samples = torch.tensor([len(utterance.wave) for utterance in utterances])
        waves = augment(normalise(waves, samples), samples, Dice(int(random.integers(2**62)), batch))
        valid = inside(frames_of(samples), limit)[..., None]
        emotions = [self._corpora.clips[utterance.clips[0]].emotion for utterance in utterances]
        return Batch(
            waves=waves.bfloat16(),
            frames=frames_of(samples),
            middle=middle.clamp(-LIMIT, LIMIT).bfloat16(),
            spectra=(self._log_mel(waves, limit) * valid).bfloat16(),
            pooled=torch.stack([self._pooled[list(utterance.clips)].mean(0) for utterance in utterances]),
            whole=torch.tensor([utterance.whole for utterance in utterances]),
            emotions=torch.tensor(emotions),
            soft=torch.stack([self._soft[list(utterance.clips)].mean(0) for utterance in utterances]),
        )

    def _utterance(self, random: np.random.Generator, length: int, *, more: bool) -> Utterance:
        """Draw up to ``length`` samples of one voice in one mood: a clip, if ``more`` with others of its kind."""
        shares = self._diet.shares
        name = random.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values()))
        clip = int(random.choice(self._pools[name].indices, p=self._pools[name].chances))
        pieces = [self._piece(random, clip, length)]
        while more and (room := length - sum(len(piece.wave) for piece in pieces)) > SAMPLE_RATE // 2:
            pieces.append(self._piece(random, int(random.choice(self._kin[self._kind(clip)])), room))
        return join(pieces)

    def _kind(self, clip: int) -> tuple[str, str, int]:
        return self._corpora.clips[clip].corpus, self._corpora.clips[clip].speaker, self._corpora.clips[clip].emotion

    def _piece(self, random: np.random.Generator, clip: int, room: int) -> Piece:
        """Crop a clip and replay it at another speed (pitch, formants and tempo together)."""
        wave = self._corpora.wave(clip)
        speed = float(np.exp(random.uniform(-0.14, 0.14))) if random.random() < 0.6 else 1.0
        total = int(len(wave) / speed)
        kept = total if random.random() < 0.4 else max(min(total, 12_000), int(total * random.uniform(0.55, 1)))
        kept = min(kept, room)
        start = int(random.integers(0, total - kept + 1))
        played = np.interp((np.arange(kept) + start) * speed, np.arange(len(wave)), wave).astype(np.float32)
        first, frames = (int(number) for number in self._lessons.spans[clip])
        return Piece(clip, played, first, frames, start, speed, kept / total)

    def _log_mel(self, waves: Tensor, frames: int) -> Tensor:
        """Return [B, frames, BANDS], roughly of unit variance; frame f covers the very samples the student's sees."""
        power = torch.stft(waves, FIELD, STRIDE, window=self._window, center=False, return_complex=True).abs().square()
        log = (self._mel @ power + 1e-3).log10().transpose(1, 2)[:, :frames]
        return ((log + 0.5) / 1.2).clamp(-3, 3)


@dataclass(frozen=True)
class Piece:
    """Part of a clip as it will be heard."""

    clip: int
    wave: npt.NDArray[np.float32]
    first_frame: int  # of the clip, in the teacher's store
    frames: int  # of the clip
    start: int  # samples of the replayed clip before the part that was kept
    speed: float
    whole: float  # share of the clip that was kept

    def positions(self, centres: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return which of the teacher's frames of the clip are nearest to places in ``wave`` (samples)."""
        nearest = np.rint((centres + self.start) * self.speed / HOP).astype(np.int64)
        return np.clip(nearest, 0, self.frames - 1)


@dataclass(frozen=True)
class Utterance:
    """One or more pieces one after the other."""

    clips: tuple[int, ...]
    wave: npt.NDArray[np.float32]
    teacher_frames: npt.NDArray[np.int64]  # in the teacher's store, one for each of the student's frames
    positions: npt.NDArray[np.int64]  # of those frames in their clips
    whole: float


def join(pieces: list[Piece]) -> Utterance:
    """Put pieces in a row; every frame of the student belongs to the piece that its centre lies in."""
    wave = np.concatenate([piece.wave for piece in pieces])
    ends = np.cumsum([len(piece.wave) for piece in pieces])
    centres = STRIDE * np.arange((len(wave) - FIELD) // STRIDE + 1) + FIELD // 2
    owners = np.searchsorted(ends, centres, side="right")
    positions = [
        piece.positions(centres[owners == place] - (end - len(piece.wave)))
        for place, (piece, end) in enumerate(zip(pieces, ends, strict=True))
    ]
    frames = [piece.first_frame + part for piece, part in zip(pieces, positions, strict=True)]
    whole = float(np.mean([piece.whole for piece in pieces]))
    clips = tuple(piece.clip for piece in pieces)
    return Utterance(clips, wave, np.concatenate(frames), np.concatenate(positions), whole)


def _pool(corpora: Corpora, corpus: str) -> Pool:
    indices = corpora.select("train", corpus)
    emotions = [corpora.clips[index].emotion for index in indices]
    counts = {emotion: emotions.count(emotion) for emotion in set(emotions)}
    if len(counts) > 1:
        chances = np.array([1 / counts[emotion] for emotion in emotions])
    else:
        chances = np.array([min(corpora.clips[index].samples, 6 * SAMPLE_RATE) for index in indices], np.float64)
    return Pool(np.array(indices), chances / chances.sum())
