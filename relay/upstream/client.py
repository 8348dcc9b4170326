"""One connection to an SMTP server: bytes out, replies in, in order, each under a deadline.

The protocol itself remembers what it waits for, so that a caller who is cancelled neither loses an
answer nor shifts it to the next command.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, cast

from relay.upstream import wire
from relay.upstream.errors import InDoubt, LoginRefused, Unreachable, Unroutable, Unverified
from relay.upstream.reply import Garbled, Parser, UpstreamReply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Connection",
    "InDoubt",
    "LoginRefused",
    "Unreachable",
    "Unroutable",
    "Unverified",
    "UpstreamReply",
    "tls_context",
]

#: RFC 5321 §4.5.3.2.5: a block of the body must leave within this time.
BLOCK_SECONDS = 180.0
QUIT_SECONDS = 2.0
#: From here on we are told of what has not left; not 0, which TLS transports compare by >=.
_UNSENT_BYTES = 1


class Lost(Exception):
    """The connection is gone; the transaction says what that means."""


class _Wait:
    """Replies that one caller waits for."""

    __slots__ = ("deadline", "future", "left", "replies", "seconds")

    def __init__(
        self, future: asyncio.Future[list[UpstreamReply]], left: int, seconds: float, now: float
    ) -> None:
        self.future = future
        self.left = left
        self.seconds = seconds
        self.deadline = now + seconds
        self.replies: list[UpstreamReply] = []


class Connection(asyncio.Protocol):
    """One connection; `usable` until it is closed, broken, or says something that nobody asked."""

    def __init__(self, name: str, greeting_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = Parser()
        self._waits: deque[_Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = False
        self._mute = False
        self._backlog = 0
        self.name = name
        self.usable = True
        self.why = ""
        #: EHLO keyword → its parameters, as announced after the last EHLO
        self.offered: dict[str, str] = {}
        #: what XCLIENT last told the server
        self.client: tuple[str, str] = ("", "")
        self.tls = ""
        self.used = 0
        self.idle_since = 0.0
        self.on_lost: Callable[[], None] | None = None
        # before connection_made: the greeting may arrive in the same turn of the loop
        self.greeting = self._expect(1, greeting_seconds)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; report unsent bytes at once (`_unsent` tells a lost dot from a sent one)."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES, low=0)

    def data_received(self, data: bytes) -> None:
        """Hand each reply to whoever waits for it; anything unasked ends the connection."""
        if self._mute or not self.usable:
            self._break("data arrived between STARTTLS and TLS")
            return
        try:
            replies = self._parser.feed(data)
        except Garbled as error:
            self._break(str(error))
            return
        for reply in replies:
            if not self._waits or self._mute:
                self._break(f"unasked reply {reply.code}")
                return
            self._take(reply)

    def _take(self, reply: UpstreamReply) -> None:
        wait = self._waits[0]
        wait.replies.append(reply)
        wait.left -= 1
        if wait.left:
            return
        self._waits.popleft()
        if not wait.future.done():
            wait.future.set_result(wait.replies)

    def eof_received(self) -> bool:
        """Close our side too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who waits."""
        self._break(f"connection lost{f' ({type(exc).__name__})' if exc else ''}")

    def pause_writing(self) -> None:
        """Note that bytes are still ours to send."""
        self._unsent = True

    def resume_writing(self) -> None:
        """Note that everything has left."""
        self._unsent = False

    def _break(self, why: str) -> None:
        if not self.usable and not self._waits:
            # after a 421 it is the server that closes; one that does not must not keep our socket
            if self._transport is not None and not self._transport.is_closing():
                self._transport.abort()
            return
        self.why = self.why or why
        self.usable = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        waits, self._waits = self._waits, deque()
        for wait in waits:
            if not wait.future.done():
                wait.future.set_exception(Lost(self.why))
                wait.future.exception()  # seen: nobody may be waiting any more
        if self.on_lost is not None:
            self.on_lost()

    # deadlines: one lazy timer a connection, re-armed only when it fires

    def _expect(self, count: int, seconds: float) -> asyncio.Future[list[UpstreamReply]]:
        future: asyncio.Future[list[UpstreamReply]] = self._loop.create_future()
        wait = _Wait(future, count, seconds, self._loop.time())
        self._waits.append(wait)
        if self._timer is None:
            self._timer = self._loop.call_at(wait.deadline, self._tick)
        elif wait.deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(wait.deadline, self._tick)
        return future

    def _tick(self) -> None:
        self._timer = None
        if not self._waits:
            return
        now = self._loop.time()
        wait = self._waits[0]
        if self._unsent and self._transport is not None:
            size = self._transport.get_write_buffer_size()
            if (
                not self._backlog or size < self._backlog
            ):  # the peer takes the body: its answer is not due yet
                self._backlog = size
                wait.deadline = now + BLOCK_SECONDS
        elif self._backlog:  # the last of it has just left: now the answer's own time begins
            self._backlog = 0
            wait.deadline = now + wait.seconds
        if wait.deadline <= now:
            self._break("no answer in time")
            return
        self._timer = self._loop.call_at(wait.deadline, self._tick)

    # the caller's side

    def write(self, data: bytes, replies: int, seconds: float) -> asyncio.Future[list[UpstreamReply]]:
        """Send one group of commands; the future brings all its replies, or raises Lost."""
        if not self.usable or self._transport is None:
            raise Lost(self.why or "connection closed")
        future = self._expect(replies, seconds)
        self._transport.write(data)
        return future

    def writelines(self, pieces: Sequence[bytes], seconds: float) -> asyncio.Future[list[UpstreamReply]]:
        """Send the body in one go and expect one reply."""
        if not self.usable or self._transport is None:
            raise Lost(self.why or "connection closed")
        future = self._expect(1, seconds)
        self._transport.writelines(pieces)
        return future

    def keep(self, future: asyncio.Future[list[UpstreamReply]]) -> asyncio.Future[list[UpstreamReply]]:
        """Return what brings the replies of a future whose awaiter was cancelled."""
        if not future.cancelled():
            return future
        heir: asyncio.Future[list[UpstreamReply]] = self._loop.create_future()
        for wait in self._waits:
            if wait.future is future:
                wait.future = heir
                return heir
        heir.set_exception(Lost(self.why or "connection closed"))
        heir.exception()
        return heir

    async def command(self, line: bytes, seconds: float) -> UpstreamReply:
        """Send one command and return its reply; Lost if none comes."""
        return (await self.write(line, 1, seconds))[0]

    @property
    def unsent(self) -> bool:
        """Return whether some of what was written never left this process."""
        return self._unsent

    @property
    def peer_ip(self) -> str:
        """Return the address that we are really connected to."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return str(peer[0]) if peer else ""

    async def start_tls(self, context: ssl.SSLContext, hostname: str, seconds: float) -> None:
        """Change to TLS after a 220 to STARTTLS; Unverified if it cannot be had.

        Whatever came in clear text is forgotten; a byte after the 220 ends the connection
        (response injection, CVE-2021-38371).
        """
        self._mute = True
        if self._parser.pending or self._waits or self._transport is None:
            self._break("data arrived between STARTTLS and TLS")
        if not self.usable or self._transport is None:
            raise Lost(self.why)
        try:
            transport = await self._loop.start_tls(
                self._transport, self, context, server_hostname=hostname, ssl_handshake_timeout=seconds
            )
        except (OSError, ssl.SSLError) as error:
            self._break("TLS failed")
            raise Unverified(f"{self.name}: TLS failed: {tls_fault(error)}") from error
        if transport is None or not self.usable:
            raise Lost(self.why or "connection closed during TLS")
        self._transport = transport
        transport.set_write_buffer_limits(high=_UNSENT_BYTES, low=0)
        self._parser = Parser()
        self.offered = {}
        self._mute = False
        self.note_tls()

    def note_tls(self) -> None:
        """Remember the TLS version, for the Received field and for statistics."""
        secured = self._transport.get_extra_info("ssl_object") if self._transport else None
        self.tls = secured.version() or "" if secured else ""

    def close(self) -> None:
        """Say QUIT without waiting long for the answer."""
        self.on_lost = None
        if not self.usable or self._transport is None or self._waits:
            self._break("closed by us")
            return
        self._expect(1, QUIT_SECONDS)
        self.usable = False
        self._transport.write(b"QUIT\r\n")
        self._transport.close()

    def drop(self) -> None:
        """Close at once, as after something that must not go on."""
        self.on_lost = None
        self._break("closed by us")


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Return the client's context; without `verify` TLS still hides the mail from listeners."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def tls_fault(error: Exception) -> str:
    """Return in a few words why TLS failed, without the peer's bytes."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return getattr(error, "reason", None) or type(error).__name__


async def hello(connection: Connection, hostname: str, seconds: float) -> None:
    """Say EHLO (HELO to a server that does not know it) and note what is offered; Lost or Unreachable."""
    reply = await connection.command(f"EHLO {wire.safe(hostname, 'EHLO')}\r\n".encode(), seconds)
    connection.offered = {}
    if reply.code == 250:
        for line in reply.lines[1:]:
            keyword, _, parameters = line.replace("=", " ", 1).partition(" ")
            connection.offered[keyword.upper()] = parameters.strip()
        return
    if reply.code >= 500:
        reply = await connection.command(f"HELO {hostname}\r\n".encode(), seconds)
    if reply.code != 250:
        raise Unreachable(f"{connection.name}: answered {reply.code} to EHLO", "4.4.2")


async def authenticate(connection: Connection, login: str, password: str, seconds: float) -> UpstreamReply:
    """Log in by PLAIN, else LOGIN; return the server's last reply (235 is good).

    Unreachable when the server offers neither; Unsendable before a byte is written.
    """
    mechanisms = connection.offered.get("AUTH", "").upper().split()
    first = wire.plain(login, password)
    if "PLAIN" in mechanisms:
        return await connection.command(first, seconds)
    if "LOGIN" not in mechanisms:
        raise Unreachable(f"{connection.name}: offers neither AUTH PLAIN nor LOGIN", "4.7.4")
    reply = await connection.command(b"AUTH LOGIN\r\n", seconds)
    for secret in (login, password):
        if reply.code != 334:
            return reply
        reply = await connection.command(wire.encoded(secret) + b"\r\n", seconds)
    return reply


async def xclient(connection: Connection, client: tuple[str, str], seconds: float) -> bool:
    """Tell the server who the real client is, where it offers XCLIENT; True when EHLO must be said again."""
    announced = connection.offered.get("XCLIENT")
    ip, helo = client
    if announced is None or not ip or connection.client == client:
        return False
    values = {
        "NAME": "[UNAVAILABLE]",
        "ADDR": f"IPV6:{ip}" if ":" in ip else ip,
        "PROTO": "ESMTP",
        "HELO": helo,
    }
    line = wire.forward("XCLIENT", announced, values)
    if not line:
        return False
    reply = await connection.command(line, seconds)
    if reply.code == 421:
        raise Unreachable(f"{connection.name}: answered {reply.code} to XCLIENT", "4.4.2")
    if reply.code != 220:
        # No new session began: the server offers XCLIENT but does not take ours (test sinks say 250).
        connection.client = client
        return False
    connection.client = client
    return True
