"""clamd and rspamd, spoken to over real sockets on loopback; the far ends speak the daemons' protocols."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from screening.mail import Mail
from screening.scanners.clamd import Clamd, Connect
from screening.scanners.guard import Unavailable
from screening.scanners.rspamd import Rspamd
from screening.tuning.examples import envelope
from tests.screening.mails import body

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def daemon(serve: Serve) -> AsyncIterator[Connect]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    async with server:
        yield connect


def clamd_answering(reply: bytes, got: list[bytes]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(10) == b"zINSTREAM\0"
        data = b""
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            data += await reader.readexactly(size)
        got.append(data)
        writer.write(reply)
        await writer.drain()
        writer.close()

    return serve


@pytest.mark.parametrize(
    ("reply", "evidence"),
    [(b"stream: OK\0", None), (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", "Win.Test.EICAR_HDB-1")],
)
async def test_clamd_gets_the_whole_message(reply: bytes, evidence: str | None) -> None:
    got: list[bytes] = []
    mail = body(b"x" * 200_000)
    async with daemon(clamd_answering(reply, got)) as connect:
        hits = await Clamd(connect).ask(mail)
    assert got == [mail.raw]
    assert [hit.evidence for hit in hits] == ([evidence] if evidence else [])


@pytest.mark.parametrize("reply", [b"", b"INSTREAM size limit exceeded. ERROR\0", b"nonsense"])
async def test_any_other_answer_of_clamd_is_no_answer(reply: bytes) -> None:
    async with daemon(clamd_answering(reply, [])) as connect:
        with pytest.raises(Unavailable):
            await Clamd(connect).ask(body(b"hello"))


def rspamd_answering(reply: bytes, got: list[bytes]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")).split(b":")[1]
        )
        got.extend([head, await reader.readexactly(length)])
        writer.write(reply)
        await writer.drain()
        writer.close()

    return serve


def http(answer: object, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{json.dumps(answer)}".encode()


async def test_rspamd_is_a_bounded_second_opinion() -> None:
    got: list[bytes] = []
    answer = {
        "score": 30.0,
        "symbols": {"PHISHING": {"score": 5.0}, "HAM": {"score": -1.0}, "BAYES": {"score": 6.0}},
    }
    mail = body(b"hello")
    async with daemon(rspamd_answering(http(answer), got)) as connect:
        hits = await Rspamd(connect).ask(mail)
    assert [(hit.rule, hit.score, hit.evidence) for hit in hits] == [("rspamd", 6.0, "BAYES, PHISHING")]
    assert got[1] == mail.raw
    assert got[0].startswith(b"POST /checkv2 HTTP/1.1\r\n")


async def test_rspamd_with_nothing_against_a_mail_adds_nothing() -> None:
    async with daemon(rspamd_answering(http({"score": -2.5}), [])) as connect:
        assert await Rspamd(connect).ask(body(b"hello")) == ()


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 200 OK\r\n\r\n{", http([1]), http({"score": "x"}), http({"score": 1}, "500 Oops")],
)
async def test_any_other_answer_of_rspamd_is_no_answer(reply: bytes) -> None:
    async with daemon(rspamd_answering(reply, [])) as connect:
        with pytest.raises(Unavailable):
            await Rspamd(connect).ask(body(b"hello"))


async def test_no_address_can_write_a_header_of_the_request() -> None:
    got: list[bytes] = []
    mail = Mail(envelope(("a@b.example\r\nX-Evil: 1", "c@d.example")), body(b"hello").raw)
    async with daemon(rspamd_answering(http({"score": 0}), got)) as connect:
        await Rspamd(connect).ask(mail)
    assert b"Evil" not in got[0]
    assert b"Rcpt: c@d.example" in got[0]
