"""Messages of one client, MAIL to the reply to the final dot, on top of `relay.smtp.conversation`.

`SmtpServer` is opened by `relay.smtp.listener.Listener`; that module says how. Order of commands, as a table;
what is not in it is 503:

    state       EHLO  STARTTLS  AUTH  MAIL  RCPT  DATA  BDAT  RSET NOOP VRFY HELP QUIT
    new          x       x                                      x    x    x    x    x
    greeted      x       x       x     x                        x    x    x    x    x
    mail         x       x                   x                  x    x    x    x    x
    recipients   x       x                   x     x     x      x    x    x    x    x
    chunks       x       x                               x      x    x    x    x    x

EHLO and STARTTLS end an open transaction. STARTTLS and AUTH work once.
"""
# ruff: noqa: N802 - aiosmtpd finds commands by these names

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from relay.clock import monotonic
from relay.smtp import grammar, headers
from relay.smtp import reply as replies
from relay.smtp.content import Content
from relay.smtp.conversation import Conversation
from relay.smtp.framing import End, Fault, Piece
from relay.smtp.pace import Pace
from relay.smtp.reply import Reply
from relay.smtp.wire import HangUp

if TYPE_CHECKING:
    from relay.smtp.grammar import MailFrom
    from relay.smtp.listener import Listener

log = logging.getLogger(__name__)

#: A refused chunk is swallowed up to here; more cannot be worth the wait.
_SWALLOW_OCTETS = 64 * 1024 * 1024
#: A large message waits so long for memory; the reply must come within 45 s, and the door needs its part.
_ROOM_SECONDS = 10.0
_FAULTS = (
    (Fault.SIZE, replies.TOO_BIG),
    (Fault.BARE | Fault.NUL, replies.BROKEN_TEXT),
    (Fault.LONG, replies.TEXT_LINE_TOO_LONG),
)


class SmtpServer(Conversation):
    """One SMTP session: strict order, strict grammar, limits per session; asks its listener's door."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._mail: MailFrom | None = None
        self._recipients = 0
        self._chunks: Content | None = None
        self._chunk_failed = False

    @property
    def in_flight(self) -> bool:
        """Return whether a message is under way."""
        return self._mail is not None

    async def abandon(self) -> None:
        """Forget the transaction, here and behind the door."""
        chunks, self._chunks, self._chunk_failed = self._chunks, None, False
        if chunks is not None:
            chunks.close()
        if self._mail is not None:
            self._mail, self._recipients = None, 0
            await self.tell(self.listener.door.abandon(self.client))

    async def smtp_MAIL(self, argument: bytes) -> None:
        """Open a transaction."""
        refusal = self._no_mail_now()
        if refusal is not None:
            return await self.wrong(refusal)
        command = grammar.mail_from(argument)
        if isinstance(command, Reply):
            return await self.wrong(command)
        if command.size is not None and command.size > self.listener.settings.message_octets:
            return await self.answer(replies.TOO_BIG)
        reply = await self.ask(self.listener.door.mail(self.client, command))
        self._mail = command
        if not reply.ok:
            await self.abandon()
        return await self.answer(reply)

    def _no_mail_now(self) -> Reply | None:
        if self.listener.door.needs_login and self.client.login is None:
            return replies.LOGIN_FIRST if self.tls_version else replies.TLS_FIRST
        if not self.client.helo:
            return replies.SAY_HELLO_FIRST
        return replies.MAIL_TWICE if self._mail is not None else None

    async def smtp_RCPT(self, argument: bytes) -> None:
        """Add a recipient."""
        if self._mail is None:
            return await self.wrong(replies.MAIL_FIRST)
        if self._chunks is not None:
            return await self.wrong(replies.IN_CHUNKS)
        command = grammar.rcpt_to(argument, utf8=self._mail.smtputf8)
        if isinstance(command, Reply):
            return await self.wrong(command)
        if self._recipients >= self.listener.settings.recipients:
            return self.say(replies.TOO_MANY_RECIPIENTS)
        reply = await self.ask(self.listener.door.rcpt(self.client, command))
        if reply.ok:
            self._recipients += 1
        return await self.answer(reply)

    async def smtp_DATA(self, argument: bytes) -> None:
        """Take the message and ask the door to decide about it."""
        if argument:
            return await self.wrong(replies.NO_ARGUMENT)
        if self._chunks is not None:
            return await self.wrong(replies.IN_CHUNKS)
        if not self._recipients:
            return await self.wrong(replies.MAIL_FIRST if self._mail is None else replies.RCPT_FIRST)
        self.say(replies.START_DATA)
        self.frames.data(self.listener.settings.message_octets)
        content = self._new_content()
        try:
            refusal = await self._receive(content)
            return await self._decide(content, refusal)
        finally:
            content.close()

    async def smtp_BDAT(self, argument: bytes) -> None:
        """Take a part of the message; with LAST, decide (RFC 3030 §2)."""
        chunk = grammar.bdat(argument)
        if isinstance(chunk, Reply):
            self.say(chunk)
            raise HangUp(replies.CHUNK_UNCLEAR)
        if chunk.octets > max(_SWALLOW_OCTETS, self.listener.settings.message_octets):
            self.say(replies.TOO_BIG)
            raise HangUp(replies.CHUNK_UNCLEAR)
        refusal = self._no_chunk_now()
        if refusal is not None:
            self.frames.skip(chunk.octets)
            await self._receive(Content())
            return await self.wrong(refusal)
        if self._chunks is None:
            self._chunks = self._new_content()
            self.frames.begin(self.listener.settings.message_octets)
        self.frames.chunk(chunk.octets, last=chunk.last)
        content = self._chunks
        refusal = await self._receive(content)
        if chunk.last:
            return await self._decide(content, refusal)
        self._chunk_failed = refusal is not None
        if refusal is not None:
            return await self.answer(refusal)
        return self.say(replies.DONE)

    def _no_chunk_now(self) -> Reply | None:
        if not self._recipients:
            return replies.MAIL_FIRST if self._mail is None else replies.RCPT_FIRST
        return replies.CHUNK_FAILED if self._chunk_failed else None

    def _new_content(self) -> Content:
        return Content(self.listener.settings.spill_folder)

    async def _receive(self, content: Content) -> Reply | None:
        """Read to the End; a reply if what came cannot be taken. HangUp when it comes too slowly."""
        pace = Pace(self)
        refusal: Reply | None = None
        while True:
            event = self.frames.next()
            if isinstance(event, Piece):
                if refusal is None:
                    try:
                        content.write(event.data)
                    except OSError:
                        log.exception("session %s: cannot spill a message", self.client.id)
                        refusal = replies.DISK_FULL
                if content.spilled and pace.first_time_slow():
                    await self.tell_slow()
            elif isinstance(event, End):
                content.undotted = not event.dotted
                if not event.fault:
                    return refusal
                return next(reply for fault, reply in _FAULTS if event.fault & fault)
            else:
                self.flush()
                await pace.wait()

    async def _hand_over(self, content: Content) -> Reply:
        """Ask the door; a large message waits until there is memory for it."""
        question, room = self.listener.door.data, self.listener.shared.room
        if not content.spilled:
            return await self.ask(question(self.client, content))
        if not await room.take(content.size, _ROOM_SECONDS):
            return replies.TOO_BUSY_NOW
        try:
            return await self.ask(question(self.client, content))
        finally:
            room.give(content.size)

    async def tell_slow(self) -> None:
        """Let the door give back what is scarce."""
        await self.tell(self.listener.door.slow(self.client))

    async def _decide(self, content: Content, refusal: Reply | None) -> None:
        """Ask the door about a whole message; the transaction is over then, whatever it says."""
        settings = self.listener.settings
        refusal = refusal or headers.fault(content.head(), settings.received)
        if refusal is not None:
            await self.abandon()
            return await self.answer(refusal)
        content.whole_at = monotonic()
        self.flush()
        reply = await self._hand_over(content)
        self._owed = True
        if reply in (replies.BUG, replies.TOO_BUSY_NOW):
            await self.abandon()
        self._mail, self._recipients, self._chunk_failed = None, 0, False
        chunks, self._chunks = self._chunks, None
        if chunks is not None:
            chunks.close()
        if reply.ok:
            self._junk = self._errors = 0
        return await self.answer(reply)
