"""Gives memory back to the system after something large was let go."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def return_memory() -> None:
    """Collect what still refers to itself, and let the C library return what it keeps for later."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
