"""emotape: speech emotion recognition with Emotion2Vec+ on your own machine.

    import emotape

    with emotape.Recognizer() as recognizer:
        prediction = recognizer.recognize("speech.mp3")
        print(prediction.emotion, prediction.confidence)

Names are imported when they are first used: `import emotape` itself starts nothing and costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from emotape.version import __version__

if TYPE_CHECKING:
    from emotape.audio.decode import DecodeLimits, Recording, decode
    from emotape.audio.quality import Quality
    from emotape.audio.waveform import Waveform
    from emotape.audio.window import WindowOptions
    from emotape.engine.resident import EngineOptions
    from emotape.engine.result import Granularity, Prediction, Provenance, Segment
    from emotape.engine.segments import SegmentOptions
    from emotape.errors import (
        BadAudio,
        BadRequest,
        CallerError,
        Cancelled,
        EmotapeError,
        EngineFault,
        Expired,
        HubFault,
        ModelFault,
        Overloaded,
        Refused,
        TooLong,
    )
    from emotape.model.labels import Label
    from emotape.recognizer import Recognizer, RecognizerOptions, RequestOptions

_HOMES = {
    "BadAudio": "errors",
    "BadRequest": "errors",
    "CallerError": "errors",
    "Cancelled": "errors",
    "DecodeLimits": "audio.decode",
    "EmotapeError": "errors",
    "EngineFault": "errors",
    "EngineOptions": "engine.resident",
    "Expired": "errors",
    "Granularity": "engine.result",
    "HubFault": "errors",
    "Label": "model.labels",
    "ModelFault": "errors",
    "Overloaded": "errors",
    "Prediction": "engine.result",
    "Provenance": "engine.result",
    "Quality": "audio.quality",
    "Recognizer": "recognizer",
    "RecognizerOptions": "recognizer",
    "Recording": "audio.decode",
    "Refused": "errors",
    "RequestOptions": "recognizer",
    "Segment": "engine.result",
    "SegmentOptions": "engine.segments",
    "TooLong": "errors",
    "Waveform": "audio.waveform",
    "WindowOptions": "audio.window",
    "decode": "audio.decode",
}

__all__ = [
    "BadAudio",
    "BadRequest",
    "CallerError",
    "Cancelled",
    "DecodeLimits",
    "EmotapeError",
    "EngineFault",
    "EngineOptions",
    "Expired",
    "Granularity",
    "HubFault",
    "Label",
    "ModelFault",
    "Overloaded",
    "Prediction",
    "Provenance",
    "Quality",
    "Recognizer",
    "RecognizerOptions",
    "Recording",
    "Refused",
    "RequestOptions",
    "Segment",
    "SegmentOptions",
    "TooLong",
    "Waveform",
    "WindowOptions",
    "__version__",
    "decode",
]


def __getattr__(name: str) -> object:
    """Import a public name from where it lives, once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'emotape' has no attribute {name!r}")
    value = getattr(import_module(f"emotape.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
