"""One model, resident on its devices behind one scheduler: everything between a waveform and its scores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emotape.engine.plan import Machine, Plan, look_at_machine, plan
from emotape.engine.runner import TorchRunner
from emotape.engine.scheduler import RunReport, Scheduler
from emotape.errors import EngineFault
from emotape.events import ModelLoaded, Observer, tell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from emotape.engine.runner import Clip
    from emotape.model.labels import Label

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class EngineOptions:
    """What a user may decide instead of the plan; None and "auto" leave it to the plan.

    `device` is "auto", "cpu" or a torch device such as "cuda:0"; `queue_seconds` is in seconds of audio.
    """

    device: str = "auto"
    dtype: Precision = "auto"
    compute_threads: int | None = None
    decode_threads: int | None = None
    tape_tokens: int | None = None
    queue_seconds: float | None = None


class Resident:
    """A loaded, warm model that answers clips with scores. Loading takes place in the constructor.

    Raises ModelFault when the directory cannot be loaded, EngineFault `device_unavailable` for a device that torch
    does not have.
    """

    def __init__(self, directory: Path, name: str, options: EngineOptions, observer: Observer) -> None:
        import torch

        from emotape.model.weights import load

        started = time.perf_counter()
        self.plan = make_plan(options)
        torch.set_num_threads(self.plan.compute_threads)
        self.dtype = "float32" if options.dtype == "auto" else options.dtype
        model = load(directory, getattr(torch, self.dtype))
        self.labels: tuple[Label | None, ...] = model.labels
        self.digest = model.digest
        runners = [TorchRunner(model, device) for device in self.plan.devices]
        for runner in runners:
            runner.warm_up()
        self._scheduler = Scheduler(
            runners,
            tape_tokens=self.plan.tape_tokens,
            queue_seconds=self.plan.queue_seconds,
            observer=observer,
        )
        seconds = time.perf_counter() - started
        tell(observer, ModelLoaded(name, self.digest, ",".join(self.plan.devices), self.dtype, seconds))

    @property
    def devices(self) -> str:
        """The devices that the network runs on, by their torch names."""
        return ",".join(self.plan.devices)

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for a device."""
        return self._scheduler.waiting_seconds

    def submit(self, clips: Sequence[Clip], deadline: float | None) -> Future[RunReport]:
        """Admit the clips of one recording; see `Scheduler.submit`. `deadline` is on the monotonic clock."""
        return self._scheduler.submit(clips, deadline)

    def close(self) -> None:
        """Answer what waits, then end."""
        self._scheduler.close()


def make_plan(options: EngineOptions) -> Plan:
    """Plan for this machine, with what the user decided."""
    made = plan(Machine(look_at_machine().cores, _accelerators(options.device)))
    return Plan(
        compute_threads=options.compute_threads or made.compute_threads,
        decode_threads=options.decode_threads or made.decode_threads,
        tape_tokens=options.tape_tokens or made.tape_tokens,
        queue_seconds=options.queue_seconds or made.queue_seconds,
        devices=made.devices,
    )


def _accelerators(device: str) -> tuple[str, ...]:
    import torch

    if device == "auto":
        return ("cuda:0",) if torch.cuda.is_available() else ()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise EngineFault("device_unavailable", device=device, reason=str(error).splitlines()[0]) from error
    return () if device == "cpu" else (device,)
