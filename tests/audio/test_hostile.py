"""Bad input of every kind: each has its own typed error or its documented result, and none does harm."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import resource
import socket
import struct
import subprocess
import sys
import textwrap
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import pytest

from emotape.audio import container
from emotape.audio.decode import DecodeLimits, decode, from_samples
from emotape.audio.reader import Reader
from emotape.audio.samples import Mixer
from emotape.errors import BadAudio, BadRequest, EmotapeError, TooLong
from tests.audio.recordings import FORMATS, clip, encoded, original, pcm_file, written

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(data: Any, kind: type[EmotapeError] = BadAudio, **options: Any) -> str:
    """Return the code with which `data` is refused; its texts must be complete in both languages."""
    with pytest.raises(kind) as caught:
        decode(data, **options)
    for language in ("en", "zh"):
        text = caught.value.text(language)
        assert text.message
        assert text.cause
        assert text.cure
    return caught.value.code


def edited(data: bytes, at: int, form: str, *values: int) -> bytes:
    copy = bytearray(data)
    struct.pack_into(form, copy, at, *values)
    return bytes(copy)


# Not audio at all


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"Dear all, the recording is attached.\n" * 40, "text_not_audio"),
        ("亲爱的各位：录音在附件里。\n".encode() * 40, "text_not_audio"),
        ("Dear all, the recording is attached.\n".encode("utf-16") * 40, "text_not_audio"),
        (b"a" + "é".encode() * 4_000, "text_not_audio"),  # of which a character is cut where the first look ends
        (gzip.compress(bytes(10_000), mtime=0), "archive_not_audio"),
        (bytes(5_000), "not_audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(4_000), "not_audio"),
        (b"\x7fELF" + bytes(range(256)) * 8, "not_audio"),
    ],
)
def test_what_is_no_recording_is_named(data: bytes, code: str, tmp_path: Path) -> None:
    assert refusal(data) == code
    path = tmp_path / "recording.wav"
    path.write_bytes(data)
    assert refusal(path) == code


def test_an_archive_is_not_unpacked() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("recording.wav", clip("wav"))
    assert refusal(file.getvalue()) == "archive_not_audio"


def test_a_path_to_nothing_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.wav", BadRequest) == "no_such_file"
    assert refusal("\0", BadRequest) == "no_such_file"
    assert refusal(tmp_path) == "unreadable_file"


def test_a_source_that_breaks_off_is_unreadable() -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, _: Any) -> int:
            raise OSError(5, "Input/output error")

    assert refusal(Broken()) == "unreadable_file"


def test_a_text_file_object_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError):
        decode(cast("BinaryIO", io.StringIO("text")))
    with pytest.raises(TypeError):
        decode(cast("bytes", 42))


# Files that would make FFmpeg open others


def reaching_out(target: Path, port: int) -> dict[str, bytes]:
    address = f"http://127.0.0.1:{port}/a.wav"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXTINF:10,\nfile://{target}\n".encode(),
        "concat": f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n".encode(),
        "dash": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{address}</BaseURL></MPD>'.encode(),
        "pls": f"[playlist]\nFile1={address}\nNumberOfEntries=1\n".encode(),
        "mov_reference": reference_movie(target),
    }


def reference_movie(target: Path) -> bytes:
    """Return the clip as an MP4 whose data reference points to another file."""
    data = clip("m4a")
    at = data.index(b"url ")
    return data[:at] + b"alis" + b"\x00\x00\x00\x00" + data[at + 8 :] + str(target).encode()


@pytest.mark.parametrize("kind", ["hls", "concat", "sdp", "dash", "pls", "mov_reference"])
def test_no_file_and_no_socket_is_opened_on_a_files_behalf(kind: str, tmp_path: Path) -> None:
    """The operating system's own record of a child process shows no opening of the target and no socket."""
    target = tmp_path / "secret.wav"
    target.write_bytes(clip("wav"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        bait = tmp_path / "bait.wav"
        bait.write_bytes(reaching_out(target, server.getsockname()[1])[kind])
        program = """
            import sys
            from emotape.audio.decode import decode
            from emotape.errors import BadAudio
            opened = []
            sys.addaudithook(lambda event, about: opened.append((event, about)) if event in watched else None)
            watched = {"open", "socket.connect", "socket.__new__"}
            try:
                print("decoded", decode(open(sys.argv[1], "rb").read()).source.seconds)
            except BadAudio as error:
                print("refused", error.code)
            print(len([about for event, about in opened if "secret" in str(about)]))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), str(bait)], capture_output=True, text=True, check=True
        )
        with pytest.raises(BlockingIOError):
            server.accept()
    verdict, number = done.stdout.splitlines()
    assert number == "0"
    accessed = target.stat().st_atime_ns
    assert accessed <= target.stat().st_mtime_ns or verdict.startswith("refused")
    assert verdict in {"refused text_not_audio", "refused not_audio", "refused damaged_file"} or kind == "mov_reference"


# Headers that lie


def wav_of(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    return written((np.sin(np.arange(int(seconds * rate)) / 9) * 9_000).astype(np.int16), rate)


def test_a_wav_that_claims_gigabytes_gives_what_is_there() -> None:
    data = wav_of()
    at = data.index(b"data") + 4
    for claim, warnings in ((0xFFFF_FFFF, ()), (0xFFFF_FFF0, ()), (0, ()), (0x7000_0000, ("truncated",))):
        recording = decode(edited(data, at, "<I", claim))
        assert len(recording.waveforms[0]) == 16_000
        assert recording.warnings == warnings


@pytest.mark.parametrize(
    ("at", "form", "value", "kind", "code"),
    [
        (24, "<I", 0, BadAudio, "bad_sample_rate"),
        (24, "<I", 4_000_000_000, BadAudio, "bad_sample_rate"),
        (24, "<I", 100, BadAudio, "bad_sample_rate"),
        (22, "<H", 65_535, TooLong, "too_many_channels"),
        (22, "<H", 0, BadAudio, "no_channels"),
    ],
)
def test_a_wav_header_that_makes_no_sense_is_named(
    at: int, form: str, value: int, kind: type[EmotapeError], code: str
) -> None:
    assert refusal(edited(wav_of(), at, form, value), kind) == code


@pytest.mark.parametrize("count", [50_000_000, 400_000_000])
def test_an_mp4_index_that_claims_millions_of_packets_is_refused_before_it_is_built(count: int) -> None:
    data = clip("m4a")
    at = data.index(b"stsz") + 8
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(edited(data, at, ">II", 1, count)) == "damaged_file"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_compressed_mp4_index_is_refused() -> None:
    data = clip("m4a")
    assert refusal(data.replace(b"mvhd", b"cmov")) == "damaged_file"


# Limits


def test_a_recording_over_the_limit_is_refused_by_its_header() -> None:
    """Ten hours of silence in a small FLAC: refused before a second of it is decoded."""
    data = bytearray(encoded(np.zeros(16_000, np.int16), 16_000, "flac", "flac"))
    samples = 10 * 3600 * 16_000  # 36 bits at the end of the stream's description
    data[21] = (data[21] & 0xF0) | samples >> 32
    data[22:26] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
    assert refusal(bytes(data), TooLong) == "too_many_seconds"


@pytest.mark.parametrize("extension", ["flac", "mp3", "aac", "opus", "wav", "aiff"])
def test_seconds_are_counted_while_decoding(extension: str) -> None:
    samples = np.zeros(48_000 * 4, np.int16)
    codec, container = {
        "flac": ("flac", "flac"),
        "mp3": ("libmp3lame", "mp3"),
        "aac": ("aac", "adts"),
        "opus": ("libopus", "ogg"),
        "wav": ("pcm_s16le", "wav"),
        "aiff": ("pcm_s16be", "aiff"),
    }[extension]
    data = encoded(samples, 48_000, codec, container)
    assert refusal(data, TooLong, limits=DecodeLimits(seconds=2.0)) == "too_many_seconds"
    if extension == "wav":  # as a program writes it to a pipe, not knowing its length
        data = edited(data, data.index(b"data") + 4, "<I", 0xFFFF_FFFF)
    with Endless(data) as stream:
        assert refusal(stream, TooLong, limits=DecodeLimits(seconds=2.0)) == "too_many_seconds"


class Endless(io.RawIOBase):
    """Starts with a recording and never ends; counts what is read."""

    def __init__(self, start: bytes, filler: bytes = bytes(65_536)) -> None:
        self._start = start
        self._filler = filler
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._start[self.count : self.count + len(buffer)] or self._filler[: len(buffer)]
        buffer[: len(block)] = block
        self.count += len(block)
        return len(block)


@pytest.mark.parametrize("extension", ["wav", "mp4", "webm", "mp3"])
def test_an_endless_stream_is_read_to_the_limit_and_not_further(extension: str) -> None:
    limit = 300_000
    start = wav_of() if extension == "wav" else clip(extension)
    at = start.find(b"data") + 4
    stream = Endless(edited(start, at, "<I", 0xFFFF_FFFF) if extension == "wav" else start)
    try:
        decode(cast("BinaryIO", stream), DecodeLimits(bytes=limit))
    except TooLong as error:
        assert error.code == "too_many_bytes"  # noqa: PT017 - a container that knows its end may stop before
    assert stream.count <= limit + 1


def test_an_endless_stream_of_nothing_is_refused_early() -> None:
    stream = Endless(b"")
    assert refusal(stream) == "not_audio"
    assert stream.count <= 8 * 1024**2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device of Unix")
def test_a_device_without_an_end_is_a_stream() -> None:
    assert refusal("/dev/zero") == "not_audio"


def test_a_file_over_the_limit_is_not_read() -> None:
    assert refusal(clip("wav"), TooLong, limits=DecodeLimits(bytes=1_000)) == "too_many_bytes"
    file = io.BytesIO(clip("wav"))
    assert refusal(file, TooLong, limits=DecodeLimits(bytes=1_000)) == "too_many_bytes"
    assert file.tell() == 0


def test_channels_and_memory_are_limited() -> None:
    data = written(np.zeros((16_000, 6), np.int16), 16_000)
    assert refusal(data, TooLong, limits=DecodeLimits(channels=5)) == "too_many_channels"
    small = DecodeLimits(memory=300_000)
    assert refusal(data, TooLong, limits=small, channels="split") == "too_much_memory"
    assert len(decode(data, DecodeLimits(memory=200_000)).waveforms[0]) == 16_000


def test_a_huge_picture_beside_the_sound_is_never_decoded() -> None:
    """The video claims 65535 x 65535 pixels; only its sound is looked at."""
    data = bytearray(clip("mp4"))
    at = data.index(b"mp4v") + 28
    struct.pack_into(">HH", data, at, 65_535, 65_535)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.array_equal(decode(bytes(data)).waveforms[0].samples, decode(clip("mp4")).waveforms[0].samples)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_video_without_sound_says_so() -> None:
    assert refusal(clip("mp4").replace(b"soun", b"text").replace(b"mp4a", b"mp4x")) in {
        "no_audio_track",
        "unsupported_codec",
    }


# Damage


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "opus", "webm", "amr"])
@pytest.mark.parametrize("share", [0.75, 0.9])
def test_a_truncated_recording_gives_what_is_there_and_says_so(extension: str, share: float) -> None:
    whole, data = decode(clip(extension)).waveforms[0].samples, clip(extension)
    recording = decode(data[: int(len(data) * share)])
    cut = recording.waveforms[0].samples
    assert "truncated" in recording.warnings
    assert 0.2 * len(whole) < len(cut) < len(whole)
    usable = len(cut) - 1_600
    assert np.allclose(cut[:usable], whole[:usable], atol=1e-3)


def test_an_mp4_without_its_index_is_damaged() -> None:
    data = clip("m4a")
    assert refusal(data[: len(data) // 2]) == "damaged_file"


@pytest.mark.parametrize("extension", ["flac", "mp3", "m4a", "amr"])
def test_damage_in_the_middle_is_counted(extension: str) -> None:
    data = bytearray(clip(extension))
    middle, width = len(data) // 2, {"amr": 8}.get(extension, 600)
    data[middle : middle + width] = b"\xff" * width
    recording = decode(bytes(data))
    assert recording.corrupt_packets >= 1
    assert "corrupt_packets" in recording.warnings


@pytest.mark.parametrize("container", ["flac", "matroska", "mp4"])
def test_one_wrong_bit_of_a_flac_is_noticed(container: str) -> None:
    """Its frames carry checksums: one that does not fit is left out, not heard as noise."""
    data = encoded(*original(), "flac", container)
    for at in range(len(data) // 4, 3 * len(data) // 4, len(data) // 16):
        damaged = bytearray(data)
        damaged[at] ^= 1
        assert "corrupt_packets" in decode(bytes(damaged)).warnings


def test_an_ogg_that_lost_a_page_says_so() -> None:
    samples, rate = original()
    data = bytearray(encoded(np.tile(samples, 6), rate, "flac", "ogg"))
    data[len(data) // 2] ^= 0xFF  # its page fails the checksum and is dropped by FFmpeg
    recording = decode(bytes(data))
    assert recording.corrupt_packets >= 1
    assert "corrupt_packets" in recording.warnings


# Values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_values_that_are_no_sound_are_refused(value: float, rate: int) -> None:
    samples = np.zeros(rate, np.float32)
    samples[rate // 2] = value
    assert refusal(written(samples, rate, "WAV", "FLOAT")) == "bad_samples"
    with pytest.raises(BadAudio, match="bad_samples"):
        from_samples(samples, rate)
    with pytest.raises(BadAudio, match="bad_samples"):
        from_samples(np.stack([samples, np.zeros(rate)], axis=1).astype(np.float64), rate)


def test_silence_is_a_recording() -> None:
    assert not decode(written(np.zeros(16_000, np.int16), 16_000)).waveforms[0].samples.any()


@pytest.mark.parametrize(("samples", "code"), [(0, "no_samples"), (1, "too_short"), (399, "too_short")])
def test_less_than_one_frame_is_too_short(samples: int, code: str) -> None:
    silence = np.zeros(samples, np.int16)
    assert refusal(written(silence, 16_000)) == code
    with pytest.raises(BadAudio, match=code):
        from_samples(silence, 16_000)


def test_one_frame_is_enough() -> None:
    assert len(decode(written(np.zeros(400, np.int16), 16_000)).waveforms[0]) == 400


@pytest.mark.parametrize("shape", [(3, 4, 5), ()])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadAudio, match="bad_array"):
        from_samples(np.zeros(shape, np.float32), 16_000)


def test_an_array_with_channels_first_is_refused_before_it_is_mixed() -> None:
    with pytest.raises(TooLong, match="too_many_channels"):
        from_samples(np.zeros((2, 16_000), np.float32), 16_000)
    with pytest.raises(BadAudio, match="bad_array"):
        from_samples(np.zeros(16_000, complex), 16_000)
    with pytest.raises(BadAudio, match="bad_sample_rate"):
        from_samples(np.zeros(16_000, np.float32), 0)


def test_joined_recordings_of_different_rates_are_one_and_endless_changes_are_refused() -> None:
    mixer = Mixer(None, 0, DecodeLimits())
    for rate in (16_000, 44_100, 8_000):
        mixer.add(np.zeros((1, rate), np.int16), rate)
    mixer.finish()
    assert mixer.length == 3 * 16_000
    change_rates(mixer, 60)
    with pytest.raises(BadAudio, match="changing_rate"):
        change_rates(mixer, 10)


def change_rates(mixer: Mixer, times: int) -> None:
    for turn in range(times):
        mixer.add(np.zeros((1, 100), np.int16), 8_000 + turn % 2)


# Tags


def id3(*frames: bytes) -> bytes:
    content = b"".join(frames)
    return b"ID3\x04\0\0" + _syncsafe(len(content)) + content


def packed_frame(size: int) -> bytes:
    """Return an ID3 frame of `size` bytes in a thousandth of them, each of which FFmpeg would write as four letters."""
    content = zlib.compress(b"own\0" + bytes(size), 9)
    head = b"PRIV" + _syncsafe(len(content) + 4) + b"\0\x09"  # compressed, with the length that it unpacks to
    return head + struct.pack(">I", size + 4) + content


def _syncsafe(number: int) -> bytes:
    return bytes(number >> 7 * place & 0x7F for place in (3, 2, 1, 0))


def adts() -> tuple[bytes, bytes]:
    """Return a recording in bare AAC in two halves, cut between frames."""
    samples, rate = original()
    data = encoded(samples, rate, "aac", "adts")
    at = 0
    while at < len(data) // 2:
        at += int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & 0x1FFF
    return data[:at], data[at:]


def in_chunk(tag: bytes, order: str, data: bytes) -> bytes:
    """Put a tag behind the head of a WAV or AIFF."""
    chunk = (b"id3 " if order == "<" else b"ID3 ") + struct.pack(f"{order}I", len(tag)) + tag + bytes(len(tag) % 2)
    return data[:4] + struct.pack(f"{order}I", len(data) + len(chunk) - 8) + data[8:12] + chunk + data[12:]


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "mp3": lambda tag: tag + clip("mp3"),
    "several before an mp3": lambda tag: id3() + tag + clip("mp3"),
    "flac": lambda tag: tag + clip("flac"),
    "wav": lambda tag: in_chunk(tag, "<", clip("wav")),
    "aiff": lambda tag: in_chunk(tag, ">", pcm_file("AIFF")),
    "aac": lambda tag: tag + b"".join(adts()),
    "between frames of aac": lambda tag: tag.join(adts()),
}


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("kind", BOMBS)
def test_a_tag_is_not_unpacked(kind: str, stream: bool) -> None:
    """100 kB of ID3 stand for 100 MB, which FFmpeg would keep five times over; the sound is what it is without them."""
    harmless = BOMBS[kind](id3(packed_frame(10)))
    whole = decode(cast("BinaryIO", Trickle(harmless)) if stream else harmless).waveforms[0]
    bait = BOMBS[kind](id3(packed_frame(100_000_000)))
    program = """
        import sys
        from emotape.audio.decode import decode
        from emotape.delivery.bench.memory import peak_bytes
        data = sys.stdin.buffer
        sound = decode(data if sys.argv[1] == "True" else data.read()).waveforms[0]
        print(sound.digest(), peak_bytes() or 0)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(stream)]
    done = subprocess.run(command, input=bait, capture_output=True, check=True)
    digest, peak = done.stdout.decode().split()
    assert digest == whole.digest()
    assert int(peak) < 400e6


@pytest.mark.parametrize("cut", range(65_536 - 10, 65_536 + 1))
def test_a_tag_across_two_reads_is_not_found(cut: int) -> None:
    """FFmpeg is shown no tag, however the blocks that it reads lie."""
    tag = id3(packed_frame(10))
    for source in (io.BytesIO(bytes(cut) + tag + b"ID3"), Trickle(bytes(cut) + tag + b"ID3")):
        reader = Reader(cast("BinaryIO", source), DecodeLimits())
        shown = b"".join(iter(lambda: reader.read(65_536), b""))  # noqa: B023 - used at once
        assert len(shown) == cut + len(tag) + 3
        assert tag[:10] not in shown


class Trickle(io.RawIOBase):
    """A stream that cannot go back."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation

    def read(self, count: int = -1) -> bytes:
        return self._data.read(count)


def test_tags_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg compares each tag with all before it: of a WAV's it may keep so many as it manages in a few seconds."""
    monkeypatch.setattr(container, "_OPENING_SECONDS", 0.2)
    names = (bytes(name) for name in itertools.product(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", repeat=4))
    notes = b"INFO" + b"".join(name + b"\x02\0\0\0x\0" for name in itertools.islice(names, 40_000))
    wav = clip("wav")
    assert refusal(wav[:12] + b"LIST" + struct.pack("<I", len(notes)) + notes + wav[12:]) == "damaged_file"


def test_a_matroska_of_tags_is_refused_before_they_are_compared() -> None:
    """Its tags are compared after the last one was read, when nobody can stop it any more."""
    webm = clip("webm")
    segment = webm.index(b"\x18\x53\x80\x67") + 4
    length = 9 - webm[segment].bit_length()
    tags = b"".join(_element(b"\x67\xc8", _element(b"\x45\xa3", b"%05d" % name)) for name in range(12_000))
    tags = _element(b"\x12\x54\xc3\x67", _element(b"\x73\x73", tags))
    assert refusal(webm[:segment] + b"\x01" + b"\xff" * 7 + tags + webm[segment + length :]) == "damaged_file"


def _element(name: bytes, content: bytes) -> bytes:
    return name + b"\x01" + len(content).to_bytes(7, "big") + content


# Memory


def test_peak_memory_stays_close_to_the_result() -> None:
    """Ten minutes of 22 kHz stereo come to 38 MB; the process grows by that and a little, not by twice that."""
    samples, rate = original()
    minutes = np.tile(samples, 10 * 60 * rate // len(samples))
    program = """
        import sys
        from emotape.audio.decode import decode
        from emotape.delivery.bench.memory import peak_bytes
        decode(sys.argv[2])
        before = peak_bytes() or 0  # what getrusage says of a new process is at least what its parent had
        size = decode(sys.argv[1]).waveforms[0].samples.nbytes
        print(size, (peak_bytes() or 0) - before)
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        long, short = Path(folder, "long.flac"), Path(folder, "short.flac")
        long.write_bytes(encoded(np.stack([minutes, minutes], axis=1), rate, "flac", "flac"))
        short.write_bytes(clip("flac"))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), str(long), str(short)],
            capture_output=True,
            text=True,
            check=True,
        )
    size, growth = map(int, done.stdout.split())
    assert size == pytest.approx(10 * 60 * 16_000 * 4, rel=0.01)
    assert growth < 1.3 * size


@pytest.mark.parametrize("extension", FORMATS)
def test_every_prefix_of_a_file_is_decoded_or_refused(extension: str) -> None:
    data = clip(extension)
    for stop in [*range(0, 64, 3), *range(64, len(data), len(data) // 40)]:
        with contextlib.suppress(EmotapeError):
            assert np.isfinite(decode(data[:stop]).waveforms[0].samples).all()
