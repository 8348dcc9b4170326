"""One message on its way to a customer's server: MAIL and RCPT, DATA, the body and its dot.

When nothing was decided yet, a dead idle connection is replaced once, silently. After the dot
nothing is ever tried again here: the answer is awaited, or it is in doubt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypedDict, Unpack

from relay.upstream import wire
from relay.upstream.client import Lost
from relay.upstream.errors import InDoubt, LoginRefused, Unreachable
from relay.upstream.reply import UpstreamReply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.upstream.client import Connection
    from relay.upstream.pool import Pool
    from relay.upstream.route import Route

#: RFC 5321 §4.5.3.2.4 and .6
DATA_SECONDS = 120.0
DOT_SECONDS = 600.0
#: A server that wants a login, or TLS, that its route lacks: no word about the message (RFC 4954 §6).
WANTS_LOGIN = (530, 538)
_OUT_OF_PLACE = UpstreamReply(451, "4.5.0", "The receiving server gave an answer out of place")


class MailParameters(TypedDict, total=False):
    """What MAIL may carry; each is sent only where the server offers it (see relay.upstream.wire.mail)."""

    size: int | None
    eight_bit: bool
    smtputf8: bool
    ret: str | None
    envid: str | None


class Transaction:
    """One transaction on one pooled connection; always ended by `data` or `abandon`, once."""

    def __init__(
        self, pool: Pool, route: Route, client: tuple[str, str], login: str, *, patient: bool = True
    ) -> None:
        self._pool = pool
        self._route = route
        self._client = client
        self._login = login
        self._patient = patient
        self._connection: Connection | None = None
        self._reused = False
        self._dirty = False
        self._sending = self._smtputf8 = False
        self._offered: frozenset[str] = frozenset()
        #: the server's yes to MAIL, while that holds
        self._mail: UpstreamReply | None = None
        #: recipients that the server has taken
        self.accepted = 0
        #: after a cancelled `data`: what resolves to the answer when it comes
        self.late: asyncio.Future[UpstreamReply] | None = None

    @property
    def extensions(self) -> frozenset[str]:
        """Return the keywords that the server offered last; empty before the first command."""
        return self._offered

    @property
    def peer(self) -> str:
        """Return the server's name and address, empty before the first command."""
        return self._connection.name if self._connection else ""

    async def open(self) -> frozenset[str]:
        """Connect if need be, and return what the server offers; Unreachable if it cannot be had."""
        await self._ready()
        return self.extensions

    async def _ready(self, *, fresh: bool = False) -> Connection:
        if self._connection is None:
            connection = await self._pool.acquire(
                self._route, self._client, self._login, fresh=fresh, patient=self._patient
            )
            self._connection = connection
            self._offered = frozenset(connection.offered)
            self._reused = connection.used > 0
        return self._connection

    async def mail(self, sender: str, **parameters: Unpack[MailParameters]) -> UpstreamReply:
        """Send MAIL; Unreachable if no server can be had."""
        return (await self._begin(lambda offered: [wire.mail(sender, offered, {**parameters})]))[0]

    async def mail_rcpt(
        self,
        sender: str,
        recipient: str,
        *,
        notify: Sequence[str] = (),
        orcpt: str | None = None,
        **parameters: Unpack[MailParameters],
    ) -> tuple[UpstreamReply, UpstreamReply]:
        """Send MAIL and the first RCPT in one write; when MAIL is refused both replies are the refusal.

        Where the server has taken the sender and no recipient so far, RCPT alone is said.
        """
        if self._mail is not None and self._connection is not None and self._connection.usable:
            return self._mail, await self.rcpt(recipient, notify=notify, orcpt=orcpt)
        if self._mail is not None:
            self._discard()
        first, second = await self.envelope(sender, [(recipient, notify, orcpt)], **parameters)
        return first, second

    async def envelope(
        self,
        sender: str,
        recipients: Sequence[tuple[str, Sequence[str], str | None]],
        **parameters: Unpack[MailParameters],
    ) -> list[UpstreamReply]:
        """Send MAIL and all RCPTs in one write; returns the reply to MAIL, then one for each recipient.

        A recipient that cannot be sent on is answered here and not written.
        """
        local: dict[int, UpstreamReply] = {}
        self._smtputf8 = bool(parameters.get("smtputf8"))

        def build(offered: dict[str, str]) -> list[bytes]:
            lines = [wire.mail(sender, offered, {**parameters})]
            local.clear()
            for number, (recipient, notify, orcpt) in enumerate(recipients, 1):
                try:
                    lines.append(wire.rcpt(recipient, offered, notify, orcpt))
                except wire.Unsendable as error:
                    local[number] = error.reply
            return lines

        replies = await self._begin(build)
        if not replies[0].ok:
            return [replies[0]] * (len(recipients) + 1)
        self._mail = replies[0]
        self.accepted += sum(reply.ok for reply in replies[1:])
        if not local:
            return replies
        rest = iter(replies)
        return [local[number] if number in local else next(rest) for number in range(len(recipients) + 1)]

    async def rcpt(
        self, recipient: str, *, notify: Sequence[str] = (), orcpt: str | None = None
    ) -> UpstreamReply:
        """Send one more RCPT; Unreachable if the connection is gone (nothing was decided)."""
        connection = self._open_connection()
        try:
            line = wire.rcpt(recipient, connection.offered, notify, orcpt)
        except wire.Unsendable as error:
            return error.reply
        try:
            reply = self._seen((await connection.write(line, 1, self._pool.reply_seconds))[0])
        except Lost as lost:
            self._discard()
            raise Unreachable(f"{connection.name}: {lost}", "4.4.2") from lost
        self.accepted += reply.ok
        return reply

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise Unreachable("the connection of this transaction is gone", "4.4.2")
        return self._connection

    async def _begin(self, build: Callable[[dict[str, str]], list[bytes]]) -> list[UpstreamReply]:
        """Send the first commands; an idle connection that turns out dead is replaced once."""
        connection = await self._ready()
        while True:
            try:
                lines = build(connection.offered)
            except wire.Unsendable as error:
                return [error.reply]
            self._dirty = True
            try:
                replies = await self._exchange(connection, lines)
            except Lost as lost:
                fault = str(lost)
            else:
                if replies[0].code in WANTS_LOGIN:
                    self._discard()
                    raise LoginRefused(f"{connection.name}: answered {replies[0].code} to MAIL", replies[0])
                if replies[0].code != 421 or not self._reused:
                    return [self._seen(reply) for reply in replies]
                fault = "answered 421"
            reused = self._reused
            self._discard()
            if not reused:
                raise Unreachable(f"{connection.name}: {fault}", "4.4.2")
            connection = await self._ready(fresh=True)

    async def _exchange(self, connection: Connection, lines: list[bytes]) -> list[UpstreamReply]:
        skip = 0
        announced = connection.offered.get("XFORWARD")
        if announced is not None and self._client[0] and "XCLIENT" not in connection.offered:
            ip, helo = self._client
            values = {
                "NAME": "[UNAVAILABLE]",
                "ADDR": f"IPV6:{ip}" if ":" in ip else ip,
                "HELO": helo,
                "PROTO": "ESMTP",
            }
            line = wire.forward("XFORWARD", announced, values)
            if line:
                lines, skip = [line, *lines], 1
        seconds = self._pool.reply_seconds
        if "PIPELINING" in connection.offered:
            return (await connection.write(b"".join(lines), len(lines), seconds))[skip:]
        replies: list[UpstreamReply] = []
        for number, line in enumerate(lines):
            replies += await connection.write(line, 1, seconds)
            if number == skip and not replies[-1].ok:
                replies += [replies[-1]] * (len(lines) - number - 1)
                break
        return replies[skip:]

    def _seen(self, reply: UpstreamReply) -> UpstreamReply:
        """Note that the server hangs up, or has lost its place: for our client both are an ordinary "later".

        What we say is in order: 503, or a 3xx that is no 354 to DATA, is about the dialogue, never about the
        message.
        """
        aside = 300 <= reply.code < 400
        if reply.code not in (421, 503) and not aside:
            return reply
        if self._connection is not None:
            self._connection.usable = False
        if aside:
            return _OUT_OF_PLACE
        status = reply.status if reply.code == 421 and reply.status else "4.3.2"
        return UpstreamReply(451, status, reply.text)

    async def data(self, pieces: Sequence[bytes], *, undotted: bool = False) -> UpstreamReply:
        """Send DATA, then the body, dot-stuffed, and the dot in one write; return the answer to it.

        `undotted`: all pieces but the first are known to be whole lines without a dot in front (`wire.body`).

        Ends the transaction. Unreachable: nothing was decided. InDoubt: the whole message is out, and the
        answer cannot come any more. Cancelling the caller after the dot does not lose the answer: see `late`.
        """
        connection = self._open_connection()
        self._sending = True
        refused = self._unfit(connection, pieces, undotted=undotted)
        if isinstance(refused, UpstreamReply):
            self._give_back()
            return refused
        try:
            reply = (await connection.write(b"DATA\r\n", 1, DATA_SECONDS))[0]
        except Lost as lost:
            self._discard()
            raise Unreachable(f"{connection.name}: {lost}", "4.4.2") from lost
        except asyncio.CancelledError:
            self._discard()  # a 354 may be on its way; without a dot nothing is decided
            raise
        if reply.code != 354:
            reply = self._seen(reply)
            if reply.ok:
                self._discard()
                raise Unreachable(f"{connection.name}: answered {reply.code} to DATA", "4.5.0")
            self._give_back()
            return reply
        return await self._dot(connection, refused)

    def _unfit(
        self, connection: Connection, pieces: Sequence[bytes], *, undotted: bool
    ) -> UpstreamReply | list[bytes]:
        """Return the lines to send, or why this server cannot be sent this message."""
        if not self.accepted:
            return UpstreamReply(554, "5.5.1", "No valid recipients")
        modest = "8BITMIME" not in connection.offered or "SMTPUTF8" not in connection.offered
        if modest and (lacks := wire.unfit(pieces, connection.offered, smtputf8=self._smtputf8)):
            return lacks
        try:
            return wire.body(pieces, undotted=undotted)
        except wire.Unsendable as error:
            return error.reply

    async def _dot(self, connection: Connection, lines: list[bytes]) -> UpstreamReply:
        try:
            future = connection.writelines(lines, DOT_SECONDS)
        except Lost as lost:
            self._discard()
            raise Unreachable(f"{connection.name}: {lost}", "4.4.2") from lost
        try:
            replies = await future
        except asyncio.CancelledError:
            self.late = self._keep_waiting(connection, future)
            raise
        except Lost as lost:
            self._discard()
            if connection.unsent:
                raise Unreachable(f"{connection.name}: {lost}", "4.4.2") from lost
            raise InDoubt(f"{connection.name}: {lost} after the dot") from lost
        return self._ended(replies[0])

    def _ended(self, reply: UpstreamReply) -> UpstreamReply:
        reply = self._seen(reply)
        connection, self._connection = self._connection, None
        early = connection is not None and connection.unsent
        if connection is not None:
            # an answer to half a message: what is said to the rest would seem to be meant for the next one
            (self._pool.discard if early else self._pool.release)(self._route, connection)
        return _OUT_OF_PLACE if early and reply.ok else reply

    def _keep_waiting(
        self, connection: Connection, future: asyncio.Future[list[UpstreamReply]]
    ) -> asyncio.Future[UpstreamReply]:
        """Return what will bring the answer although nobody awaits `future` any more."""
        late: asyncio.Future[UpstreamReply] = asyncio.get_running_loop().create_future()

        def arrived(done: asyncio.Future[list[UpstreamReply]]) -> None:
            fault = done.exception()
            if fault is not None:
                self._discard()
            reply = None if fault is not None else self._ended(done.result()[0])
            if late.done():
                return
            if reply is not None:
                late.set_result(reply)
                return
            late.set_exception(
                Unreachable(f"{connection.name}: {fault}: the answer will never come", "4.4.2")
            )
            late.exception()  # seen: it may be that nobody asks

        connection.keep(future).add_done_callback(arrived)
        return late

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        self._dirty, self._mail, self.accepted = False, None, 0
        if connection is not None:
            self._pool.discard(self._route, connection)

    async def abandon(self) -> None:
        """End the transaction without a message; harmless when it has ended, or `data` is about to end it."""
        if not self._sending:
            self._give_back()

    def _give_back(self) -> None:
        """Reset the connection and return it; it is free once the server has answered."""
        connection = self._connection
        if connection is None:
            return
        if not connection.usable:
            self._discard()
            return
        self._connection, self._mail, self.accepted = None, None, 0
        if not self._dirty:
            self._pool.release(self._route, connection)
            return
        pool, route = self._pool, self._route

        def reset(done: asyncio.Future[list[UpstreamReply]]) -> None:
            if done.cancelled() or done.exception() is not None or not done.result()[0].ok:
                pool.discard(route, connection)
            else:
                pool.release(route, connection)

        try:
            connection.write(b"RSET\r\n", 1, pool.reply_seconds).add_done_callback(reset)
        except Lost:
            pool.discard(route, connection)
