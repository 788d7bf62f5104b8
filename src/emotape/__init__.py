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
    from emotape.client.asynchronous import AsyncClient
    from emotape.client.connection import ClientOptions
    from emotape.client.errors import RemoteError
    from emotape.client.retry import Retry
    from emotape.client.streaming import StreamOptions, StreamResult, StreamSummary
    from emotape.client.synchronous import Client
    from emotape.delivery.adapting.adaptation import Adapted
    from emotape.delivery.adapting.calling import adapt
    from emotape.delivery.evaluation.calling import evaluate
    from emotape.delivery.evaluation.record import Evaluation
    from emotape.engine.resident import EngineOptions
    from emotape.engine.result import Granularity, Prediction, Provenance, Segment
    from emotape.engine.segments import SegmentOptions
    from emotape.engine.wanted import RequestOptions
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
    from emotape.recognizer import Recognizer, RecognizerOptions
    from emotape.store.cache.memory import MemoryCache
    from emotape.store.cache.redis import RedisCache

_HOMES = {
    "Adapted": "delivery.adapting.adaptation",
    "AsyncClient": "client.asynchronous",
    "BadAudio": "errors",
    "BadRequest": "errors",
    "CallerError": "errors",
    "Cancelled": "errors",
    "Client": "client.synchronous",
    "ClientOptions": "client.connection",
    "DecodeLimits": "audio.decode",
    "EmotapeError": "errors",
    "EngineFault": "errors",
    "EngineOptions": "engine.resident",
    "Evaluation": "delivery.evaluation.record",
    "Expired": "errors",
    "Granularity": "engine.result",
    "HubFault": "errors",
    "Label": "model.labels",
    "MemoryCache": "store.cache.memory",
    "ModelFault": "errors",
    "Overloaded": "errors",
    "Prediction": "engine.result",
    "Provenance": "engine.result",
    "Quality": "audio.quality",
    "Recognizer": "recognizer",
    "RecognizerOptions": "recognizer",
    "Recording": "audio.decode",
    "RedisCache": "store.cache.redis",
    "Refused": "errors",
    "RemoteError": "client.errors",
    "RequestOptions": "engine.wanted",
    "Retry": "client.retry",
    "Segment": "engine.result",
    "SegmentOptions": "engine.segments",
    "StreamOptions": "client.streaming",
    "StreamResult": "client.streaming",
    "StreamSummary": "client.streaming",
    "TooLong": "errors",
    "Waveform": "audio.waveform",
    "WindowOptions": "audio.window",
    "adapt": "delivery.adapting.calling",
    "decode": "audio.decode",
    "evaluate": "delivery.evaluation.calling",
}

__all__ = [
    "Adapted",
    "AsyncClient",
    "BadAudio",
    "BadRequest",
    "CallerError",
    "Cancelled",
    "Client",
    "ClientOptions",
    "DecodeLimits",
    "EmotapeError",
    "EngineFault",
    "EngineOptions",
    "Evaluation",
    "Expired",
    "Granularity",
    "HubFault",
    "Label",
    "MemoryCache",
    "ModelFault",
    "Overloaded",
    "Prediction",
    "Provenance",
    "Quality",
    "Recognizer",
    "RecognizerOptions",
    "Recording",
    "RedisCache",
    "Refused",
    "RemoteError",
    "RequestOptions",
    "Retry",
    "Segment",
    "SegmentOptions",
    "StreamOptions",
    "StreamResult",
    "StreamSummary",
    "TooLong",
    "Waveform",
    "WindowOptions",
    "__version__",
    "adapt",
    "decode",
    "evaluate",
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
