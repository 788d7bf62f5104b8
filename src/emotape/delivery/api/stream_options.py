"""What may be asked of a stream, and what one may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from emotape.audio.limits import HIGHEST_RATE, LOWEST_RATE
from emotape.audio.stream import Coding  # noqa: TC001 - pydantic reads annotations when it runs


class StreamStart(BaseModel):
    """The first message.

    The sound is interleaved samples ("s16le", "f32le") at `rate` Hz with `channels` channels, which are mixed down, or
    "encoded": any container that can be read from front to back, such as WebM, Ogg, MP3, FLAC or WAV.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Literal["start"]
    format: Coding | Literal["encoded"] = "encoded"
    rate: int = Field(default=16_000, ge=LOWEST_RATE, le=HIGHEST_RATE)
    channels: int = Field(default=1, ge=1, le=32)
    window: float = Field(default=4.0, ge=0.5, le=30.0, description="Seconds that one result is about.")
    hop: float = Field(default=1.0, ge=0.1, le=30.0, description="Seconds from one window to the next.")
    late: Literal["skip", "wait"] = Field(
        default="skip",
        description="When sound comes faster than it is answered: skip windows and say so, or take in no more.",
    )
    granularity: Literal["utterance", "frame"] = "utterance"
    embedding: bool = False
    labels: str | None = Field(default=None, max_length=1000)
    language: Literal["en", "zh"] | None = None

    @model_validator(mode="after")
    def _hop_within_window(self) -> Self:
        if self.hop > self.window:
            raise ValueError("hop is longer than window, so that some sound would be in none")
        return self


@dataclass(frozen=True)
class StreamBounds:
    """What one stream may take, and how many there may be.

    session_seconds  of sound, and of time
    idle_seconds     that the client may be silent
    chunk_bytes      of one message
    in_flight        windows that wait for an answer; what comes then is skipped, or waits
    sessions         at the same time
    """

    session_seconds: float = 3600.0
    idle_seconds: float = 30.0
    chunk_bytes: int = 1024**2
    in_flight: int = 4
    sessions: int = 64
