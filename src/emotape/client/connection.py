"""How a client reaches its server: the address, who asks, in which language, and how patiently."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from emotape.client.retry import Retry
from emotape.errors import BadRequest
from emotape.version import __version__

if TYPE_CHECKING:
    from emotape.wording import Language

_CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ClientOptions:
    """How a client asks.

    timeout   seconds that an answer may take
    retry     when to ask again
    language  of the server's texts; None: English
    at_once   requests that `submit` and `many` have under way
    """

    timeout: float = 600.0
    retry: Retry = field(default_factory=Retry)
    language: Language | None = None
    at_once: int = 8


def http_settings(url: str, key: str | None, options: ClientOptions) -> dict[str, Any]:
    """Return the arguments of an httpx client. Raises BadRequest ("server_address", "client_not_installed")."""
    require("httpx")
    import httpx

    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadRequest("server_address", url=url) from error
    if address.scheme not in ("http", "https") or not address.host:
        raise BadRequest("server_address", url=url)
    headers = {"user-agent": f"emotape/{__version__}", "accept-language": options.language or "en"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    return {
        "base_url": address,
        "headers": headers,
        "timeout": httpx.Timeout(options.timeout, connect=_CONNECT_SECONDS),
        "trust_env": not is_this_machine(address.host),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=options.at_once),
    }


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine itself: no proxy of the environment leads there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require(package: str) -> None:
    """Raise BadRequest ("client_not_installed") unless a package of the extra [client] is here."""
    if find_spec(package) is None:
        raise BadRequest("client_not_installed", package=package)
