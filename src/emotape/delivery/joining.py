"""Being part of a Ray cluster for a while: of one that runs somewhere, or of a new one on this machine."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL = "local"
"""The address of a new cluster on this machine."""


@contextmanager
def joined(address: str, unreachable: str, namespace: str | None = None, **of_a_new_one: Any) -> Iterator[None]:
    """Join the cluster at `address` and leave it in the end; options of Ray's `init` count for a new one alone.

    Raises BadRequest with the code `unreachable`.
    """
    import ray

    own = {"include_dashboard": False, **of_a_new_one} if address == LOCAL else {}
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:
        raise BadRequest(unreachable, address=address, reason=first_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def first_line(error: BaseException) -> str:
    """Return the first line of what Ray says, which is followed by traces of its own."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
