"""A live listener on loopback with a small door, and a client that speaks in bytes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from relay.config import Config, parse
from relay.smtp import reply as replies
from relay.smtp.connections import Connections
from relay.smtp.listener import Event, Listener
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from relay.smtp.content import Content
    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from relay.smtp.tls import Certificate

LOGIN, PASSWORD = "user@example.org", "correct horse"
PATIENCE_SECONDS = 60.0


@dataclass
class Message:
    """What the door took."""

    sender: str
    recipients: tuple[str, ...]
    text: bytes
    mail: MailFrom
    rcpt: tuple[RcptTo, ...]
    login: str | None


@dataclass
class SmallDoor:
    """Takes everything from its one account and remembers it; tests set the hooks."""

    needs_login: bool = True
    messages: list[Message] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    heard: list[bool] = field(default_factory=list)
    #: asked before the usual answer; a Reply replaces it
    on_mail: Callable[[MailFrom], Reply | None] = lambda _: None
    on_rcpt: Callable[[RcptTo], Reply | None] = lambda _: None
    on_data: Callable[[], Reply | None] = lambda: None
    #: while cleared, `data` waits
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def authenticate(self, session: Session, login: str, password: str, mechanism: str) -> Reply:
        self.calls.append(f"authenticate {mechanism} {login}")
        del session
        return replies.LOGGED_IN if (login, password) == (LOGIN, PASSWORD) else replies.BAD_LOGIN

    def guessed(self, session: Session, login: str) -> None:
        del session
        self.calls.append(f"guessed {login}")

    async def mail(self, session: Session, command: MailFrom) -> Reply:
        self.calls.append("mail")
        reply = self.on_mail(command)
        session.notes = (command, [])
        return reply or replies.SENDER_OK

    async def rcpt(self, session: Session, command: RcptTo) -> Reply:
        self.calls.append("rcpt")
        reply = self.on_rcpt(command)
        if reply is None:
            session.notes[1].append(command)
        return reply or replies.RECIPIENT_OK

    async def slow(self, session: Session) -> None:
        del session
        self.calls.append("slow")

    async def data(self, session: Session, content: Content) -> Reply:
        self.calls.append("data")
        self.entered.set()
        await self.gate.wait()
        reply = self.on_data()
        if reply is not None:
            return reply
        mail, rcpt = session.notes
        recipients = tuple(command.recipient for command in rcpt)
        self.messages.append(
            Message(mail.sender, recipients, content.read(), mail, tuple(rcpt), session.login)
        )
        return replies.DONE

    async def abandon(self, session: Session) -> None:
        session.notes = None
        self.calls.append("abandon")

    def answered(self, session: Session, *, heard: bool) -> None:
        del session
        self.heard.append(heard)


class Client:
    """Speaks bytes and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._plain = bytearray()
        self.certificate: Any = None

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1", source: str | None = None) -> Self:
        local = (source, 0) if source else None
        return cls(*await asyncio.open_connection(host, port, local_addr=local, limit=2**20))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self.writer.wait_closed(), 2)

    async def send(self, data: bytes) -> None:
        """Send as one segment."""
        if self._tls is None:
            self.writer.write(data)
        else:
            self._tls.write(data)
            self.writer.write(self._out.read())
        await self.writer.drain()

    async def line(self) -> bytes:
        """Return one line with its CRLF; empty at the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            if self._tls is None:
                try:
                    return await self.reader.readline()
                except ConnectionError:
                    return b""
            while b"\n" not in self._plain:
                try:
                    clear = self._tls.read(65536)
                    if not clear:
                        return b""
                    self._plain += clear
                except ssl.SSLWantReadError:
                    data = await self.reader.read(65536)
                    if not data:
                        return b""
                    self._in.write(data)
                except ssl.SSLError:
                    return b""
            end = self._plain.index(b"\n") + 1
            line = bytes(self._plain[:end])
            del self._plain[:end]
            return line

    async def reply(self) -> str:
        """Return one reply, its lines joined by LF, checked for FR-52; empty at the end."""
        lines: list[str] = []
        while True:
            raw = await self.line()
            if not raw:
                assert not lines, "cut in the middle of a reply"
                return ""
            assert re.fullmatch(rb"[2-5]\d\d[ -][ -~]*\r\n", raw), raw
            assert len(raw) <= 512, len(raw)
            lines.append(raw[:-2].decode("ascii"))
            if raw[3:4] == b" ":
                return "\n".join(lines)

    async def ask(self, command: bytes | str) -> str:
        """Send a command line, return its reply."""
        await self.send((command.encode() if isinstance(command, str) else command) + b"\r\n")
        return await self.reply()

    async def expect(self, command: bytes | str, *codes: str) -> str:
        """Ask, and require the reply to begin with one of `codes`."""
        reply = await self.ask(command)
        assert reply.startswith(codes), (command, reply)
        return reply

    async def ended(self) -> bool:
        """Tell whether the server closes the connection, swallowing what it still says."""
        while await self.line():
            pass
        return True

    async def handshake(
        self, context: ssl.SSLContext, name: str = "localhost", then: bytes = b"", before: bytes = b""
    ) -> None:
        """Switch TLS on; `before` and `then` share a segment with its first and its last octets."""
        tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self.writer.write(before + self._out.read())
                    before = b""
                    data = await self.reader.read(65536)
                    if not data:
                        raise ConnectionResetError("closed during the handshake") from None
                    self._in.write(data)
        if then:
            tls.write(then)
        self.writer.write(self._out.read())
        self._tls = tls
        self.certificate = tls.getpeercert()

    async def login(self, context: ssl.SSLContext) -> None:
        """Greeting, STARTTLS, EHLO, AUTH."""
        assert (await self.reply()).startswith("220")
        await self.expect("EHLO client.example", "250")
        await self.expect("STARTTLS", "220")
        await self.handshake(context)
        await self.expect("EHLO client.example", "250")
        await self.expect(b"AUTH PLAIN " + plain(), "235")

    async def open_message(self, recipient: str = "b@example.net") -> None:
        """MAIL, RCPT, DATA."""
        await self.expect("MAIL FROM:<user@example.org>", "250")
        await self.expect(f"RCPT TO:<{recipient}>", "250")
        await self.expect("DATA", "354")


def plain(login: str = LOGIN, password: str = PASSWORD) -> bytes:
    """Return the initial response of AUTH PLAIN."""
    return base64.b64encode(b"\0" + login.encode() + b"\0" + password.encode())


@dataclass
class Service:
    """A door, its listener, and where it listens."""

    door: SmallDoor
    listener: Listener
    port: int
    context: ssl.SSLContext
    shared: Connections
    events: list[Event]
    clients: list[Client] = field(default_factory=list)

    async def connect(self, source: str | None = None) -> Client:
        client = await Client.connect(self.port, source=source)
        self.clients.append(client)
        return client

    async def client(self) -> Client:
        """Return a client that is logged in (or greeted, where no login is needed)."""
        client = await self.connect()
        if self.door.needs_login:
            await client.login(self.context)
        else:
            assert (await client.reply()).startswith("220")
            await client.expect("EHLO client.example", "250")
        return client


class Services:
    """Starts services and ends them all."""

    def __init__(self, certificate: Certificate, context: ssl.SSLContext, folder: Path) -> None:
        self._certificate, self._context, self._folder = certificate, context, folder
        self._started: list[Service] = []

    def config(self, limits: str = "", rest: str = "") -> Config:
        return parse(f"{rest}\n[limits]\n{limits}\n", self._folder)

    async def start(self, limits: str = "", rest: str = "", **options: Any) -> Service:
        config = self.config(limits, rest)
        shared = Connections(config.limits)
        door = options.pop("door", None) or SmallDoor()
        name = options.pop("name", "submission")
        certificate = options.pop("certificate", self._certificate)
        events: list[Event] = []
        listener = Listener(
            door,
            name,
            config,
            certificate,
            shared=shared,
            events=lambda event, _: events.append(event),
            **options,
        )
        sock = socket.create_server(("127.0.0.1", 0))
        await listener.start(sock)
        service = Service(door, listener, sock.getsockname()[1], self._context, shared, events)
        self._started.append(service)
        return service

    async def stop(self) -> None:
        for service in self._started:
            service.door.gate.set()
            for client in service.clients:
                client.writer.transport.abort()
            await service.listener.drain(2.0)


async def served_within(service: Service, seconds: float) -> None:
    """Another client gets its greeting and an answer."""
    started = steady()
    async with asyncio.timeout(PATIENCE_SECONDS):
        other = await service.connect()
        assert (await other.reply()).startswith("220")
        await other.expect("NOOP", "250")
    await other.close()
    assert steady() - started < seconds
