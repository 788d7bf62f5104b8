"""What the service is: its labels, its models, its limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request  # noqa: TC002 - FastAPI reads annotations when it runs

from emotape.delivery.api.errors import error_responses
from emotape.delivery.api.guard import caller
from emotape.delivery.api.language import language_of
from emotape.delivery.api.quota import Caller  # noqa: TC001 - FastAPI reads annotations when it runs

if TYPE_CHECKING:
    from emotape.delivery.api.service import Service
    from emotape.store.catalogue import Listing
    from emotape.wording import Language


class Spoken(BaseModel):
    """The options of a route that only tells something."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    language: Literal["en", "zh"] | None = Field(default=None, description="Language of texts.")


class LabelFacts(BaseModel):
    """An emotion: its key in `scores`, and its names. `reference` is what the official tokens.txt calls it."""

    key: str
    en: str
    zh: str
    reference: str
    emoji: str


class Labels(BaseModel):
    """The emotions that the model knows, in its own order; none for an embedding-only model."""

    model: str
    labels: list[LabelFacts]


class ModelFacts(BaseModel):
    """A model: bundled, installed, or available from a hub. `bytes` is its size on disk."""

    name: str
    state: Literal["bundled", "installed", "available"]
    bytes: int
    experimental: bool
    summary: str


class CurrentModel(BaseModel):
    """The model that answers, and how it runs."""

    name: str
    digest: str
    experimental: bool


class Models(BaseModel):
    """The model that answers, and all that are here or could be."""

    current: CurrentModel
    models: list[ModelFacts]


class CallerLimits(BaseModel):
    """What the caller may use a minute; null: as much as there is."""

    requests: float | None
    audio_seconds: float | None


class Limits(BaseModel):
    """What one request may bring, and how much waits at the moment."""

    body_bytes: int
    json_bytes: int
    files: int
    file_bytes: int
    file_seconds: float
    channels: int
    waiting_seconds: float
    per_minute: CallerLimits


def router(service: Service) -> APIRouter:
    """Return the routes that tell about the service."""
    routes = APIRouter(prefix="/v1", tags=["about"], responses=error_responses())

    @routes.get("/labels", summary="The emotions that the model knows")
    async def labels(query: Annotated[Spoken, Query()]) -> Labels:  # noqa: ARG001 - unknown options are refused
        return await asyncio.to_thread(_labels, service)

    @routes.get("/models", summary="The model in use, and those that are here or could be pulled")
    async def models(request: Request, query: Annotated[Spoken, Query()]) -> Models:
        return await asyncio.to_thread(_models, service, query.language or language_of(request))

    @routes.get("/limits", summary="What one request may bring, and how much waits")
    async def limits(
        query: Annotated[Spoken, Query()],  # noqa: ARG001 - unknown options are refused
        who: Annotated[Caller, Depends(caller)],
    ) -> Limits:
        return _limits(service, who)

    return routes


def _labels(service: Service) -> Labels:
    from emotape.delivery.api.shapes import reference_name

    found = service.recognizer.labels
    facts = [
        LabelFacts(key=label.key, en=label.en, zh=label.zh, reference=reference_name(label), emoji=label.emoji)
        for label in found
    ]
    return Labels(model=service.recognizer.model.name, labels=facts)


def _models(service: Service, language: Language) -> Models:
    from emotape.store.catalogue import list_models

    model = service.recognizer.model
    current = CurrentModel(name=model.name, digest=service.recognizer.digest, experimental=model.experimental)
    listings = list_models(service.recognizer.options.models_folder)
    return Models(current=current, models=[_model(listing, language) for listing in listings])


def _model(listing: Listing, language: Language) -> ModelFacts:
    return ModelFacts(
        name=listing.name,
        state=listing.state,
        bytes=listing.bytes,
        experimental=listing.entry is not None and listing.entry.experimental,
        summary=listing.summary(language),
    )


def _limits(service: Service, who: Caller) -> Limits:
    decode = service.recognizer.options.decode
    return Limits(
        body_bytes=service.options.body_bytes,
        json_bytes=service.options.json_bytes,
        files=service.options.files,
        file_bytes=decode.bytes,
        file_seconds=decode.seconds,
        channels=decode.channels,
        waiting_seconds=service.recognizer.waiting_seconds,
        per_minute=CallerLimits(requests=who.requests, audio_seconds=who.audio_seconds),
    )
