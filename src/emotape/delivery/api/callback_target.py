"""Where a callback may go: to hosts that are allow-listed, at addresses that are public unless listed themselves."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """A callback that was checked: the connection goes to `address`, whatever the name resolves to a moment later."""

    url: httpx.URL
    address: str


def checked_target(url: str, hosts: Sequence[str]) -> Target:
    """Resolve a callback's address, and refuse whatever `hosts` does not allow (see `WebhookOptions`).

    Plain http goes only to addresses that are listed themselves. Raises BadRequest "callback_malformed",
    "callback_not_allowed", "callback_private" or "callback_unresolved".
    """
    parts = _parsed(url)
    host = parts.raw_host.decode("ascii").casefold()
    networks = [network for network in map(_network, hosts) if network is not None]
    if _address(host) is None and not any(_matches(host, entry.casefold()) for entry in hosts):
        raise BadRequest("callback_not_allowed", host=host)
    addresses = _addresses(host, parts.port or _PORTS[parts.scheme])
    for address in addresses:
        _check_address(address, networks, host, is_plain=parts.scheme == "http")
    return Target(parts, str(addresses[0]))


def _parsed(url: str) -> httpx.URL:
    import httpx

    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadRequest("callback_malformed", url=url) from error
    is_port = parts.port is None or 0 < parts.port < 2**16
    if parts.scheme not in _PORTS or not parts.host or not is_port or parts.userinfo or parts.fragment:
        raise BadRequest("callback_malformed", url=url)
    return parts


def _check_address(address: Address, networks: Sequence[Network], host: str, *, is_plain: bool) -> None:
    if any(address in network for network in networks):
        return
    if _address(host) is not None:
        raise BadRequest("callback_not_allowed", host=host)
    if not address.is_global or address.is_multicast:
        raise BadRequest("callback_private", host=host, address=str(address))
    if is_plain:
        raise BadRequest("callback_plain", host=host)


def _matches(host: str, entry: str) -> bool:
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry


def _addresses(host: str, port: int) -> Sequence[Address]:
    literal = _address(host)
    if literal is not None:
        return [literal]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadRequest("callback_unresolved", host=host) from error
    return [_unmapped(ip_address(str(place[0]).partition("%")[0])) for *_, place in found]


def _address(host: str) -> Address | None:
    try:
        return _unmapped(ip_address(host))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, so that no rule is escaped by writing it differently."""
    return getattr(address, "ipv4_mapped", None) or address


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None
