"""One call to the replicas: files to decoding, their sound from there to an engine, and back come the answers.

The sound goes from one replica to the other through Ray's object store and never comes by here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from emotape.delivery.joining import first_line
from emotape.errors import EmotapeError, NotReady, Overloaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.audio.decode import ChannelMode
    from emotape.delivery.cluster.messages import About, Answers, Question, Sound

RETRY_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5  # how often a call that nobody has taken looks whether its sound is lost


class Lost(Exception):
    """A replica, or what it held, is gone; another one may do the same. `reason` is Ray's word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Replicas:
    """Handles of Ray Serve to the deployments; without `decoding`, engines decode themselves.

    `patience` is how many seconds a call waits for any replica to take it.
    """

    engine: Any
    decoding: Any = None
    patience: float = 60.0

    async def recognize(self, model: str, questions: Sequence[Question]) -> Answers:
        """Ask one engine. Raises Lost, NotReady and Overloaded; cancelling withdraws the call from the replicas."""
        files = [(question.content, question.channels) for question in questions]
        if self.decoding is None or not all(isinstance(content, bytes) for content, _ in files):
            return cast("Answers", await self._answered(self._engine(model).recognize, questions))
        decoded = self.decoding.decode.remote(files)
        try:
            bare = [replace(question, content=None) for question in questions]
            return cast("Answers", await self._answered(self._engine(model).recognize, bare, decoded, sound=decoded))
        except asyncio.CancelledError:
            decoded.cancel()
            raise

    async def decode(self, content: bytes, channels: ChannelMode) -> Sound:
        """Have one file decoded, and bring its sound here. Raises as `recognize` does, and BadAudio and TooLong."""
        (found,) = await self._answered(self.decoding.decode, [(content, channels)])
        return cast("Sound", _unless_error(found))

    async def about(self, model: str) -> About:
        """Ask what is known of a model. Raises as `recognize` does, and ModelFault and BadRequest."""
        return cast("About", _unless_error(await self._answered(self._engine(model).about, model)))

    def _engine(self, model: str) -> Any:
        return self.engine.options(multiplexed_model_id=model) if model else self.engine

    async def _answered(self, method: Any, *arguments: object, sound: Any = None) -> Any:
        response = method.remote(*arguments)
        try:
            await asyncio.wait_for(_taken(response, sound), self.patience)
            return await response
        except TimeoutError as error:
            response.cancel()
            raise NotReady("cluster_no_replica", retry_after=RETRY_SECONDS, seconds=round(self.patience)) from error
        except asyncio.CancelledError:
            response.cancel()
            raise
        except Exception as error:
            raise translated(error) from error


async def _taken(response: Any, sound: Any) -> None:
    """Return when a replica has taken a call, or raise what became of the call whose sound goes with it.

    Where a sound is lost, Ray Serve blames the replica that was to take it, and would ask replicas for ever.
    """
    # Ray's developer API: it waits until a replica has taken the call, for ever if there is none.
    taken = asyncio.ensure_future(response._to_object_ref())  # noqa: SLF001
    try:
        while not (await asyncio.wait({taken}, timeout=_LOOK_SECONDS))[0]:
            if sound is not None:
                await _check(sound)
        await taken
    finally:
        taken.cancel()


async def _check(sound: Any) -> None:
    """Raise what a call raises that has ended without a sound; one that is there is not brought here."""
    import ray
    from ray.experimental import get_local_object_locations

    try:
        result = sound._to_object_ref_sync(0, _allow_running_in_asyncio_loop=True)  # noqa: SLF001
    except TimeoutError:  # nobody has taken that call yet
        return
    ended, _ = ray.wait([result], timeout=0, fetch_local=False)
    if ended and not get_local_object_locations([result])[result]["node_ids"]:
        await result  # it is small, or an error


def _unless_error(found: Any) -> Any:
    """Return what a replica gave. Raises the error that it gave instead."""
    if isinstance(found, EmotapeError):
        raise found
    return found


def translated(error: Exception) -> Exception:
    """Return what an exception of Ray means here: a typed refusal, or Lost."""
    from ray.exceptions import ObjectStoreFullError, OutOfDiskError
    from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

    if isinstance(error, EmotapeError):
        return error
    if isinstance(error, BackPressureError | ObjectStoreFullError | OutOfDiskError):
        return Overloaded(retry_after=RETRY_SECONDS, waiting=0)
    if isinstance(error, DeploymentUnavailableError):
        return NotReady("cluster_no_replica", retry_after=RETRY_SECONDS, seconds=0)
    return Lost(f"{type(error).__name__}: {first_line(error)}")
