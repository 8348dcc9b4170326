"""The thin edge to a program: one POST over one connection, no redirect, five seconds in all."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

SECONDS = 5.0
HEAD_BYTES = 16 << 10
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Hook:
    """Where notices are posted, and the secret that signs them."""

    url: str
    secret: bytes = field(repr=False)


def fault_of(url: str) -> str:
    """Return what is wrong with a webhook's URL, or "": https, but for this very machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if not host or parts.username or parts.password or not url.isascii() or any(one <= " " for one in url):
        return "must be https://HOST/PATH without a login"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        return "must be https (http only to this machine)"
    return ""


async def post(url: str, body: bytes, headers: dict[str, str], *, seconds: float = SECONDS) -> int:
    """Post JSON and return the status; 0 where no answer came that is HTTP.

    A redirect is an answer like any other: what is signed for one place goes to no other.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if secure else 80), ssl=context, limit=HEAD_BYTES
            )
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
                await writer.drain()
                head = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):  # refused, silent, or a first line without an end
        return 0
    match = _STATUS.match(head)
    return int(match[1]) if match else 0
