"""A server's errors become errors of ours: the same classes and codes, with the texts that the server sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emotape.errors import (
    BadAudio,
    BadRequest,
    Cancelled,
    Conflict,
    Denied,
    EmotapeError,
    EngineFault,
    ErrorText,
    Expired,
    ModelFault,
    NotFound,
    NotReady,
    Overloaded,
    TooLong,
)
from emotape.wording import known_codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emotape.wording import Language

# What can be said of one recording is told without a status when there are several.
KINDS: Final[dict[type[EmotapeError], str]] = {
    BadAudio: "archive_not_audio bad_array bad_sample_rate bad_samples changing_channels changing_rate damaged_file"
    " decoder_died empty_file index_at_end no_audio_track no_channels no_samples not_audio text_not_audio too_short"
    " undecodable unreadable_file unsupported_codec",
    TooLong: "answer_too_large body_too_large job_result_too_large stream_chunk too_many_bytes too_many_channels"
    " too_long_for_memory too_many_files too_many_seconds too_much_memory",
    ModelFault: "bundled_model_unclear card_unreadable config_unreadable digest_mismatch model_folder_closed"
    " model_missing model_not_found model_not_pulled network_unsupported threshold_unreadable tokens_unreadable"
    " weights_hostile weights_incomplete weights_mismatched weights_not_finite weights_unreadable",
    EngineFault: "closed device_full device_unavailable job_file_abandoned job_result_unreadable request_failed"
    " run_failed unexpected",
    Overloaded: "overloaded jobs_full too_little_memory too_many_requests too_many_streams too_much_audio",
    Expired: "expired",
    Cancelled: "cancelled",
}
_BY_CODE: Final = {code: kind for kind, codes in KINDS.items() for code in codes.split()}
_BY_STATUS: Final[dict[int, type[EmotapeError]]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    413: TooLong,
    429: Overloaded,
    500: EngineFault,
    503: NotReady,
    504: Expired,
}
_RETRY_SECONDS: Final = 1.0


class RemoteError(EmotapeError):
    """The server cannot be reached or understood, or failed in a way that this version does not know."""


class _Told:
    """What an error of a server has beside its class: the server's own words, in the language it was asked for."""

    words: ErrorText

    def text(self, language: Language = "en") -> ErrorText:  # noqa: ARG002 - the server has spoken already
        return self.words

    def __str__(self) -> str:
        return f"[{getattr(self, 'code', '')}] {self.words.message} {self.words.cause} {self.words.cure}"

    def __reduce__(self) -> tuple[object, ...]:
        return told, (getattr(self, "document", {}), getattr(self, "status", None), getattr(self, "retry_after", None))


def told(document: Mapping[str, Any], status: int | None = None, retry_after: float | None = None) -> EmotapeError:
    """Return the error that a server's JSON tells of; `facts` holds the id of the request where there is one."""
    code = str(document.get("code", ""))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status or 0) or _otherwise(code, status)
    facts: dict[str, Any] = {"request_id": document["request_id"]} if "request_id" in document else {}
    if issubclass(kind, Overloaded | NotReady):
        facts["retry_after"] = _RETRY_SECONDS if retry_after is None else retry_after
    error = _REMOTE[kind](code, **facts)
    parts = {part: str(document.get(part, "")) for part in ("message", "cause", "cure")}
    vars(error).update(words=ErrorText(**parts), document=dict(document), status=status)
    return error


def _otherwise(code: str, status: int | None) -> type[EmotapeError]:
    if status is None:
        return BadRequest if code in known_codes("errors") else RemoteError
    return BadRequest if 400 <= status < 500 else RemoteError


_REMOTE: Final[dict[type[EmotapeError], type[EmotapeError]]] = {
    kind: type(kind.__name__, (_Told, kind), {"__module__": __name__, "__doc__": kind.__doc__})
    for kind in {*KINDS, *_BY_STATUS.values(), BadRequest, RemoteError}
}
