"""/v1/history: what was answered for the caller, without any audio."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from emotape.delivery.api.errors import error_responses
from emotape.delivery.api.guard import caller
from emotape.delivery.api.quota import Caller
from emotape.wording import Language  # noqa: TC001 - pydantic reads annotations when it runs

if TYPE_CHECKING:
    from emotape.store.history import History, Line

Who = Annotated[Caller, Depends(caller)]


class HistoryLine(BaseModel):
    """One answered recording: the id of its request or job, when (UTC), its name and length, and what was heard.

    `uncertain` is null where the model had no threshold.
    """

    number: int
    id: str
    time: str
    file: str
    seconds: float
    emotion: str | None
    confidence: float
    uncertain: bool | None
    granularity: str
    model: str


class HistoryPage(BaseModel):
    """Lines, the newest first; `before` leads to the next page, null on the last one."""

    lines: list[HistoryLine]
    before: int | None


class Deleted(BaseModel):
    """How many lines were deleted."""

    deleted: int


class _Spoken(BaseModel):
    """The options of a route that only tells something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Language | None = Field(default=None, description="Language of texts.")


class HistoryQuery(_Spoken):
    """Which lines to give."""

    limit: int = Field(default=50, ge=1, le=1000, description="How many at most.")
    before: int | None = Field(default=None, ge=1, le=2**62, description="The number of the last line already seen.")
    emotion: str | None = Field(default=None, max_length=100, description="Only answers with this emotion.")


def router(history: History) -> APIRouter:
    """Return the routes of the history."""
    routes = APIRouter(prefix="/v1", tags=["history"], responses=error_responses())

    @routes.get("/history", summary="What was answered for you, the newest first")
    def lines(query: Annotated[HistoryQuery, Query()], who: Who) -> HistoryPage:
        found = history.lines(who.id, query.limit + 1, query.before, query.emotion)
        shown = found[: query.limit]
        before = shown[-1].number if len(found) > len(shown) else None
        return HistoryPage(lines=[_shown(line) for line in shown], before=before)

    @routes.delete("/history", summary="Forget what was answered for you")
    def delete(query: Annotated[_Spoken, Query()], who: Who) -> Deleted:  # noqa: ARG001 - unknown options are refused
        return Deleted(deleted=history.clear(who.id))

    return routes


def _shown(line: Line) -> HistoryLine:
    facts = asdict(line)
    del facts["caller"]
    moment = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
    return HistoryLine(**{**facts, "time": moment})
