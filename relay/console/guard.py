"""The outermost layer of a request: who really asks, how much is read, what headers leave, where bugs end."""

from __future__ import annotations

import ipaddress
import secrets
import traceback
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, Response

from relay.errors import StoreError
from relay.events import BugFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from relay.events import Event

#: Forms and JSON of this console are small; a longer body is a mistake or an attack.
BODY_BYTES = 64 * 1024
#: Reports of providers may carry a whole message.
REPORT_BYTES = 1024 * 1024

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # not no-referrer: browsers then send `Origin: null` with our own forms, which the origin check refuses
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_HSTS = "max-age=31536000"

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _TooLong(Exception):
    """The body went over its limit while it was read."""


def _member(text: str, networks: Sequence[_Network]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def client_address(peer: str, forwarded: Sequence[str], proxies: Sequence[_Network]) -> str:
    """Return who asks: the peer, or, if it is one of our proxies, the last address that is not one.

    Only what our own proxies appended is believed; the rest of X-Forwarded-For is the client's fiction.
    """
    client = peer
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    for hop in reversed(hops):
        if not _member(client, proxies):
            return client
        try:
            client = str(ipaddress.ip_address(hop))
        except ValueError:
            return client
    return client


def client_key(address: str) -> str:
    """Return what limits count by: the IPv4 address, or the IPv6 /64 that one client controls."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


class Guard:
    """ASGI middleware; leaves `id`, `client` and `https` in the request's state."""

    def __init__(
        self, app: ASGIApp, *, proxies: Sequence[str], https: bool, emit: Callable[[Event], None]
    ) -> None:
        self._app = app
        self._proxies = tuple(ipaddress.ip_network(network) for network in proxies)
        self._https = https
        self._emit = emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = secrets.token_hex(6)
        peer = scope["client"][0] if scope.get("client") else ""
        https = self._https or scope["scheme"] == "https"
        if _member(peer, self._proxies):
            https = https or headers.get("x-forwarded-proto", "").rpartition(",")[2].strip() == "https"
        scope.setdefault("state", {})
        scope["state"] |= {
            "id": request_id,
            "client": client_address(peer, headers.getlist("x-forwarded-for"), self._proxies),
            "https": https,
        }
        most = REPORT_BYTES if scope["path"].startswith("/feedback/") else BODY_BYTES
        await self._serve(
            scope, _Bounded(receive, most), _Sealed(send, scope, request_id, https=https), headers
        )

    async def _serve(self, scope: Scope, receive: _Bounded, send: _Sealed, headers: Headers) -> None:
        if "transfer-encoding" in headers and "content-length" in headers:
            # two lengths are how one request hides in another (RFC 9112 §6.1)
            await self._answer(scope, receive, send, 400, "The request has two lengths.")
            return
        length = headers.get("content-length", "0")
        # more digits than these are no length that anybody means, and int() refuses thousands of them
        if not length.isascii() or not length.isdigit() or len(length) > 20 or int(length) > receive.most:
            await self._answer(scope, receive, send, 413, "The request is too long.")
            return
        try:
            await self._app(scope, receive, send)
        except _TooLong:
            await self._answer(scope, receive, send, 413, "The request is too long.")
        except StoreError:
            await self._answer(scope, receive, send, 503, "The store cannot be reached; try again soon.")
        except Exception as error:  # noqa: BLE001 - the edge of the session: a bug answers an id only
            trace = "".join(traceback.format_tb(error.__traceback__))
            self._emit(BugFound(f"console {scope['state']['id']}", type(error).__name__, trace))
            await self._answer(scope, receive, send, 500, "Something went wrong on our side.")

    @staticmethod
    async def _answer(scope: Scope, receive: _Bounded, send: _Sealed, status: int, text: str) -> None:
        if send.started:
            return
        number = scope["state"]["id"]
        response: Response
        if scope["path"].startswith("/api/"):
            response = JSONResponse({"detail": text, "id": number}, status)
        else:
            response = HTMLResponse(
                '<!doctype html><html lang="en"><meta charset="utf-8"><title>Gatepost</title>'
                '<link rel="stylesheet" href="/static/console.css"><main class="plain">'
                f"<h1>{text}</h1><p>If you ask about it, name this number: <code>{number}</code></p>"
                '<p><a href="/">Back to the overview</a></p></main></html>',
                status,
            )
        await response(scope, receive, send)


class _Bounded:
    """`receive` that stops reading after `most` bytes, whatever Content-Length said."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.most = most
        self._receive = receive
        self._bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self.most:
            raise _TooLong
        return message


class _Sealed:
    """`send` that adds the security headers; pages are never cached, static files for an hour."""

    def __init__(self, send: Send, scope: Scope, request_id: str, *, https: bool) -> None:
        self._send = send
        self._static = scope["path"].startswith("/static/")
        self._request_id = request_id
        self._https = https
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["x-request-id"] = self._request_id
            headers["cache-control"] = "public, max-age=3600" if self._static else "no-store"
            if self._https:
                headers["strict-transport-security"] = _HSTS
        await self._send(message)
