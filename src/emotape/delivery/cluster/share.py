"""What a replica may use of its machine: the cores that Ray set aside for it."""

from __future__ import annotations

from typing import Any


def own_cores() -> int:
    """Return the cores of this replica, at least one; Ray counts them, and keeps nobody to them."""
    import ray

    context: Any = ray.get_runtime_context()
    return max(1, int(context.get_assigned_resources().get("CPU", 1.0)))
