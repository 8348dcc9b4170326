"""Which addresses may be connected to for a host that a customer named (server-side request forgery)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Ports on which mail is submitted or relayed; every other one makes us a port scanner.
PORTS = frozenset({24, 25, 26, 465, 587, 588, 2465, 2525, 2526, 2587, 10024, 10025, 10026})

#: Ranges that `is_global` of some Python versions lets through.
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24",
        "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "64:ff9b:1::/48", "100::/64",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "5f00::/16",
    )
)  # fmt: skip
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse configured networks."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def inner(address: IP) -> IP:
    """Return the IPv4 address that an IPv6 address carries (mapped, 6to4, Teredo, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    compatible = int(address) >> 32 == 0 and int(address) > 1  # ::a.b.c.d, long deprecated
    if address in _NAT64 or compatible:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def address_fault(text: str, allowed: Sequence[Network] = ()) -> str:
    """Return why a customer's server may not be at this address, "" if it may."""
    try:
        outer = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return f"{text[:80]!r} is not an IP address"
    address = inner(outer)
    if any(address in network for network in allowed if network.version == address.version):
        return ""
    if not address.is_global or any(
        address in network for network in _NEVER if network.version == address.version
    ):
        return f"{outer} is not a public address"
    return ""


def port_fault(port: int, *, allowed: frozenset[int] = PORTS) -> str:
    """Return why a customer's server may not listen there, "" if it may."""
    return "" if port in allowed else f"port {port} is not one on which mail is taken"
