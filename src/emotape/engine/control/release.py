"""Gives memory back to the system after something large was let go."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def return_memory() -> None:
    """Collect what still refers to itself, and let the C library return what it keeps for later."""
    gc.collect()
    trim()


def trim() -> None:
    """Let the C library return what it keeps for later: what many threads decoded leaves it full of holes."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
