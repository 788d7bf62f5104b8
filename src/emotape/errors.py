"""Everything that can go wrong, sorted by whose fault it is.

EmotapeError
├── CallerError            the input or the request can be mended by the caller
│   ├── BadAudio               the bytes are not usable audio
│   ├── TooLong                a limit on bytes, seconds, channels or memory was met
│   └── BadRequest             an option, a label or a manifest makes no sense
├── Refused                the input is fine, but it is not answered now
│   ├── Overloaded             the queue is full; carries `retry_after` in seconds
│   ├── Expired                the deadline passed before the work was done
│   └── Cancelled              the caller left
├── ModelFault             a model directory is missing, damaged, mismatched or hostile
├── HubFault               a model hub could not be reached or served something else
└── EngineFault            our own machinery failed; says what, loses nothing

Each error has a `code` (stable, for programs) and `facts` (values for its texts). The texts themselves (message, cause
and cure, in English and Chinese) live in `wording/*.toml` and are made at the edge by `EmotapeError.text`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from emotape.wording import Language, error_words, interface_text

if TYPE_CHECKING:
    from collections.abc import Mapping

Fault = Literal["caller", "load", "model", "hub", "engine"]


@dataclass(frozen=True)
class ErrorText:
    """What a person reads: what happened, why, and what mends it."""

    message: str
    cause: str
    cure: str


class Phrase:
    """A fact that is words itself, and so waits for a language; `code` names an entry under `texts`."""

    def __init__(self, code: str, **facts: object) -> None:
        self.code = code
        self.facts = facts

    def text(self, language: Language) -> str:
        """Return the words in `language`."""
        return interface_text(self.code, language, **_worded(self.facts, language))

    def __str__(self) -> str:
        return self.text("en")


class EmotapeError(Exception):
    """The root of every error that emotape raises on purpose.

    `code` names an entry under `errors` in `wording/*.toml`; `facts` fill the placeholders of its texts. Those that are
    a Phrase, or another error, are worded in the language of the text.
    """

    fault: ClassVar[Fault] = "engine"

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by code and facts, so that errors cross process borders whole."""
        return _restored, (type(self), self.code, self.facts)

    def text(self, language: Language = "en") -> ErrorText:
        """Return message, cause and cure in `language`."""
        words, facts = error_words(self.code, language), _worded(self.facts, language)
        return ErrorText(**{part: template.format(**facts) for part, template in words.items()})

    def __str__(self) -> str:
        text = self.text("en")
        return f"[{self.code}] {text.message} {text.cause} {text.cure}"


def _worded(facts: Mapping[str, object], language: Language) -> dict[str, object]:
    """Return facts with the words that wait for a language: those of a Phrase, and an error's ErrorText."""
    return {
        name: fact.text(language) if isinstance(fact, Phrase | EmotapeError) else fact for name, fact in facts.items()
    }


def _restored(kind: type[EmotapeError], code: str, facts: dict[str, Any]) -> EmotapeError:
    return kind(code, **facts)


class CallerError(EmotapeError):
    """The caller can mend it."""

    fault = "caller"


class BadAudio(CallerError):
    """The bytes are not audio, or not audio that can be used."""


class TooLong(CallerError):
    """A limit on bytes, seconds, channels or decoding memory was met before harm was done."""


class BadRequest(CallerError):
    """An option, a label, a path or a manifest makes no sense."""


class Denied(CallerError):
    """The caller did not say who it is ("key_…"), or may not do this."""


class NotFound(CallerError):
    """There is nothing of that name."""


class Conflict(CallerError):
    """The request contradicts what is already there."""


class Refused(EmotapeError):
    """Nothing is wrong with the input, but it is not answered now."""

    fault = "load"


class Overloaded(Refused):
    """The queue, measured in seconds of audio, is full; `retry_after` hints when to come again."""

    def __init__(self, code: str = "overloaded", *, retry_after: float, **facts: object) -> None:
        super().__init__(code, retry_after=retry_after, **facts)
        self.retry_after = retry_after


class NotReady(Refused):
    """The service is loading its model, or is stopping; `retry_after` hints when to come again."""

    def __init__(self, code: str, *, retry_after: float, **facts: object) -> None:
        super().__init__(code, retry_after=retry_after, **facts)
        self.retry_after = retry_after


class Expired(Refused):
    """The caller's deadline passed before the answer was ready."""


class Cancelled(Refused):
    """The caller withdrew the request."""


class ModelFault(EmotapeError):
    """A model directory or checkpoint is missing, truncated, mismatched or hostile."""

    fault = "model"


class HubFault(EmotapeError):
    """A model hub could not be reached, or what it served does not match its digest."""

    fault = "hub"


class EngineFault(EmotapeError):
    """emotape's own machinery failed; the cause is attached as `__cause__`."""

    fault = "engine"


def as_fault(error: BaseException) -> EmotapeError:
    """Return an error of ours as it is, and any other as an EngineFault that carries it as its cause."""
    if isinstance(error, EmotapeError):
        return error
    fault = EngineFault("run_failed", reason=f"{type(error).__name__}: {error}")
    fault.__cause__ = error
    return fault


def unforeseen(error: Exception) -> EngineFault:
    """Return the error of ours that tells of an exception nobody foresaw, which is its cause."""
    kind = type(error).__name__
    fault = EngineFault("unexpected", kind=kind, detail=str(error) or kind)
    fault.__cause__ = error
    return fault
