"""A strict recording SMTP server: notes every byte, refuses none by itself, answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relay.model import Tls
from relay.upstream.route import Route
from tests.steady import steady

if TYPE_CHECKING:
    import ssl

#: What an answer may be: bytes as they go out, or one of the acts below.
Answer = bytes | str
DROP = "drop"  #: close the connection instead of answering
RESET = "reset"  #: abort it (RST)
SILENT = "silent"  #: never answer


@dataclass
class Message:
    """One message as it came."""

    connection: int
    mail: str
    rcpts: list[str]
    data: bytes
    login: str


@dataclass
class FakeServer:
    """Listens on loopback; `answers` maps a verb (or "GREETING", "DOT") to what is said instead of yes.

    A list is used up one answer each; None in it means the ordinary answer.
    """

    extensions: tuple[str, ...] = (
        "PIPELINING",
        "8BITMIME",
        "SIZE 1000000",
        "DSN",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
    )
    logins: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    answers: dict[str, list[Answer | None] | Answer] = field(default_factory=dict)
    after_starttls: bytes = b""
    gate: asyncio.Event | None = None
    #: recipients whose address holds this are refused
    refused: str = ""
    commands: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    bodies: int = 0
    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    readers: list[asyncio.StreamReader] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeServer]:
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.tls if self.implicit else None, limit=1 << 26
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.hang_up()
            for (
                reader
            ) in self.readers:  # uvloop does not tell a stream whose handshake failed that it is over
                if not reader.at_eof():
                    reader.feed_eof()
            await until(lambda: self.open == 0)

    def hang_up(self) -> None:
        """Close every connection from this side."""
        for writer in self.writers:
            with suppress(OSError):
                writer.transport.abort()

    def route(self, **values: object) -> Route:
        defaults: dict[str, object] = {"key": f"server {self.port}", "hosts": (f"127.0.0.1:{self.port}",)}
        defaults["tls"] = Tls.IMPLICIT if self.implicit else Tls.STARTTLS if self.tls else Tls.NONE
        return Route(**{**defaults, **values})  # type: ignore[arg-type]

    def verbs(self) -> list[str]:
        """Return the commands' first words, in order."""
        return [command.split(" ")[0].split(":")[0] for command in self.commands]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.writers.append(writer)
        self.readers.append(reader)
        try:
            await _Dialog(self, reader, writer, self.connections).run()
        except (ConnectionError, asyncio.IncompleteReadError, _HangUp, TimeoutError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort() if not writer.is_closing() else None

    def special(self, verb: str) -> Answer | None:
        """Return what to say to `verb` instead of the ordinary answer."""
        given = self.answers.get(verb)
        if isinstance(given, list):
            return given.pop(0) if given else None
        return given


class _HangUp(Exception):
    pass


class _Dialog:
    def __init__(
        self, server: FakeServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.server, self.reader, self.writer, self.number = server, reader, writer, number
        self.mail = ""
        self.rcpts: list[str] = []
        self.login = ""
        self.secure = server.implicit

    async def run(self) -> None:
        await self.answer("GREETING", b"220 fake.example ESMTP\r\n")
        while True:
            line = await self.line()
            self.server.commands.append(line)
            verb = re.split(r"[ :]", line)[0].upper()
            await getattr(self, f"do_{verb.lower()}", self.unknown)(line)

    async def line(self) -> str:
        raw = await self.reader.readuntil(b"\r\n")
        if re.search(rb"[\r\n\0]", raw[:-2]):
            self.server.violations.append(f"bare CR, LF or NUL in {raw!r}")
        return raw[:-2].decode("utf-8", "surrogateescape")

    async def answer(self, verb: str, ordinary: bytes) -> bool:
        said = self.server.special(verb)
        if said == DROP:
            self.writer.close()
            raise _HangUp
        if said == RESET:
            self.writer.transport.abort()
            raise _HangUp
        if said == SILENT:
            await self.reader.read()
            raise _HangUp
        self.writer.write(said.encode() if isinstance(said, str) else said if said is not None else ordinary)
        await self.writer.drain()
        return said is None

    async def unknown(self, line: str) -> None:
        await self.answer(line.split(" ")[0], b"500 5.5.2 what?\r\n")

    async def do_ehlo(self, _line: str) -> None:
        offered = [*self.server.extensions]
        if self.server.tls and not self.secure:
            offered.append("STARTTLS")
        if self.server.logins:
            offered.append("AUTH PLAIN LOGIN")
        lines = ["fake.example", *offered]
        text = "".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}\r\n" for n, line in enumerate(lines))
        await self.answer("EHLO", text.encode())

    async def do_helo(self, _line: str) -> None:
        await self.answer("HELO", b"250 fake.example\r\n")

    async def do_starttls(self, _line: str) -> None:
        assert self.server.tls is not None
        if not await self.answer("STARTTLS", b"220 2.0.0 go\r\n"):
            raise _HangUp
        self.writer.write(self.server.after_starttls)
        before = self.writer.transport
        try:
            await self.writer.start_tls(self.server.tls)
        finally:
            if self.writer.transport is None:  # a failed handshake leaves a writer that cannot be deleted
                self.writer._transport = before
        self.secure = True

    async def do_auth(self, line: str) -> None:
        mechanism, _, first = line[5:].partition(" ")
        if mechanism == "PLAIN":
            login, password = base64.b64decode(first).decode().split("\0")[1:]
        else:
            self.writer.write(b"334 VXNlcm5hbWU6\r\n")
            login = base64.b64decode(await self.line()).decode()
            self.writer.write(b"334 UGFzc3dvcmQ6\r\n")
            password = base64.b64decode(await self.line()).decode()
        if self.server.logins.get(login) != password:
            await self.answer("AUTH", b"535 5.7.8 no\r\n")
        elif await self.answer("AUTH", b"235 2.7.0 ok\r\n"):
            self.login = login

    async def do_xclient(self, _line: str) -> None:
        self.login = ""
        await self.answer("XCLIENT", b"220 fake.example ESMTP\r\n")

    async def do_xforward(self, _line: str) -> None:
        await self.answer("XFORWARD", b"250 2.0.0 ok\r\n")

    async def do_mail(self, line: str) -> None:
        if self.mail:
            self.writer.write(b"503 5.5.1 nested MAIL\r\n")
            self.server.violations.append("nested MAIL")
        elif await self.answer("MAIL", b"250 2.1.0 ok\r\n"):
            self.mail, self.rcpts = line, []

    async def do_rcpt(self, line: str) -> None:
        if not self.mail:
            await self.answer("RCPT", b"503 5.5.1 MAIL first\r\n")
        elif self.server.refused and self.server.refused in line:
            self.writer.write(b"550 5.1.1 no such user\r\n")
        elif await self.answer("RCPT", b"250 2.1.5 ok\r\n"):
            self.rcpts.append(line)

    async def do_rset(self, _line: str) -> None:
        self.mail = ""
        await self.answer("RSET", b"250 2.0.0 ok\r\n")

    async def do_noop(self, _line: str) -> None:
        await self.answer("NOOP", b"250 2.0.0 ok\r\n")

    async def do_quit(self, _line: str) -> None:
        await self.answer("QUIT", b"221 2.0.0 bye\r\n")
        self.writer.close()
        raise _HangUp

    async def do_data(self, _line: str) -> None:
        if not self.rcpts:
            self.server.violations.append("DATA without recipients")
        if not await self.answer("DATA", b"354 go\r\n"):
            return
        body = b""
        while not (body == b".\r\n" or body.endswith(b"\r\n.\r\n")):
            body += await self.reader.readuntil(b".\r\n")
        raw = body[:-3]
        if re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw):
            self.server.violations.append("bare CR, LF or NUL in the body")
        message = Message(self.number, self.mail, self.rcpts, re.sub(rb"(?m)^\.", b"", raw), self.login)
        self.mail = ""
        self.server.bodies += 1
        if self.server.gate is not None:
            await self.server.gate.wait()
        special = self.server.answers.get("DOT")
        if special is None or (isinstance(special, list) and (not special or special[0] is None)):
            self.server.messages.append(message)
        await self.answer("DOT", b"250 2.0.0 queued as F00D\r\n")


async def until(fact: Callable[[], object], seconds: float = 60.0) -> None:
    """Return as soon as `fact()` is true; AssertionError if it stays false."""
    end = steady() + seconds
    while not fact():
        assert steady() < end, "it never became true"
        await asyncio.sleep(0.002)
