"""Makes the runners that a plan asks for from one model directory, and judges whether they calculate as they should."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

import platformdirs

from emotape.engine.accelerator import AcceleratorRunner, options_for
from emotape.engine.parity import Verdict, compare, recall, remember
from emotape.engine.plan import Accelerator
from emotape.engine.prediction import Classes
from emotape.engine.runner import TorchRunner
from emotape.events import DeviceRefused, Observer, PrecisionRefused, tell
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.engine.plan import Plan
    from emotape.model.weights import LoadedModel

_MISCOMPILED: Final = "what was compiled here does not give the processor's results"

ModelRunner = TorchRunner | AcceleratorRunner


class Loader:
    """Makes runners of one model directory, as plans say."""

    def __init__(self, directory: Path, threads: int, observer: Observer) -> None:
        self._directory = directory
        self._threads = threads
        self._observer = observer
        self._notes = platformdirs.user_cache_path("emotape", appauthor=False) / "parity.json"
        self.classes = Classes(())
        self.digest = ""

    def runners(self, plan: Plan) -> list[ModelRunner]:
        """Make a runner for each device of `plan`."""
        return [self.runner(device, plan) for device in plan.devices]

    def runner(self, device: str, plan: Plan) -> ModelRunner:
        """Load the weights and lay them out for a processor, or move what has room there to an accelerator."""
        import torch

        from emotape.engine.offload import offload
        from emotape.model.weights import load

        if _fixed_tapes(device, plan):
            model = load(self._directory, None)  # they are converted on their way to the card
            self._note(model)
            options = options_for(device, plan.tape_tokens)
            return AcceleratorRunner(model, device, plan.arithmetic, options)
        packs = device == "cpu" and plan.arithmetic != "float16"  # packing converts by itself, layer by layer
        dtype = getattr(torch, plan.arithmetic)
        model = load(self._directory, rounded=dtype, dtype=None) if packs else load(self._directory, dtype)
        self._note(model)
        offload(model.encoder, plan.host_blocks(device), device)
        lanes = plan.replicas if device == "cpu" else 1  # an offloaded block serves one tape at a time
        return TorchRunner(model, device, plan.arithmetic, self._threads, lanes)

    def _note(self, model: LoadedModel) -> None:
        self.classes, self.digest = Classes(model.labels, model.uncertain_below), model.digest

    def exact(self) -> TorchRunner:
        """Load the weights as the measure for others: in fp32, and as they lie in the file if they are."""
        from emotape.model.weights import load

        return TorchRunner(load(self._directory), threads=self._threads)

    def agree(self, runners: Sequence[ModelRunner]) -> bool:
        """Say whether the first runner agrees with the processor's fp32 on recorded speech; if not, state it as a fact.

        Where it is not rounding that strays, kernels that were compiled here give way to torch's own first. A device
        that then still strays in fp32 calculates wrongly.
        """
        reduced = runners[0]
        verdict = self._verdict(reduced)
        compiled = [each for each in runners if isinstance(each, AcceleratorRunner) and each.options.compiled]
        if compiled and not verdict.agrees and (reduced.arithmetic == "float32" or not verdict.is_finite):
            for runner in compiled:
                runner.do_without_compiling(_MISCOMPILED)
            verdict = self._verdict(reduced)
        if not verdict.agrees and reduced.arithmetic == "float32":
            tell(self._observer, DeviceRefused(reduced.device, verdict.worst))
        elif not verdict.agrees:
            tell(self._observer, PrecisionRefused(reduced.arithmetic, verdict.worst, verdict.same_labels))
        return verdict.agrees

    def _verdict(self, reduced: ModelRunner) -> Verdict:
        key = f"{self.digest} {reduced.arithmetic} {reduced.device} {_processor(reduced.device)} emotape {__version__}"
        if isinstance(reduced, AcceleratorRunner) and reduced.options.compiled:
            key += " compiled"
        verdict = recall(self._notes, key)
        if verdict is None:
            verdict = compare(reduced, self.exact())
            remember(self._notes, key, verdict)
        return verdict


def _fixed_tapes(device: str, plan: Plan) -> bool:
    """Whether tapes of fixed sizes run on a device: on graphics cards that hold all weights."""
    return Accelerator(device).is_card and not plan.host_blocks(device)


def _processor(device: str) -> str:
    """Name what decides how a device rounds: its kind or its instructions, and the software that uses them."""
    import torch

    if torch.device(device).type == "cuda":
        return f"{torch.cuda.get_device_name(device)} torch {torch.__version__}"
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"
