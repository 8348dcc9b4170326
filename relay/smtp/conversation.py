"""One client's conversation but for messages: greeting, errors, small talk, TLS and login.

Every reply comes from `relay.smtp.reply` or from the door. A bug of the door is answered 451 4.3.0 with
constant text; its traceback goes to the log only.
"""
# ruff: noqa: N802 - aiosmtpd finds commands by these names

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, ClassVar

from relay.clock import monotonic
from relay.smtp import auth, grammar
from relay.smtp import reply as replies
from relay.smtp.framing import FATAL, Line
from relay.smtp.reply import Reply
from relay.smtp.session import Event, Session
from relay.smtp.wire import HangUp, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from relay.smtp.connections import Slot
    from relay.smtp.listener import Listener

log = logging.getLogger(__name__)

#: Commands of one client in a row before others get their turn.
_TURN_COMMANDS = 8
_PENALTY_SECONDS = 1.0
#: A wrong login is answered no sooner, whether or not it exists, whatever had to be asked.
_WRONG_LOGIN_SECONDS = 0.25
_NOT_SMTP = frozenset(b"GET POST PUT HEAD DELETE OPTIONS CONNECT PATCH TRACE PROXY HOST: USER-AGENT:".split())


class Conversation(Wire):
    """Everything that a session says and hears outside a message."""

    #: verb in capitals -> what runs it; built once per class, where aiosmtpd looks at each connection
    commands: ClassVar[Mapping[bytes, Callable[..., Awaitable[None]]]] = {}

    def __init_subclass__(cls) -> None:
        names = [name for name in dir(cls) if name.startswith("smtp_")]
        cls.commands = {name[5:].encode(): getattr(cls, name) for name in names}

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self.client = Session("", listener.name, "")
        self._slot: Slot | None = None
        self._errors = self._junk = self._login_failures = 0
        #: the reply to a dot went out, and the client has said nothing since
        self._owed = False

    # the session

    def eof_received(self) -> bool:
        """Note that the client says no more."""
        self.client.leaves()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the client is gone."""
        self.client.leaves()
        super().connection_lost(error)

    def admit(self) -> None:
        """Take a place among the connections, or hang up."""
        slot = self.listener.shared.enter(self.peer_ip, monotonic())
        if isinstance(slot, Reply):
            self.listener.note(Event.REFUSED)
            raise HangUp(None if self.listener.implicit_tls else slot)
        self._slot = slot
        self.listener.note(Event.CONNECTED)
        self.client = Session(secrets.token_hex(6), self.listener.name, self.peer_ip, self.peer_port)

    async def serve(self) -> None:
        """Greet, then one command after the other until the client goes or is sent away."""
        self.client.tls = self.tls_version
        self._out.append(self.listener.greeting)
        served = 0
        while True:
            settings = self.listener.settings
            trusted = self.client.login is not None or not self.listener.door.needs_login
            spoke_before = self._owed and self.frames.waiting > 0
            line = await self.next_line(settings.command_seconds if trusted else settings.greeting_seconds)
            if self._owed and not spoke_before:
                self._answered(heard=True)
            await self._command(line)
            served += 1
            if served % _TURN_COMMANDS == 0 or self.must_pause:
                await self.take_turns()

    async def leave(self) -> None:
        """Drop an open transaction and give the place back."""
        try:
            await self.abandon()
            if self._owed:
                self._answered(heard=False)
        finally:
            if self._slot is not None:
                self.listener.shared.leave(self._slot)
                self.listener.note(Event.DISCONNECTED)

    def _answered(self, *, heard: bool) -> None:
        self._owed = False
        try:
            self.listener.door.answered(self.client, heard=heard)
        except Exception:
            log.exception("session %s: the door failed", self.client.id)
            self.listener.note(Event.BUG)

    def hung_up(self, reply: Reply | None) -> None:
        """Count why."""
        if reply in (replies.TIMED_OUT, replies.DATA_TIMED_OUT):
            self.listener.note(Event.TIMED_OUT)
        elif reply in (replies.TOO_MANY_ERRORS, replies.TOO_MUCH_JUNK, replies.BROKEN_LINE):
            self.listener.note(Event.TOO_MANY_ERRORS)

    def tls_failed(self) -> None:
        """Count it."""
        self.listener.note(Event.TLS_FAILED)

    def _command(self, line: Line) -> Awaitable[None]:
        """Return what runs a line."""
        if line.fault:
            if line.fault & FATAL:
                raise HangUp(replies.BROKEN_LINE)
            return self.wrong(replies.LINE_TOO_LONG)
        verb, _, argument = line.data.partition(b" ")
        run = self.commands.get(verb) or self.commands.get(verb.upper())
        if run is None:
            if verb.upper() in _NOT_SMTP:
                raise HangUp(replies.NOT_HTTP)
            return self.wrong(replies.BAD_COMMAND)
        if len(line.data) > grammar.COMMAND_OCTETS and verb.upper() != b"AUTH":
            return self.wrong(replies.LINE_TOO_LONG)
        return run(self, argument)

    async def wrong(self, reply: Reply) -> None:
        """Refuse a command; errors get slow, then end the session."""
        self.say(reply)
        self._errors += 1
        settings = self.listener.settings
        if self._errors >= settings.errors_hard:
            raise HangUp(replies.TOO_MANY_ERRORS)
        if self._errors >= settings.errors_soft:
            self.flush()
            await asyncio.sleep(_PENALTY_SECONDS)

    async def answer(self, reply: Reply) -> None:
        """Give the door's answer; strangers' refusals count as errors, customers' do not."""
        if reply.ok or self.client.login is not None:
            self.say(reply)
        else:
            await self.wrong(reply)

    def _idle_run(self) -> None:
        self._junk += 1
        if self._junk > self.listener.settings.junk:
            raise HangUp(replies.TOO_MUCH_JUNK)

    async def ask(self, question: Awaitable[Reply]) -> Reply:
        """Ask the door; whatever goes wrong there is our bug and the client's 451."""
        try:
            return await question
        except auth.Busy:
            return replies.LOGIN_BUSY
        except Exception:
            log.exception("session %s: the door failed", self.client.id)
            self.listener.note(Event.BUG)
            return replies.BUG

    async def abandon(self) -> None:
        """Drop an open transaction; harmless without one."""

    async def tell(self, news: Awaitable[None]) -> None:
        """Tell the door something that it does not answer."""
        try:
            await news
        except Exception:
            log.exception("session %s: the door failed", self.client.id)
            self.listener.note(Event.BUG)

    # greeting and small talk

    async def smtp_EHLO(self, argument: bytes) -> None:
        """Introduce the client and list the extensions (RFC 5321 §4.1.1.1)."""
        if await self._greeted(argument):
            login = self.client.login is None
            self._out.append(self.listener.ehlo(tls=bool(self.tls_version), login=login))

    async def smtp_HELO(self, argument: bytes) -> None:
        """Introduce a client without extensions."""
        if await self._greeted(argument):
            self._out.append(self.listener.helo)

    async def _greeted(self, argument: bytes) -> bool:
        self._idle_run()
        name = grammar.helo(argument)
        if isinstance(name, Reply):
            await self.wrong(name)
            return False
        await self.abandon()
        self.client.helo = name
        return True

    async def smtp_NOOP(self, argument: object) -> None:
        """Do nothing."""
        del argument
        self._idle_run()
        self.say(replies.DONE)

    async def smtp_RSET(self, argument: bytes) -> None:
        """Drop the transaction."""
        self._idle_run()
        if argument:
            return await self.wrong(replies.NO_ARGUMENT)
        await self.abandon()
        return self.say(replies.DONE)

    async def smtp_VRFY(self, argument: bytes) -> None:
        """Answer the same for every address."""
        self._idle_run()
        if not argument:
            return await self.wrong(replies.ARGUMENT_MISSING)
        return self.say(replies.CANNOT_VERIFY)

    async def smtp_EXPN(self, argument: object) -> None:
        """Have no lists to show."""
        del argument
        self._idle_run()
        await self.wrong(replies.NOT_HERE)

    async def smtp_HELP(self, argument: object) -> None:
        """Say whom to ask."""
        del argument
        self._idle_run()
        self.say(replies.HELP)

    async def smtp_QUIT(self, argument: bytes) -> None:
        """End the session."""
        if argument:
            return await self.wrong(replies.NO_ARGUMENT)
        raise HangUp(replies.BYE)

    # TLS and login

    async def smtp_STARTTLS(self, argument: bytes) -> None:
        """Switch TLS on and forget what was said before (RFC 3207 §4.2)."""
        if argument:
            return await self.wrong(replies.NO_ARGUMENT)
        if self.tls_version:
            return await self.wrong(replies.TLS_ALREADY)
        if self.listener.certificate is None:
            return await self.wrong(replies.NOT_HERE)
        if self.frames.waiting:
            raise HangUp(None)
        await self.abandon()
        self.client.helo = ""
        self.say(replies.START_TLS)
        await self.start_tls()
        self.client.tls = self.tls_version
        return None

    async def smtp_AUTH(self, argument: bytes) -> None:
        """Log in by PLAIN or LOGIN (RFC 4954), under TLS only."""
        refusal = self._no_login_now()
        if refusal is not None:
            return await self.wrong(refusal)
        mechanism, _, initial = argument.partition(b" ")
        name = mechanism.upper().decode("ascii", "replace")
        if name not in ("PLAIN", "LOGIN"):
            return await self.wrong(replies.NO_SUCH_MECHANISM if argument else replies.ARGUMENT_MISSING)
        given = await (self._ask_plain(initial) if name == "PLAIN" else self._ask_login(initial))
        if isinstance(given, Reply):
            return await self.wrong(given)
        return await self._log_in(given, name)

    def _no_login_now(self) -> Reply | None:
        if not self.listener.door.needs_login:
            return replies.NOT_HERE
        if not self.tls_version:
            return replies.LOGIN_NEEDS_TLS
        if not self.client.helo:
            return replies.SAY_HELLO_FIRST
        if self.client.login is not None:
            return replies.LOGIN_TWICE
        return replies.LOGIN_IN_MAIL if self.in_flight else None

    async def _ask_plain(self, initial: bytes) -> auth.Login | Reply:
        response = auth.decode(initial) if initial else await self._prompt(b"334 \r\n")
        return response if isinstance(response, Reply) else auth.plain(response)

    async def _ask_login(self, initial: bytes) -> auth.Login | Reply:
        user = auth.decode(initial) if initial else await self._prompt(b"334 VXNlcm5hbWU6\r\n")
        if isinstance(user, Reply):
            return user
        password = await self._prompt(b"334 UGFzc3dvcmQ6\r\n")
        return password if isinstance(password, Reply) else auth.login(user, password)

    async def _prompt(self, challenge: bytes) -> bytes | Reply:
        self._out.append(challenge)
        line = await self.next_line(self.listener.settings.greeting_seconds)
        if line.fault & FATAL:
            raise HangUp(replies.BROKEN_LINE)
        return replies.LINE_TOO_LONG if line.fault else auth.decode(line.data)

    async def _log_in(self, given: auth.Login, mechanism: str) -> None:
        failures, slot, name = self.listener.shared.failures, self._place, given.login.lower()
        if not slot.exempt:
            if failures.blocked(slot.client, name, monotonic()):
                self.listener.note(Event.LOGIN_BLOCKED)
                raise HangUp(replies.TOO_MANY_LOGIN_FAILURES)
            await asyncio.sleep(failures.delay(slot.client, name, monotonic()))
        answer_at = self.loop.time() + _WRONG_LOGIN_SECONDS
        door = self.listener.door
        reply = await self.ask(door.authenticate(self.client, given.login, given.password, mechanism))
        if reply.ok:
            return self._logged_in(given)
        if reply.temporary:
            return self.say(reply)
        await asyncio.sleep(answer_at - self.loop.time())
        self.listener.note(Event.LOGIN_FAILED)
        if failures.failed(slot.client, name, given.password, monotonic()):
            self.listener.note(Event.LOGIN_GUESSED)
            door.guessed(self.client, given.login)
        self._login_failures += 1
        self.say(reply)
        if self._login_failures >= self.listener.settings.auth_failures:
            raise HangUp(replies.TOO_MANY_LOGIN_FAILURES)
        return None

    def _logged_in(self, given: auth.Login) -> None:
        slot = self._place
        login = self.client.login or given.login
        refusal = self.listener.shared.log_in(slot, login)
        if refusal is not None:
            self.client.login = None
            raise HangUp(refusal)
        self.client.login = login
        self.listener.shared.failures.succeeded(slot.client, given.login.lower(), monotonic())
        self.listener.note(Event.LOGGED_IN)
        self._junk = self._errors = 0
        self.say(replies.LOGGED_IN)

    @property
    def _place(self) -> Slot:
        if self._slot is None:
            raise HangUp(None)
        return self._slot
