"""One client's connection: bytes in through framing, replies out in one write, time limits, TLS, hanging up.

`Wire` subclasses aiosmtpd's `SMTP` and replaces everything that reads, writes, waits or closes there; what it
keeps is the shape: one coroutine `_handle_client` per connection and `smtp_VERB` methods found by name. It
knows no command; `relay.smtp.server` adds them.

Nothing here cancels a running command. A lost client or a passed deadline wakes the coroutine only where it
waits for bytes, so a message that is being handed on is handed on to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import TYPE_CHECKING, cast

from aiosmtpd.smtp import SMTP

from relay.smtp import proxy
from relay.smtp import reply as replies
from relay.smtp.framing import Line, Reader
from relay.smtp.reply import wire

if TYPE_CHECKING:
    from relay.smtp.listener import Listener
    from relay.smtp.reply import Reply

log = logging.getLogger(__name__)

#: Unread input of one client in memory; above it the kernel's buffer, then the client, has to wait.
_INPUT_OCTETS = 64 * 1024
_BATCH_REPLIES = 64
#: From here on a client in the middle of a message is slow, and the door gives back what is scarce.
SLOW_SECONDS = 5.0
_PROXY_SECONDS = 5.0
_STALLED_WRITE_SECONDS = 60.0
#: How long a closed connection still swallows input, so that the client can read the last reply: in all, and
#: when nothing comes.
_LINGER_SECONDS = 2.0
_QUIET_SECONDS = 0.2
_LINGER_OCTETS = 4 * 1024 * 1024
_ABORT_SECONDS = 10.0
_TLS_SHUTDOWN_SECONDS = 2.0


class Gone(Exception):
    """The client has closed the connection or its sending half."""


class HangUp(Exception):
    """We close the connection, with a last reply where there is one."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__(reply.text if reply else "")
        self.reply = reply


class Wire(SMTP):
    """The transport half of an SMTP server connection."""

    def __init__(self, listener: Listener) -> None:
        # not super().__init__: it inspects its own methods at every connection (80 µs), builds a stream
        # reader with a line limit of its own and clears limits that all connections share
        self.loop = listener.loop
        self.hostname = listener.settings.hostname
        self.transport: asyncio.BaseTransport | None = None
        self.listener = listener
        self.frames = Reader()
        self.peer_ip = ""
        self.peer_port = 0
        self.tls_version = ""
        #: octets that came in, TLS taken off
        self.octets_in = 0
        self._out: list[bytes] = []
        self.task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._abort: asyncio.TimerHandle | None = None
        self._reading_paused = self._writing_paused = self._lost = self._ended = False
        self._draining = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving (not called again after STARTTLS)."""
        self._take_transport(transport)
        self.task = self.loop.create_task(self._handle_client())
        self.listener.wires.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes; wake the coroutine; stop the client when it sends faster than it is served."""
        self.octets_in += len(data)
        waiting = self.frames.feed(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)
        elif waiting > _INPUT_OCTETS and not self._reading_paused:
            self._reading_paused = True
            self._reads.pause_reading()

    def eof_received(self) -> bool:
        """Serve what came before the end; keep the sending half open for the answers, but not under TLS."""
        self._ended = True
        self._wake()
        return not self.tls_version

    def connection_lost(self, error: Exception | None) -> None:
        """Wake the coroutine if it waits; never cancel it."""
        del error
        self._lost = True
        self._wake()
        if self._abort is not None:
            self._abort.cancel()

    def pause_writing(self) -> None:
        """Stop serving commands: the client does not read its answers."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Serve again."""
        self._writing_paused = False
        self._wake()

    def __del__(self) -> None:
        """Undo the parent's, which looks at a future that we do not have."""

    def _take_transport(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._reads = cast("asyncio.ReadTransport", transport)
        self._writes = cast("asyncio.WriteTransport", transport)

    # the coroutine's side

    @property
    def in_flight(self) -> bool:
        """Return whether a message is under way; a server that shuts down waits for it."""
        return False

    @property
    def stalled(self) -> bool:
        """Return whether the client does not read its answers."""
        return self._writing_paused

    async def serve(self) -> None:
        """Greet and serve commands; ends by Gone or HangUp."""
        raise HangUp(replies.BYE)

    async def leave(self) -> None:
        """Give back what the session holds; called once, whatever happened."""

    async def tell_slow(self) -> None:
        """Hear that the client is silent, or slow, in the middle of a message."""

    def drain(self) -> None:
        """Say goodbye as soon as no message is under way."""
        self._draining = True
        self._wake()

    def abort(self) -> None:
        """Cut the connection and stop what it does; for the end of the process."""
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None:
            self._writes.abort()

    def say(self, reply: Reply) -> None:
        """Queue a reply; it leaves with its batch."""
        self._out.append(wire(reply))

    async def push(self, status: str | bytes) -> None:
        """Queue a raw reply line: what aiosmtpd's own methods call."""
        self._out.append((status.encode("ascii", "replace") if isinstance(status, str) else status) + b"\r\n")

    def flush(self) -> None:
        """Write all queued replies at once."""
        if self._out:
            if not self._lost:
                self._writes.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
            self._out.clear()

    async def next_line(self, seconds: float) -> Line:
        """Return the next command line; HangUp when it is not whole within `seconds`."""
        until = told_at = 0.0
        while (event := self.frames.next()) is None:
            self.flush()
            if self._draining and not self.in_flight:
                raise HangUp(replies.SHUTTING_DOWN)
            if not until:
                now = self.loop.time()
                until = now + seconds
                told_at = now + SLOW_SECONDS if self.in_flight else until
            if await self.wait(min(told_at, until)):
                continue
            if told_at >= until:
                raise HangUp(replies.TIMED_OUT)
            told_at = until
            await self.tell_slow()
        return cast("Line", event)

    async def wait(self, until: float) -> bool:
        """Wait until something happens; False when `until` (the loop's time) came first; Gone at the end."""
        if self._lost or self._ended:
            raise Gone
        if self._reading_paused and self.frames.waiting <= _INPUT_OCTETS:
            self._reading_paused = False
            self._reads.resume_reading()
        self._alarm(until)
        waiter: asyncio.Future[bool] = self.loop.create_future()
        self._waiter = waiter
        try:
            return await waiter
        finally:
            self._waiter = None

    def _alarm(self, until: float) -> None:
        self._deadline = until
        if self._timer is None or self._timer.when() > until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(until, self._ring)

    @property
    def must_pause(self) -> bool:
        """Return whether `take_turns` has to wait for something else than other clients."""
        return self._writing_paused or len(self._out) >= _BATCH_REPLIES

    async def take_turns(self) -> None:
        """Let other clients run, and wait for a client that does not read what we answer."""
        await asyncio.sleep(0)
        if len(self._out) >= _BATCH_REPLIES:
            self.flush()
        if self._writing_paused:
            self._alarm(self.loop.time() + _STALLED_WRITE_SECONDS)
            while self._writing_paused and not self._lost:
                self._waiter = self.loop.create_future()
                if not await self._waiter:
                    self._writes.abort()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def _ring(self) -> None:
        """Wake the coroutine if its time is up; else look again then: a timer is set seldom, not per read."""
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self.loop.time() >= self._deadline:
            self._waiter.set_result(False)
        else:
            self._timer = self.loop.call_at(self._deadline, self._ring)

    async def _handle_client(self) -> None:
        """Serve the connection from greeting to end: the session edge."""
        reply: Reply | None = None
        try:
            await self._arrive()
            await self.serve()
        except HangUp as end:
            reply = end.reply
            self.hung_up(reply)
        except Gone:
            pass
        except Exception:
            log.exception("a connection of listener %s ended by a bug", self.listener.name)
            reply = replies.BUG_CLOSING
        finally:
            try:
                await self.leave()
            finally:
                await self._close(reply)

    async def _arrive(self) -> None:
        """Learn who connects; refuse who may not; shake hands where TLS comes first."""
        transport = self._writes
        peer = transport.get_extra_info("peername") or ("127.0.0.1", 0)
        self.peer_ip, self.peer_port = _plain_address(peer[0]), peer[1]
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio does so only where the listening socket names its protocol, which most do not
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.peer_ip in self.listener.balancers:
            await self._read_proxy_header()
        if self.listener.draining:
            raise HangUp(None if self.listener.implicit_tls else replies.SHUTTING_DOWN)
        self.admit()
        if self.listener.implicit_tls:
            await self.start_tls(self.frames.take_prefix(self.frames.waiting))

    def hung_up(self, reply: Reply | None) -> None:
        """Hear why the connection is being closed."""

    def admit(self) -> None:
        """Refuse, by HangUp, a client that may not connect now."""

    async def _read_proxy_header(self) -> None:
        until = self.loop.time() + _PROXY_SECONDS
        try:
            while (source := proxy.parse(self.frames.peek(proxy.longest()))) is None:
                if not await self.wait(until):
                    raise HangUp(None)
        except proxy.BadHeader:
            raise HangUp(None) from None
        self.frames.take_prefix(source.octets)
        if source.ip:
            self.peer_ip, self.peer_port = _plain_address(source.ip), source.port

    async def start_tls(self, hello: bytes = b"") -> None:
        """Shake hands. Octets that came before are clear text that TLS would seem to vouch for: hang up.

        `hello`: what came behind a PROXY header is the beginning of the handshake itself.
        """
        certificate = self.listener.certificate
        if certificate is None or self.transport is None or self.frames.waiting:
            raise HangUp(None)
        self.flush()
        if self._lost or self._ended or self._writes.is_closing():
            raise Gone
        if hello:
            # in two steps, so that TLS is in place: `start_tls` puts it there in the step between
            self.loop.call_soon(self.loop.call_soon, _hand_over, self._writes, hello)
        try:
            transport = await self.loop.start_tls(
                self._writes,
                self,
                certificate.current(),
                server_side=True,
                ssl_handshake_timeout=self.listener.settings.tls_seconds,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
            )
        except (OSError, TimeoutError):
            self.tls_failed()
            raise Gone from None
        if transport is None:
            raise Gone
        self._take_transport(transport)
        secured: ssl.SSLObject = transport.get_extra_info("ssl_object")
        self.tls_version = secured.version() or "TLS"

    def tls_failed(self) -> None:
        """Hear that a handshake failed."""

    async def _close(self, reply: Reply | None) -> None:
        """Say the last word, let the client read it, close."""
        if reply is not None:
            self.say(reply)
        if not self._lost:
            try:
                await self._linger(polite=reply in (replies.BYE, replies.TOO_BUSY))
            finally:
                self._writes.close()
                self._abort = self.loop.call_later(_ABORT_SECONDS, self._writes.abort)
        if self._timer is not None:
            self._timer.cancel()
        self.listener.wires.discard(self)

    async def _linger(self, *, polite: bool) -> None:
        """Swallow input for a moment: closing over unread input resets the connection, the reply is lost."""
        self.flush()
        unread = self.frames.waiting or self._reading_paused
        self.frames.drop()
        if self._ended or (polite and not unread):
            return
        if not self.tls_version and self._writes.can_write_eof():
            self._writes.write_eof()
        until, most = self.loop.time() + _LINGER_SECONDS, self.octets_in + _LINGER_OCTETS
        with contextlib.suppress(Gone):
            while self.octets_in < most and await self.wait(min(until, self.loop.time() + _QUIET_SECONDS)):
                if self.loop.time() > until:
                    return


def _plain_address(ip: str) -> str:
    """Return an address without its zone, IPv4 not in IPv6 clothes."""
    return ip.partition("%")[0].removeprefix("::ffff:") if "." in ip else ip.partition("%")[0]


def _hand_over(transport: asyncio.WriteTransport, data: bytes) -> None:
    """Give the TLS protocol of a transport octets that were read before it was there."""
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    while data and not transport.is_closing():
        room = memoryview(protocol.get_buffer(len(data)))
        octets = min(len(room), len(data))
        room[:octets] = data[:octets]
        protocol.buffer_updated(octets)
        data = data[octets:]
