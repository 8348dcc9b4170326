"""The PROXY protocol header, versions 1 and 2, as a value; pure (proxy-protocol.txt of HAProxy, 2020)."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

_V1_OCTETS = 107
_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_OCTETS = 16
#: The specification's own bound is 64 KiB; addresses and TLVs of real balancers stay far below this.
_V2_OCTETS = 2048


class Source(NamedTuple):
    """Who really connects; `ip` is empty when the balancer speaks for itself (a health check)."""

    ip: str
    port: int
    #: how long the header is
    octets: int


class BadHeader(Exception):
    """No header, or one that cannot be believed: hang up."""


def parse(start: bytes) -> Source | None:
    """Parse the first bytes of a connection; None when more are needed, BadHeader when it is none."""
    if start.startswith(_V2_SIGNATURE):
        return _v2(start)
    if start.startswith(b"PROXY "):
        return _v1(start)
    if _V2_SIGNATURE.startswith(start) or b"PROXY ".startswith(start):
        return None
    raise BadHeader("no PROXY header")


def longest() -> int:
    """Return how many first bytes `parse` may need."""
    return _V2_OCTETS


def _v1(start: bytes) -> Source | None:
    end = start.find(b"\r\n", 0, _V1_OCTETS)
    if end < 0:
        if len(start) >= _V1_OCTETS:
            raise BadHeader("header too long")
        return None
    try:
        words = start[:end].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise BadHeader("not ASCII") from None
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadHeader("unknown family or missing words")
    kind = ipaddress.IPv4Address if words[1] == "TCP4" else ipaddress.IPv6Address
    try:
        source = kind(words[2])
        kind(words[3])
    except ValueError:
        raise BadHeader("bad address") from None
    ports = [int(word) for word in words[4:] if word.isdigit() and len(word) <= 5 and int(word) <= 65535]
    if len(ports) != 2:
        raise BadHeader("bad port")
    return Source(str(source), ports[0], end + 2)


def _v2(start: bytes) -> Source | None:
    if len(start) < _V2_HEAD_OCTETS:
        return None
    version_command, family = start[12], start[13]
    length = int.from_bytes(start[14:16], "big")
    if version_command >> 4 != 2 or version_command & 15 > 1 or _V2_HEAD_OCTETS + length > _V2_OCTETS:
        raise BadHeader("bad version, command or length")
    if len(start) < _V2_HEAD_OCTETS + length:
        return None
    octets = _V2_HEAD_OCTETS + length
    if version_command & 15 == 0:
        return Source("", 0, octets)
    body = start[_V2_HEAD_OCTETS:octets]
    if family == 0x11 and length >= 12:
        return Source(str(ipaddress.IPv4Address(body[:4])), int.from_bytes(body[8:10], "big"), octets)
    if family == 0x21 and length >= 36:
        return Source(str(ipaddress.IPv6Address(body[:16])), int.from_bytes(body[32:34], "big"), octets)
    raise BadHeader("neither TCP over IPv4 nor over IPv6")
