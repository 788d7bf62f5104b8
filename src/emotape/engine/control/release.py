"""Gives memory back to the system and to graphics cards after something large was let go."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def return_memory() -> None:
    """Collect what still refers to itself, and let torch and the C library return what they keep for later.

    On a card torch would keep all of it: nobody else could use it, and the next plan would take the card for full.
    """
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None:  # who never imported it has nothing on a card
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Let the C library return what it keeps for later: what many threads decoded leaves it full of holes."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
