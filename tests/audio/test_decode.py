"""Decoding of good recordings: every format, every kind of source, exact values."""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from emotape.audio.decode import DecodeLimits, Recording, decode, from_samples
from emotape.audio.frames import Frames
from emotape.audio.samples import BLOCK
from emotape.audio.waveform import SAMPLE_RATE
from tests.audio.recordings import DATA, FORMATS, clip, encoded, original, pcm_file, written

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LOSSLESS = ("wav", "flac", "aiff")
LOSSY = ("mp3", "m4a", "ogg", "opus", "webm", "mp4")
AMR_DELAY = 160  # samples; AMR looks ahead by 5 ms and its container does not say so


def samples_of(data: Any, **options: Any) -> NDArray[np.float32]:
    return decode(data, **options).waveforms[0].samples


def lag(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """Return by how many samples `other` comes later than `one`, by cross-correlation."""
    size = 2 * max(len(one), len(other))
    product = np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size))
    best = int(np.argmax(np.fft.irfft(product, size)))
    return best if best < size // 2 else best - size


@pytest.mark.parametrize("extension", LOSSLESS)
def test_lossless_formats_of_a_clip_are_equal_to_the_bit(extension: str) -> None:
    assert np.array_equal(samples_of(clip(extension)), samples_of(clip("wav")))


@pytest.mark.parametrize("extension", LOSSY)
def test_lossy_formats_of_a_clip_agree_in_time_length_and_sound(extension: str) -> None:
    reference, decoded = samples_of(clip("wav")), samples_of(clip(extension))
    assert lag(reference, decoded) == 0
    assert abs(len(decoded) - len(reference)) <= 16  # 1 ms
    shared = min(len(reference), len(decoded))
    assert np.corrcoef(reference[:shared], decoded[:shared])[0, 1] > 0.99


def test_amr_agrees_within_its_narrow_band_and_its_look_ahead() -> None:
    reference, decoded = samples_of(clip("wav")), samples_of(clip("amr"))
    assert 0 <= lag(reference, decoded) <= AMR_DELAY
    assert abs(len(decoded) - len(reference)) <= 320


@pytest.mark.parametrize(
    ("extension", "container", "codec", "rate"),
    [
        ("wav", "wav", "pcm_s16le", 22_050),
        ("flac", "flac", "flac", 22_050),
        ("mp3", "mp3", "mp3", 44_100),
        ("m4a", "mp4", "aac", 44_100),
        ("ogg", "ogg", "vorbis", 22_050),
        ("opus", "ogg", "opus", 48_000),
        ("webm", "webm", "opus", 48_000),
        ("amr", "amr", "amr_nb", 8_000),
        ("aiff", "aiff", "pcm_s16be", 22_050),
        ("mp4", "mp4", "aac", 22_050),
    ],
)
def test_the_source_is_described(extension: str, container: str, codec: str, rate: int) -> None:
    source = decode(clip(extension)).source
    assert (source.container, source.codec, source.sample_rate, source.channels) == (container, codec, rate, 1)
    assert source.seconds == pytest.approx(1.59175, abs=0.0101)


@pytest.mark.parametrize("extension", [*FORMATS, "aiff", "mp4"])
def test_a_good_recording_has_no_warnings(extension: str) -> None:
    recording = decode(clip(extension))
    assert (recording.warnings, recording.corrupt_packets) == ((), 0)


@pytest.mark.parametrize("kind", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_kind_of_wav_sounds_like_16_bits(kind: str) -> None:
    reference, decoded = samples_of(clip("wav")), samples_of(pcm_file("WAV", kind))
    assert len(reference) == len(decoded)
    assert np.abs(reference - decoded).max() < {"PCM_U8": 0.012, "ULAW": 0.03, "ALAW": 0.03}.get(kind, 1e-6)


def test_16_bit_wav_at_16_khz_decodes_to_exactly_its_integers() -> None:
    values = np.random.default_rng(1).integers(-32768, 32768, 40_000).astype(np.int16)
    values[:2] = (-32768, 32767)
    decoded = samples_of(written(values, SAMPLE_RATE))
    assert np.array_equal(decoded, values / np.float32(32768))
    assert np.array_equal(decoded, from_samples(values, SAMPLE_RATE).samples)


@pytest.mark.parametrize("extension", [*FORMATS, "aiff", "mp4"])
def test_bytes_path_file_and_stream_give_the_same(extension: str, tmp_path: Path) -> None:
    data, misleading = clip(extension), tmp_path / "notes.txt"
    misleading.write_bytes(data)
    expected = samples_of(data)
    with misleading.open("rb") as file:
        assert np.array_equal(samples_of(file), expected)
    assert np.array_equal(samples_of(misleading), expected)
    assert np.array_equal(samples_of(str(misleading)), expected)
    assert np.array_equal(samples_of(memoryview(bytearray(data))), expected)
    with piped(data) as stream:
        streamed = samples_of(stream)
    # FFmpeg finds the padding at the end of an MP3 only where it can seek.
    same = len(expected) - (400 if extension == "mp3" else 0)
    assert np.array_equal(streamed[:same], expected[:same])
    assert 0 <= len(streamed) - len(expected) <= (1_000 if extension == "mp3" else 0)


def piped(data: bytes) -> Any:
    """Return the reading end of a real pipe through which `data` comes, as standard input would."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(reading, "rb")


def test_a_file_object_is_read_from_its_position_and_left_open() -> None:
    data = clip("flac")
    file = io.BytesIO(b"some other part of a form" + data)
    file.seek(25)
    assert np.array_equal(samples_of(file), samples_of(data))
    assert not file.closed


def stereo() -> tuple[NDArray[np.int16], int]:
    left, rate = original()
    return np.stack([left, np.roll(left, 2_000) // 2], axis=1), rate


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_downmix_is_the_mean_of_the_channels_and_split_keeps_them(container: str) -> None:
    table, rate = stereo()
    data = written(table, rate, container)
    left, right = (waveform.samples for waveform in decode(data, channels="split").waveforms)
    assert np.array_equal(left, from_samples(table[:, 0], rate).samples)
    assert np.array_equal(right, from_samples(table[:, 1], rate).samples)
    assert np.allclose(samples_of(data), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_eight_planar_channels_are_read_in_order(codec: str) -> None:
    """PyAV reads past the planes of such a frame (it crashed the process); ours are interleaved first."""
    tones = [300 + 200 * channel for channel in range(8)]
    seconds = np.arange(SAMPLE_RATE * 3) / 48_000
    table = np.stack([8_000 * np.sin(2 * np.pi * tone * seconds) for tone in tones], axis=1).astype(np.int16)
    recording = decode(encoded(table, 48_000, codec, "matroska"), channels="split")
    heard = [loudest_tone(waveform.samples) for waveform in recording.waveforms]
    assert len(heard) == 8
    for channel, tone in enumerate(tones):
        if channel != 3:  # the low-frequency channel loses its tone in some codecs
            assert heard[channel] == pytest.approx(tone, abs=5)


def loudest_tone(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * SAMPLE_RATE / len(samples)


def test_only_the_sound_of_a_video_is_decoded() -> None:
    recording = decode(clip("mp4"))
    assert recording.source.codec == "aac"
    assert len(recording.waveforms) == 1


def test_decoding_is_a_pure_function() -> None:
    data = clip("mp3")
    one, other = decode(data).waveforms[0], decode(data).waveforms[0]
    assert one.digest() == other.digest()
    assert not one.samples.flags.writeable


@pytest.mark.parametrize("extension", [*FORMATS, "aiff", "mp4", "stereo"])
def test_frames_are_joined_as_they_are_coded(extension: str) -> None:
    """Many small frames become few arrays; none is lost, and no sample moves."""
    table, rate = stereo()
    data = written(np.tile(table, (6, 1)), rate) if extension == "stereo" else clip(extension)
    with opened(data) as container:
        frames = [frame for frame in container.decode(audio=0) if frame.samples]
        arrays = [frame.to_ndarray() for frame in frames]
        channels = frames[0].layout.nb_channels
        wanted = np.concatenate([a if len(a) == channels else a.reshape(-1, channels).T for a in arrays], axis=1)
    with opened(data) as container:
        found = list(Frames(container, container.streams.audio[0], DecodeLimits()))
    assert {rate for _, rate in found} == {frames[0].sample_rate}
    assert np.array_equal(np.concatenate([samples for samples, _ in found], axis=1), wanted)
    assert all(samples.shape[1] >= BLOCK for samples, _ in found[:-1])


def opened(data: bytes) -> Any:
    return av.open(io.BytesIO(data))


def test_files_decoded_at_the_same_time_do_not_disturb_each_other() -> None:
    expected = {extension: decode(clip(extension)).waveforms[0].digest() for extension in FORMATS}
    found: list[tuple[str, str]] = []

    def work(extension: str) -> None:
        found.extend((extension, decode(clip(extension)).waveforms[0].digest()) for _ in range(3))

    threads = [threading.Thread(target=work, args=(extension,)) for extension in FORMATS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 * len(FORMATS)
    assert all(expected[extension] == digest for extension, digest in found)


def test_other_threads_run_while_a_recording_is_decoded() -> None:
    """The GIL is released: with a switch interval of a minute a thread gets on only when it is given up on purpose."""
    import sys

    samples, rate = original()
    data = encoded(np.tile(samples, 40), rate, "flac", "flac")
    counted, done = [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1
            done.wait(0.0001)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    try:
        thread = threading.Thread(target=count)
        thread.start()
        before = counted[0]
        decode(data)
        during = counted[0] - before
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert during > 10


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32", "float64"]
)
def test_samples_of_every_type_keep_their_scale(dtype: str) -> None:
    wave = 0.5 * np.sin(np.arange(16_000) / 20)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = wave.astype(kind)
    else:
        half = 2.0 ** (8 * kind.itemsize - 1)
        values = (np.round(wave * half) + (half if kind.kind == "u" else 0)).astype(kind)
    decoded = from_samples(values, SAMPLE_RATE).samples
    assert np.abs(decoded - wave).max() <= max(2.0 ** (1 - 8 * kind.itemsize), 3e-4 if dtype == "float16" else 1e-6)


def test_an_array_of_channels_is_mixed_and_resampled_like_a_file() -> None:
    table, rate = stereo()
    assert np.allclose(from_samples(table, rate).samples, samples_of(written(table, rate)), atol=1e-6)


def test_the_jfk_recording_decodes_whole() -> None:
    recording: Recording = decode(DATA / "jfk.flac")
    assert recording.source.channels == 2
    assert len(recording.waveforms[0]) == 5 * SAMPLE_RATE
