"""What a service needs of whoever recognizes: a model in this process, or a cluster of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Unpack

if TYPE_CHECKING:
    from emotape.audio.decode import AudioSource, ChannelMode, Recording
    from emotape.engine.plan import Plan
    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction
    from emotape.engine.wanted import RequestOptions
    from emotape.model.labels import Label
    from emotape.recognizer import RecognizerOptions, Source
    from emotape.store.catalogue import ModelEntry


class Recognition(Protocol):
    """The part of `emotape.Recognizer` that serves. Any thread may call it; each request gets exactly one answer."""

    @property
    def model(self) -> ModelEntry:
        """The model that answers, unless a request names another."""

    @property
    def options(self) -> RecognizerOptions:
        """The limits and the windows that hold for every request."""

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered without waiting for a model to load. Never waits."""

    @property
    def is_asleep(self) -> bool:
        """Whether the model was let go for want of requests. Never waits."""

    @property
    def digest(self) -> str:
        """The digest of the weights. May wait for the model."""

    @property
    def plan(self) -> Plan:
        """How the engine runs. May wait for the model."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The emotions that the model knows, in its own order. May wait for the model."""

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for a device. Never waits."""

    @property
    def queue_seconds(self) -> float | None:
        """Seconds of audio that may wait; None while no model is loaded. Never waits."""

    def submit(self, source: Source, **wanted: Unpack[RequestOptions]) -> Pending[Prediction]:
        """Ask for the emotion of a recording, its channels mixed down. Raises as `Recognizer.submit` does."""

    def submit_channels(self, source: Source, **wanted: Unpack[RequestOptions]) -> Pending[tuple[Prediction, ...]]:
        """Ask for the emotion of each channel, in order. Raises as `Recognizer.submit` does."""

    def decode(self, source: AudioSource, channels: ChannelMode = "mix") -> Recording:
        """Return the waveforms of a recording, within the limits. Raises BadAudio, TooLong and BadRequest."""

    def open(self) -> object:
        """Wait until the model is loaded. Raises ModelFault or EngineFault."""

    def close(self) -> None:
        """Answer everything that was admitted; nothing is admitted any more."""
