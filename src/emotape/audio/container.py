"""Open a recording with FFmpeg so that it can do nothing but demultiplex and decode sound.

Only the containers and decoders listed here may run: no playlist, no picture, no script, no network, no second file.
Video is never decoded.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, cast

import av
import av.error

from emotape.audio.limits import HIGHEST_RATE, LOWEST_RATE, DecodeLimits
from emotape.audio.mp4 import check_index
from emotape.audio.sniff import archive_of, container_of, is_mp4, is_text, wav_header
from emotape.errors import BadAudio, TooLong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.codeccontext import AudioCodecContext
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from emotape.audio.reader import Reader

# MP4 ("mov") comes on top, where the first box shows one: its index has to be checked before.
CONTAINERS: Final = ("wav", "w64", "mp3", "flac", "ogg", "matroska", "amr", "aiff", "aac", "caf")
DECODERS: Final = (
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_alaw", "pcm_mulaw"),
    *("adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "gsm", "gsm_ms"),
    *("mp3", "mp3float", "aac", "alac", "flac", "vorbis", "opus", "speex", "amrnb", "amrwb", "ac3", "eac3"),
)
_OPTIONS: Final = {
    "codec_whitelist": ",".join(DECODERS),
    "protocol_whitelist": "none",
    "max_streams": "64",
    "max_probe_packets": "1",  # spares the search for DTS inside every WAV
    "max_size": "32768",  # bytes a packet of PCM: fewer, larger frames
}
_BUFFER_BYTES: Final = 65_536
_OPENING_SECONDS: Final = 15.0  # FFmpeg compares each tag with all before it: 2 MB of short ones would take minutes


@contextmanager
def open_container(reader: Reader, limits: DecodeLimits) -> Iterator[InputContainer]:
    """Open what `reader` gives, or raise BadAudio that says what it is instead."""
    _check_head(reader.head, limits)
    options = _OPTIONS | {"format_whitelist": ",".join(CONTAINERS)}
    if is_mp4(reader.head):
        check_index(reader, limits)
        options["format_whitelist"] = "mov"
    try:
        with reader.hurried(_OPENING_SECONDS):
            container = av.open(
                reader,
                "r",
                container_options=options,
                buffer_size=_BUFFER_BYTES,
                metadata_errors="replace",
            )
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        _explain(reader, error)
    with container:
        yield container


def audio_track(container: InputContainer, limits: DecodeLimits) -> AudioStream:
    """Return the best audio track, checked against `limits` before anything of it is decoded."""
    track = cast("AudioStream | None", container.streams.best("audio"))
    if track is None:
        raise BadAudio("no_audio_track")
    decoder = cast("AudioCodecContext | None", track.codec_context)  # None: FFmpeg lacks the decoder
    if decoder is None or decoder.name not in DECODERS:
        raise BadAudio("unsupported_codec", codec="unknown" if decoder is None else decoder.name)
    check_rate(decoder.sample_rate)
    limits.check_channels(decoder.channels)
    decoder.thread_count = 1  # the caller decides how many files are decoded at a time
    # A frame with a wrong checksum is an error, not noise; but some encoders of lossy codecs write wrong ones.
    decoder.options = {"err_detect": "crccheck+explode" if decoder.name == "flac" else "crccheck"}
    return track


def container_name(container: InputContainer, reader: Reader) -> str:
    """Return the short name of the container: wav, mp3, mp4, flac, ogg, webm, matroska, amr, aiff, aac or caf."""
    name = container.format.name.split(",")[0]
    if name == "matroska":
        return "webm" if b"webm" in reader.head[:64] else "matroska"
    return "mp4" if name == "mov" else name


def check_rate(rate: int) -> None:
    """Raise BadAudio for a sample rate that no speech recording has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise BadAudio("bad_sample_rate", rate=rate, lowest=LOWEST_RATE, highest=HIGHEST_RATE)


def _check_head(head: bytes, limits: DecodeLimits) -> None:
    if not head:
        raise BadAudio("empty_file")
    header = wav_header(head)
    if header is not None:
        check_rate(header.sample_rate)
        limits.check_channels(header.channels)


def _explain(reader: Reader, error: Exception) -> NoReturn:
    """Raise what a person can act on in place of FFmpeg's "invalid data"."""
    if reader.failure is not None:
        raise reader.failure
    if isinstance(error, MemoryError):
        raise TooLong("too_much_memory", bytes="?", limit="?") from error
    archive, container = archive_of(reader.head), container_of(reader.head)
    if archive is not None:
        raise BadAudio("archive_not_audio", format=archive) from error
    if container is not None:
        raise BadAudio("damaged_file", container=container) from error
    if is_text(reader.head):
        raise BadAudio("text_not_audio") from error
    raise BadAudio("not_audio") from error
