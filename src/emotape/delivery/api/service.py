"""What the interface works with: the recognizer, its own options, and what other parts of the service bring."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emotape.delivery.api.quota import Quotas
from emotape.delivery.api.readiness import Readiness

if TYPE_CHECKING:
    from emotape.delivery.api.keys import KeyRing
    from emotape.delivery.api.quota import Limits
    from emotape.delivery.recognition import Recognition
    from emotape.store.history import History


@dataclass(frozen=True)
class ApiOptions:
    """What a request may bring, and from where.

    body_bytes      size of a request's body
    json_bytes      size of a JSON body, which is held in memory
    files           recordings in one request
    at_once         recordings of one request that are in the recognizer at the same time
    body_seconds    a body may pause this long, and take this long plus a second for every 16 kB
    hosts           names under which the service may be called (Host header); empty: any
    origins         origins of other pages whose scripts may call it
    drain_seconds   how long a stopping service waits for answers that are under way
    """

    body_bytes: int = 2 * 1024**3
    json_bytes: int = 64 * 1024**2
    files: int = 64
    at_once: int = 8
    body_seconds: float = 30.0
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    drain_seconds: float = 30.0


@dataclass(frozen=True)
class Service:
    """Everything behind the interface. `keys` is None where nobody needs a key; other parts may be absent."""

    recognizer: Recognition
    options: ApiOptions = field(default_factory=ApiOptions)
    readiness: Readiness = field(default_factory=Readiness)
    keys: KeyRing | None = None
    quotas: Limits = field(default_factory=Quotas)
    jobs: Any = None  # of api/durable.py, which is built from parts of this
    history: History | None = None
    meter: Any = None
