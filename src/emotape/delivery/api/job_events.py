"""A job's story as server-sent events: what happened, with ids to go on from; and how far it is, without."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from emotape.delivery.api.job_shapes import progress_document
from emotape.errors import NotFound, NotReady
from emotape.store.jobs import EVENTS, FINAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emotape.delivery.api.durable import Jobs
    from emotape.store.jobs import Event

_LOOK_SECONDS: Final = 1.0  # how often progress within a recording is looked at
_KEEPALIVE_LOOKS: Final = 15  # looks without news after which a comment shows that the connection lives


async def event_stream(
    jobs: Jobs, is_leaving: Callable[[], bool], caller: str, name: str, last: int | None
) -> Response:
    """Return the stream after the event `last`, or 204, which tells a browser not to come again, when there is no more.

    It also ends, for its reader to come again, when the service `is_leaving`. Raises NotFound "job_unknown".
    """
    job = await asyncio.to_thread(jobs.store.job, caller, name)
    if job.is_final and last is not None and not await asyncio.to_thread(jobs.store.events, name, last, 1):
        return Response(status_code=204)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return EventSourceResponse(_story(jobs, is_leaving, caller, name, last or 0), headers=headers)


async def _story(
    jobs: Jobs, is_leaving: Callable[[], bool], caller: str, name: str, after: int
) -> AsyncIterator[bytes]:
    """Yield events until the job has ended or is gone, or the service stops."""
    changed = asyncio.Event()
    stop = jobs.store.listen(_waking(changed, name))
    try:
        progress: list[dict[str, Any]] = []
        silent = 0
        while not is_leaving():
            changed.clear()
            events, is_over = await asyncio.to_thread(_looked, jobs, caller, name, after)
            for event in events:
                after = event.number
                yield _sent(event)
            if is_over:
                return
            if len(events) == EVENTS:
                continue
            now = progress_document(jobs.progress(name))
            if now != progress:
                yield format_sse_event(event="progress", data_str=json.dumps(now))
            elif silent >= _KEEPALIVE_LOOKS:
                yield KEEPALIVE_COMMENT
            silent = 0 if events or now != progress or silent >= _KEEPALIVE_LOOKS else silent + 1
            progress = now
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
    finally:
        stop()


def _looked(jobs: Jobs, caller: str, name: str, after: int) -> tuple[list[Event], bool]:
    """Look; nothing new is known while a database is away, and its reader need not come again for that."""
    try:
        return _look(jobs, caller, name, after)
    except NotReady:
        return [], False


def _look(jobs: Jobs, caller: str, name: str, after: int) -> tuple[list[Event], bool]:
    """Return the next events, and whether there will be no more."""
    events = jobs.store.events(name, after)
    if events:
        return events, events[-1].kind == "job" and events[-1].facts["state"] in FINAL
    try:
        return events, jobs.store.job(caller, name).is_final
    except NotFound:
        return events, True


def _waking(changed: asyncio.Event, name: str) -> Any:
    loop = asyncio.get_running_loop()

    def wake(job: str) -> None:
        if job in (name, ""):
            with suppress(RuntimeError):  # the loop has ended in the meantime
                loop.call_soon_threadsafe(changed.set)

    return wake


def _sent(event: Event) -> bytes:
    facts = {**event.facts, "time": event.time}
    return format_sse_event(event=event.kind, data_str=json.dumps(facts, ensure_ascii=False), id=str(event.number))
