"""NVIDIA's management library, where it is: how busy the graphics cards are, and how full."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.readings import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("emotape")

_CUDA: Final = "cuda"


def torch_uuid(device: str) -> str:
    """Return the UUID of a card by its torch name, as the management library writes it."""
    import torch

    place = torch.device(device).index or 0
    return f"GPU-{torch.cuda.get_device_properties(place).uuid}"


class NvidiaCards:
    """The cards that torch runs on. Without the extra [gpu], a driver or a card there are none, and nothing is raised.

    The library is loaded at the first look at a card. `uuid` maps torch's names to the library's.
    """

    def __init__(self, uuid: Callable[[str], str] = torch_uuid) -> None:
        self._uuid = uuid
        self._library: Any = None
        self._handles: dict[str, Any] = {}

    def read(self, devices: Sequence[str]) -> tuple[Gpu, ...]:
        """Look at the cards among these torch devices."""
        found = []
        for device in devices:
            if device.startswith(_CUDA) and (handle := self._handle(device)) is not None:
                with suppress(self._library.NVMLError):
                    found.append(self._look(handle))
        return tuple(found)

    def _look(self, handle: Any) -> Gpu:
        name, memory = self._library.nvmlDeviceGetName(handle), self._library.nvmlDeviceGetMemoryInfo(handle)
        return Gpu(
            name=name.decode() if isinstance(name, bytes) else str(name),
            utilisation=self._utilisation(handle),
            memory_used=int(memory.used),
            memory_total=int(memory.total),
        )

    def _utilisation(self, handle: Any) -> float | None:
        with suppress(self._library.NVMLError):  # a part of a card (MIG) does not say
            return float(self._library.nvmlDeviceGetUtilizationRates(handle).gpu)
        return None

    def _handle(self, device: str) -> Any:
        if device not in self._handles:
            self._handles[device] = self._found(device)
        return self._handles[device]

    def _found(self, device: str) -> Any:
        """Return the library's handle of a card; None, for good, where there is none."""
        try:
            import pynvml
        except ImportError:
            return None
        self._library = pynvml
        try:
            pynvml.nvmlInit()
            return pynvml.nvmlDeviceGetHandleByUUID(self._uuid(device))
        except (pynvml.NVMLError, RuntimeError, AssertionError, AttributeError) as error:
            log.info("the use of %s cannot be told: %s", device, error)
            return None
