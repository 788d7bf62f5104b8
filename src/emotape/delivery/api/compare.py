"""POST /v1/compare: how alike recordings are, by the angle between their embeddings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations when it runs

from emotape.delivery.api.errors import error_responses
from emotape.delivery.api.forms import Asked, JsonFiles, body_schema, joined, received
from emotape.delivery.api.guard import caller
from emotape.delivery.api.quota import Caller  # noqa: TC001 - FastAPI reads annotations when it runs
from emotape.delivery.api.recognize import Desk, RecognizeOptions
from emotape.delivery.api.waiting import while_connected
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from emotape.delivery.api.service import Service
    from emotape.delivery.api.shapes import Outcome

LONGEST: Final = 8_192  # numbers in an embedding


class CompareJson(JsonFiles, Asked):
    """The JSON body: recordings, embeddings, or both."""

    embeddings: list[list[Annotated[float, Field(allow_inf_nan=False)]]] = Field(
        default_factory=list,
        description="Embeddings of utterances, as /v1/recognize gives them; they follow the recordings.",
        examples=[[[1.0, 0.0], [0.6, 0.8]]],
    )


class Comparison(BaseModel):
    """`similarities[i][j]` is the cosine between the embeddings of `names[i]` and `names[j]`, -1 to 1."""

    model: str
    names: list[str]
    similarities: list[list[float]]


def router(service: Service) -> APIRouter:
    """Return the route that compares."""
    routes = APIRouter(prefix="/v1", tags=["recognize"])

    @routes.post(
        "/compare",
        summary="Compare recordings by their embeddings",
        responses=error_responses(408, 413, 415, 504),
        openapi_extra=body_schema(Asked, CompareJson),
    )
    async def compare(
        request: Request, query: Annotated[Asked, Query()], who: Annotated[Caller, Depends(caller)]
    ) -> Comparison:
        """Send two or more recordings in a form or in JSON, or their embeddings in JSON."""
        async with received(request, service.options, CompareJson) as brought:
            given = brought.fields.pop("embeddings", [])
            joined(query, brought.fields)
            _check_count(len(brought.uploads) + len(given), service.options.files)
            desk = Desk(service, RecognizeOptions(embedding=True), ())
            outcomes = await while_connected(request, desk.answer_all(brought.uploads))
        heard = [_embedding(outcome) for outcome in outcomes]
        service.quotas.charge(who, sum(outcome.predictions[0].seconds for outcome in outcomes))
        rows = [*heard, *(np.asarray(embedding, np.float64) for embedding in given)]
        names = [*(outcome.name for outcome in outcomes), *(f"embedding {place + 1}" for place in range(len(given)))]
        similarities = await asyncio.to_thread(cosines, rows)
        return Comparison(model=service.recognizer.model.name, names=names, similarities=similarities.tolist())

    return routes


def cosines(rows: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Return the cosines [N, N] between N embeddings [D]; 0 for one that is all zeros.

    Raises BadRequest ("embeddings_differ").
    """
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1 or not 0 < lengths[0] <= LONGEST:
        raise BadRequest("embeddings_differ", lengths=", ".join(map(str, lengths)))
    table = np.stack(rows).astype(np.float64)
    table /= np.maximum(np.abs(table).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)  # no overflow below
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    table /= np.where(norms > 0, norms, 1)
    found: NDArray[np.float64] = np.clip(table @ table.T, -1, 1).round(6)
    return found


def _embedding(outcome: Outcome) -> NDArray[np.floating]:
    """Return the embedding of a recording; its error, if it has none, is the request's."""
    if outcome.error is not None:
        raise outcome.error
    embedding = outcome.predictions[0].embedding
    assert embedding is not None  # noqa: S101 - it was asked for
    return embedding


def _check_count(count: int, most: int) -> None:
    if not 2 <= count <= most:
        raise BadRequest("compare_count", count=count, most=most)
