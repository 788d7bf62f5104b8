"""One model, resident on its devices behind one scheduler: everything between a waveform and its scores."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import platformdirs

from emotape.engine.parity import Verdict, compare, recall, remember
from emotape.engine.plan import Arithmetic, Plan, look_at_machine, plan
from emotape.engine.runner import TorchRunner
from emotape.engine.scheduler import RunReport, Scheduler
from emotape.errors import BadRequest, EngineFault
from emotape.events import ModelLoaded, Observer, PrecisionRefused, tell
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from emotape.engine.runner import Clip
    from emotape.model.labels import Label

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]


@dataclass(frozen=True)
class EngineOptions:
    """What a user may decide instead of the plan; None and "auto" leave it to the plan.

    `device` is "auto", "cpu" or a torch device such as "cuda:0"; `queue_seconds` is in seconds of audio. A reduced
    `dtype` that is named is used as it is; "auto" takes one only if it agrees with fp32 on built-in clips.
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
        started = time.perf_counter()
        _bound_kernel_caches()
        self.plan = make_plan(options, directory)
        loader = _Loader(directory, self.plan.compute_threads, observer)
        first = loader.runner(self.plan.devices[0], self.plan.arithmetic)
        if options.dtype == "auto" and self.plan.arithmetic != "float32":
            first = loader.agreeing(first)
        runners = [first, *(loader.runner(device, first.arithmetic) for device in self.plan.devices[1:])]
        self.dtype = first.arithmetic
        self.labels: tuple[Label | None, ...] = loader.labels
        self.digest = loader.digest
        for runner in runners:
            runner.warm_up()
        self._scheduler = Scheduler(
            runners,
            tape_tokens=self.plan.tape_tokens,
            queue_seconds=self.plan.queue_seconds,
            observer=observer,
            fallback=None if self.devices == "cpu" else lambda: loader.runner("cpu", "float32"),
        )
        seconds = time.perf_counter() - started
        tell(observer, ModelLoaded(name, self.digest, self.devices, self.dtype, seconds))

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


class _Loader:
    """Makes runners of one model directory in any arithmetic."""

    def __init__(self, directory: Path, threads: int, observer: Observer) -> None:
        self._directory = directory
        self._threads = threads
        self._observer = observer
        self._notes = platformdirs.user_cache_path("emotape", appauthor=False) / "parity.json"
        self.labels: tuple[Label | None, ...] = ()
        self.digest = ""

    def runner(self, device: str, arithmetic: Arithmetic) -> TorchRunner:
        """Load the weights and lay them out for a processor, or move them to an accelerator."""
        import torch

        from emotape.model.weights import load

        packs = device == "cpu" and arithmetic != "float16"  # packing converts by itself, layer by layer
        model = load(self._directory, None if packs else getattr(torch, arithmetic))
        self.labels, self.digest = model.labels, model.digest
        return TorchRunner(model, device, arithmetic, self._threads)

    def exact(self) -> TorchRunner:
        """Load the weights as the measure for others: in fp32, and as they lie in the file if they are."""
        from emotape.model.weights import load

        return TorchRunner(load(self._directory), threads=self._threads)

    def agreeing(self, reduced: TorchRunner) -> TorchRunner:
        """Return `reduced` if it agrees with fp32 on recorded speech, else fp32 on the same device."""
        verdict = self._verdict(reduced)
        if verdict.agrees:
            return reduced
        tell(self._observer, PrecisionRefused(reduced.arithmetic, verdict.worst, verdict.same_labels))
        return self.runner(reduced.device, "float32")

    def _verdict(self, reduced: TorchRunner) -> Verdict:
        key = f"{self.digest} {reduced.arithmetic} {reduced.device} {_processor()} emotape {__version__}"
        verdict = recall(self._notes, key)
        if verdict is None:
            verdict = compare(reduced, self.exact())
            remember(self._notes, key, verdict)
        return verdict


def make_plan(options: EngineOptions, directory: Path) -> Plan:
    """Plan for this machine and the network in `directory`, with what the user decided.

    Raises ModelFault, EngineFault `device_unavailable`, and BadRequest for an arithmetic that the device does not have.
    """
    from emotape.model.dims import read_dims
    from emotape.model.weights import CONFIG

    dims = read_dims(directory / CONFIG, classes=0)
    machine = look_at_machine(bfloat16=_multiplies_bfloat16(), accelerators=_accelerators(options.device))
    made = plan(machine, dims.parameters)
    if options.dtype == "int8" and made.devices != ("cpu",):
        raise BadRequest("int8_needs_processor", device=made.devices[0])
    return Plan(
        compute_threads=options.compute_threads or made.compute_threads,
        decode_threads=options.decode_threads or made.decode_threads,
        tape_tokens=options.tape_tokens or made.tape_tokens,
        queue_seconds=options.queue_seconds or made.queue_seconds,
        devices=made.devices,
        arithmetic=made.arithmetic if options.dtype == "auto" else options.dtype,
    )


def _bound_kernel_caches() -> None:
    """Let oneDNN keep few kernels, unless the user decided otherwise; it reads these when it first makes one.

    It keeps one for every shape, a thousand by default. Recordings have any length, so they would fill half a gigabyte
    that is hardly ever used again.
    """
    for variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(variable, "64")


def _processor() -> str:
    """Name what decides how a processor rounds: its instructions and the software that uses them."""
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"


def _multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products in bf16, rather than emulating them."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001 - no public name


def _accelerators(device: str) -> tuple[str, ...]:
    import torch

    if device == "auto":
        return ("cuda:0",) if torch.cuda.is_available() else ()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise EngineFault("device_unavailable", device=device, reason=str(error).splitlines()[0]) from error
    return () if device == "cpu" else (device,)
