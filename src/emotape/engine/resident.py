"""One model, resident on its devices behind one scheduler: everything between a waveform and its scores."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from emotape.engine.accelerator import AcceleratorRunner
from emotape.engine.card import tape_tokens_for
from emotape.engine.loading import Loader
from emotape.engine.machine import accelerators as _accelerators
from emotape.engine.machine import look_at_machine
from emotape.engine.machine import multiplies_bfloat16 as _multiplies_bfloat16
from emotape.engine.plan import (
    Arithmetic,
    Machine,
    Offload,
    Plan,
    decoded_megabytes,
    plan,
    plan_offload,
)
from emotape.engine.result import Provenance
from emotape.engine.scheduler import RunReport, Scheduler
from emotape.errors import BadRequest, EngineFault
from emotape.events import ModelLoaded, NotCompiled, Observer, WeightsOffloaded, tell
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.engine.progress import Pending
    from emotape.engine.runner import Clip
    from emotape.model.dims import Dims
    from emotape.model.labels import Label

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8", "float8"]

_SAFER: Final[dict[str, Precision]] = {"float8": "float16"}
"""What is tried next where an arithmetic strays from fp32; fp32 where nothing is named."""


@dataclass(frozen=True)
class EngineOptions:
    """What a user may decide instead of the plan; None and "auto" leave it to the plan.

    `device` is "auto", "cpu" or a torch device such as "cuda:0"; `queue_seconds` is in seconds of audio. A reduced
    `dtype` that is named is used as it is; "auto" takes one only if it agrees with fp32 on built-in clips, and so does
    "float8", which gives way to "float16". `offload` is
    how many blocks of the network leave their weights in the machine's memory instead of an accelerator's.
    `decode_processes` is how many processes may decode; with 0, threads do. `decoded_megabytes` of memory are for
    recordings that are decoded or wait decoded. `compute_threads` is how many threads the network may use in all, which
    the plan shares out among tapes.
    """

    device: str = "auto"
    dtype: Precision = "auto"
    compute_threads: int | None = None
    decode_threads: int | None = None
    tape_tokens: int | None = None
    queue_seconds: float | None = None
    offload: int | None = None
    decode_processes: int | None = None
    decoded_megabytes: float | None = None


class Resident:
    """A loaded, warm model that answers clips with scores. Loading takes place in the constructor.

    Raises ModelFault when the directory cannot be loaded, EngineFault `device_unavailable` for a device that torch
    does not have, `device_full` for one without room and `device_disagrees` for one that was named and calculates
    wrongly, and BadRequest for options that make no sense together.
    """

    def __init__(self, directory: Path, name: str, options: EngineOptions, observer: Observer) -> None:
        started = time.perf_counter()
        _bound_kernel_caches()
        machine = look_at_machine(bfloat16=_multiplies_bfloat16(), accelerators=_accelerators(options.device))
        self.plan = make_plan(options, directory, machine)
        loader = Loader(directory, self.plan.compute_threads, observer)
        with _room_on(self.devices):
            runners = loader.runners(self.plan)
            judged = options.dtype in ("auto", "float8")
            while judged and self._may_stray and not loader.agree(runners):
                runners.clear()  # before others come, whose weights are wider
                options, machine = _safer(options, machine, self.plan)
                self.plan = make_plan(options, directory, machine)
                runners = loader.runners(self.plan)
            for runner in runners:
                runner.warm_up()
                if isinstance(runner, AcceleratorRunner) and runner.not_compiled:
                    tell(observer, NotCompiled(runner.device, runner.not_compiled))
        self.name = name
        self.dtype = self.plan.arithmetic
        self.dims = runners[0].dims
        self.classes = loader.classes
        self.digest = loader.digest
        on_processor = replace(self.plan, arithmetic="float32")
        self.scheduler = Scheduler(
            [runner for runner in runners for _ in range(runner.lanes)],
            tape_tokens=self.plan.tape_tokens,
            queue_seconds=self.plan.queue_seconds,
            observer=observer,
            fallback=None if self.devices == "cpu" else lambda: loader.runner("cpu", on_processor),
        )
        for part in self.plan.offload:
            if part.blocks:
                tell(observer, WeightsOffloaded(part.device, part.blocks, part.needed, part.free))
        seconds = time.perf_counter() - started
        tell(observer, ModelLoaded(name, self.digest, self.devices, self.dtype, seconds))

    @property
    def _may_stray(self) -> bool:
        """Whether there is something to judge: another arithmetic than the measure's, or another device."""
        return self.plan.arithmetic != "float32" or self.devices != "cpu"

    @property
    def labels(self) -> tuple[Label | None, ...]:
        """The label of each class, None for an unused one; none at all for an embedding-only model."""
        return self.classes.labels

    @property
    def devices(self) -> str:
        """The devices that the network runs on, by their torch names."""
        return ",".join(self.plan.devices)

    def provenance(self, waveform: Waveform, *, experimental: bool) -> Provenance:
        """Say where a prediction from `waveform` comes from; `experimental` is what the model's entry says of it."""
        return Provenance(
            version=__version__,
            model=self.name,
            model_digest=self.digest,
            experimental=experimental,
            dtype=self.dtype,
            device=self.devices,
            audio_sha256=waveform.digest(),
        )

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for a device."""
        return self.scheduler.waiting_seconds

    def submit(self, clips: Sequence[Clip], deadline: float | None) -> Pending[RunReport]:
        """Admit the clips of one recording; see `Scheduler.submit`. `deadline` is on the monotonic clock."""
        return self.scheduler.submit(clips, deadline)

    def close(self) -> None:
        """Answer what waits, then end."""
        self.scheduler.close()


def _safer(options: EngineOptions, machine: Machine, strayed: Plan) -> tuple[EngineOptions, Machine]:
    """Return what is tried after a plan whose results stray: another arithmetic, or the processor after fp32.

    Raises EngineFault "device_disagrees" where the user named the device.
    """
    if strayed.arithmetic != "float32":
        return replace(options, dtype=_SAFER.get(strayed.arithmetic, "float32")), machine
    if options.device != "auto":
        raise EngineFault("device_disagrees", device=options.device)
    return replace(options, device="cpu", dtype="auto", offload=None), replace(machine, accelerators=())


def make_plan(options: EngineOptions, directory: Path, machine: Machine) -> Plan:
    """Plan for `machine` and the network in `directory`, with what the user decided.

    Raises ModelFault, and BadRequest for what the device or the network does not have.
    """
    from emotape.model.dims import read_dims
    from emotape.model.weights import CONFIG

    dims = read_dims(directory / CONFIG, classes=0)
    made = plan(machine, dims.parameters, options.compute_threads)
    arithmetic = made.arithmetic if options.dtype == "auto" else options.dtype
    if options.dtype == "int8" and made.devices != ("cpu",):
        raise BadRequest("int8_needs_processor", device=made.devices[0])
    offloaded = _offload(options.offload, machine, dims, arithmetic)
    if arithmetic == "float8" and not _multiplies_float8(machine, offloaded):
        raise BadRequest("float8_needs_card", device=made.devices[0])
    settled = replace(
        made,
        decode_threads=options.decode_threads or made.decode_threads,
        tape_tokens=options.tape_tokens or _tape_tokens(machine, dims, arithmetic, offloaded) or made.tape_tokens,
        queue_seconds=options.queue_seconds or made.queue_seconds,
        arithmetic=arithmetic,
        offload=offloaded,
        decode_processes=made.decode_processes if options.decode_processes is None else options.decode_processes,
    )
    decoded = options.decoded_megabytes or decoded_megabytes(machine, settled, dims.parameters)
    return replace(settled, decoded_megabytes=decoded)


def _offload(wanted: int | None, machine: Machine, dims: Dims, arithmetic: Arithmetic) -> tuple[Offload, ...]:
    """Decide for each accelerator how many blocks leave their weights off it, unless the user did."""
    if wanted and not machine.accelerators:
        raise BadRequest("offload_needs_accelerator", wanted=wanted)
    if wanted is not None and not 0 <= wanted <= dims.blocks:
        raise BadRequest("offload_beyond_network", wanted=wanted, blocks=dims.blocks)
    planned = (plan_offload(accelerator, dims, arithmetic) for accelerator in machine.accelerators)
    return tuple(each if wanted is None else replace(each, blocks=wanted) for each in planned)


def _tape_tokens(machine: Machine, dims: Dims, arithmetic: Arithmetic, offloaded: Sequence[Offload]) -> int | None:
    """Return the longest tapes that every card has room for; None where one has not even room for the weights."""
    cards = [each for each in machine.accelerators if each.is_card and each.free is not None]
    if not cards or any(each.blocks for each in offloaded):
        return None
    return min(tape_tokens_for(card.free or 0, dims, arithmetic) for card in cards)


def _multiplies_float8(machine: Machine, offloaded: Sequence[Offload]) -> bool:
    """Whether every device is a card with units for products in 8 bits, and holds all weights."""
    import torch

    cards = [each.name for each in machine.accelerators if each.is_card]
    whole = bool(cards) and len(cards) == len(machine.accelerators) and not any(each.blocks for each in offloaded)
    return whole and all(torch.cuda.get_device_capability(card) >= (8, 9) for card in cards)


@contextmanager
def _room_on(devices: str) -> Iterator[None]:
    """Turn an accelerator's lack of memory into EngineFault `device_full`."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineFault("device_full", devices=devices, reason=str(error).splitlines()[0]) from error


def _bound_kernel_caches() -> None:
    """Let oneDNN keep few kernels, unless the user decided otherwise; it reads these when it first makes one.

    It keeps one for every shape, a thousand by default. Recordings have any length, so they would fill half a gigabyte
    that is hardly ever used again.
    """
    for variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(variable, "64")
