"""What a failed run says about itself: whether there was no room, or whether it was the device."""

from __future__ import annotations

from typing import Final

_NO_ROOM: Final = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_DEVICE_FAILED: Final = ("CUDA error", "CUDA driver error", "Triton Error [CUDA]", "CUBLAS_STATUS_")


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no room. torch has an error of its own only where its own allocator asked."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_ROOM))


def of_device(error: BaseException) -> bool:
    """Whether the driver reports a failure: a fault in a kernel or in the card's memory, or a card that is gone.

    After most of them nothing runs on the card any more until the process ends.
    """
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _DEVICE_FAILED)
