"""CASES group RE on a live port: limits, fairness, and what a lost client may cost."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
from typing import TYPE_CHECKING

import pytest

from relay.smtp import reply as replies
from relay.smtp import server
from relay.smtp.session import Event
from tests.relay.smtp.harness import SmallDoor, served_within
from tests.relay.upstream.fake import until

if TYPE_CHECKING:
    from relay.smtp.content import Content
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from tests.relay.smtp.harness import Client, Service, Services


def reset(client: Client) -> None:
    """Close with RST."""
    raw = client.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


def shutdown(client: Client) -> None:
    """Close the sending half, below TLS."""
    with socket.socket(fileno=os.dup(client.writer.get_extra_info("socket").fileno())) as raw:
        raw.shutdown(socket.SHUT_WR)


async def test_re_01_unknown_commands_end_the_session(services: Services) -> None:
    service = await services.start("errors_soft = 10")
    async with await service.connect() as client:
        await client.reply()
        await client.send(b"FOO\r\n" * 100)
        answers = [await client.reply() for _ in range(11)]
        assert [answer[:3] for answer in answers] == ["500"] * 10 + ["421"]
        assert await client.ended()
    assert service.events.count(Event.TOO_MANY_ERRORS) == 1


async def test_re_01_errors_get_slow(services: Services) -> None:
    service = await services.start("errors_soft = 2")
    loop = asyncio.get_running_loop()
    async with await service.connect() as client:
        await client.reply()
        await client.expect("FOO", "500")
        started = loop.time()
        await client.expect("FOO", "500")
        await client.expect("NOOP", "250")
        assert loop.time() - started > 0.9


@pytest.mark.parametrize("command", ["NOOP", "RSET", "EHLO x", "VRFY x", "HELP"])
async def test_re_02_idle_commands_end_the_session(services: Services, command: str) -> None:
    service = await services.start("junk_commands = 20")
    async with await service.connect() as client:
        await client.reply()
        await client.send(f"{command}\r\n".encode() * 2000)
        last = ""
        while answer := await client.reply():
            last = answer
        assert last.startswith("421 4.7.0")


async def test_re_02_a_message_buys_new_idle_commands(services: Services) -> None:
    service = await services.start("junk_commands = 3")
    async with await service.client() as client:
        for _ in range(4):
            await client.expect("NOOP", "250")
            await client.expect("RSET", "250")
            await client.open_message()
            await client.send(b"Subject: a\r\n\r\n.\r\n")
            assert (await client.reply()).startswith("250")


async def test_re_03_04_a_thousand_recipients_and_no_more(service: Service) -> None:
    async with await service.client() as client:
        await client.expect("MAIL FROM:<user@example.org>", "250")
        await client.send(b"".join(b"RCPT TO:<r%d@example.net>\r\n" % number for number in range(1001)))
        answers = [await client.reply() for _ in range(1001)]
        assert {answer[:9] for answer in answers[:1000]} == {"250 2.1.5"}
        assert answers[1000].startswith("452 4.5.3")
        await client.expect("DATA", "354")
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")
    assert len(service.door.messages[0].recipients) == 1000


async def test_re_07_a_reset_in_data_sends_nothing(service: Service) -> None:
    for number in range(20):
        client = await service.client()
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\n" + b"x\r\n" * number)
        reset(client)
    await until(lambda: service.shared.open == 0)
    assert service.door.messages == []
    assert service.door.calls.count("abandon") == 20


async def test_re_17_18_floods_delay_nobody(open_service: Service) -> None:
    """300,000 NOOPs of a client that never reads, and 8 MB in short lines."""
    flooder = await open_service.connect()
    flooder.writer.write(b"NOOP\r\n" * 300_000)
    writer = await open_service.client()
    await writer.open_message()
    writer.writer.write((b"x" * 58 + b"\r\n") * 140_000)
    for _ in range(20):
        await served_within(open_service, 1)
    await writer.send(b".\r\n")
    assert (await writer.reply()).startswith("250")
    assert len(open_service.door.messages[0].text) == 60 * 140_000
    await writer.close()
    await flooder.close()


async def test_re_18_replies_that_nobody_reads_stop_the_reading(services: Services) -> None:
    service = await services.start("junk_commands = 10000000")
    client = await service.connect()
    await client.reply()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.writer.write(b"NOOP\r\n" * 700_000)
    (wire,) = service.listener.wires
    await until(lambda: wire.stalled)
    await served_within(service, 2)
    assert wire.frames.waiting < 1_000_000
    reset(client)
    await until(lambda: not service.listener.wires)


async def test_re_20_all_connections_are_bounded(services: Services) -> None:
    service = await services.start("connections = 5")
    clients = [await service.connect() for _ in range(5)]
    for client in clients:
        await client.reply()
    async with await service.connect() as other:
        assert (await other.reply()).startswith("421 4.3.2")
        assert await other.ended()
    await clients[0].close()
    await until(lambda: service.shared.open == 4)
    await served_within(service, 2)
    for client in clients:
        client.writer.close()


async def test_re_21_connections_per_client_are_bounded(services: Services) -> None:
    service = await services.start("exempt = []\nconnections_per_client = 3")
    clients = [await service.connect() for _ in range(3)]
    for client in clients:
        assert (await client.reply()).startswith("220")
    async with await service.connect() as fourth:
        assert (await fourth.reply()).startswith("421 4.7.0")
    async with await service.connect(source="127.0.0.9") as elsewhere:
        assert (await elsewhere.reply()).startswith("220")
    # a login frees the place: an office behind one address is bounded by its accounts
    await clients[0].expect("EHLO client.example", "250")
    await clients[0].expect("STARTTLS", "220")
    await clients[0].handshake(service.context)
    await clients[0].expect("EHLO client.example", "250")
    await clients[0].expect(b"AUTH PLAIN AHVzZXJAZXhhbXBsZS5vcmcAY29ycmVjdCBob3JzZQ==", "235")
    async with await service.connect() as fourth:
        assert (await fourth.reply()).startswith("220")
    for client in clients:
        client.writer.close()


async def test_connections_per_minute_are_bounded(services: Services) -> None:
    service = await services.start("exempt = []\nconnections_per_minute = 5")
    for _ in range(5):
        async with await service.connect() as client:
            assert (await client.reply()).startswith("220")
    async with await service.connect() as client:
        assert (await client.reply()).startswith("421 4.7.0")


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_a_lost_client_does_not_stop_the_commit(service: Service, how: str) -> None:
    service.door.gate.clear()
    client = await service.client()
    await client.open_message()
    await client.send(b"Subject: a\r\n\r\n.\r\n")
    await service.door.entered.wait()
    if how == "reset":
        reset(client)
    elif how == "half-close":
        shutdown(client)
    else:
        await client.close()
    await asyncio.sleep(0.05)
    service.door.gate.set()
    await until(lambda: service.shared.open == 0)
    assert len(service.door.messages) == 1
    client.writer.close()


async def test_a_half_closed_client_gets_its_answers(open_service: Service) -> None:
    async with await open_service.client() as client:
        await client.send(
            b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nSubject: a\r\n\r\n.\r\nMAIL FROM:<>\r\n"
        )
        client.writer.write_eof()
        answers = [await client.reply() for _ in range(5)]
        assert [answer[:3] for answer in answers] == ["250", "250", "354", "250", "250"]
        assert await client.ended()
    assert len(open_service.door.messages) == 1


async def test_a_large_message_tells_the_door(service: Service) -> None:
    text = b"Subject: a\r\n\r\n" + (b"x" * 98 + b"\r\n") * 4000
    async with await service.client() as client:
        await client.open_message()
        await client.send(text + b".\r\n")
        assert (await client.reply()).startswith("250")
    assert service.door.calls.count("slow") == 1
    assert service.door.messages[0].text == text


async def test_re_26_large_messages_share_the_memory(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_ROOM_SECONDS", 0.1)
    service = await services.start("large_messages = 500000")
    service.door.gate.clear()
    first, second, small = [await service.client() for _ in range(3)]
    text = b"Subject: a\r\n\r\n" + (b"x" * 98 + b"\r\n") * 4000 + b".\r\n"
    await first.open_message()
    await first.send(text)
    await service.door.entered.wait()
    await second.open_message()
    await second.send(text)
    assert (await second.reply()).startswith("452 4.3.1")
    service.door.gate.set()
    assert (await first.reply()).startswith("250")
    for client in (second, small):
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250")


async def test_a_full_disk_is_452(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    async with await service.client() as client:
        await client.open_message()
        await client.send((b"x" * 98 + b"\r\n") * 4000 + b".\r\n")
        assert (await client.reply()).startswith("452 4.3.1")
        await client.expect("NOOP", "250")
    assert service.door.messages == []


async def test_nagle_is_off(service: Service) -> None:
    async with await service.client():
        (wire,) = service.listener.wires
        assert wire.transport is not None
        raw = wire.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_bug_is_451_with_constant_text(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SmallDoor):
        async def rcpt(self, session: Session, command: object) -> Reply:
            raise ValueError(f"db password is hunter2 {session} {command}")

        async def data(self, session: Session, content: Content) -> Reply:
            raise KeyError(f"hunter2 {session} {content}")

    service = await services.start(door=Broken())
    async with await service.client() as client:
        await client.expect("MAIL FROM:<user@example.org>", "250")
        reply = await client.ask("RCPT TO:<b@example.net>")
        assert reply == f"451 4.3.0 {replies.BUG.text}"
        await client.expect("RSET", "250")
        await client.expect("MAIL FROM:<user@example.org>", "250")
    assert "hunter2" in caplog.text  # inside only
    assert Event.BUG in service.events


async def test_a_bug_at_the_dot_resets_the_session(services: Services) -> None:
    class Broken(SmallDoor):
        async def data(self, session: Session, content: Content) -> Reply:
            raise KeyError(f"hunter2 {session} {content}")

    service = await services.start(door=Broken())
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("451 4.3.0")
        await client.open_message()
    assert "abandon" in service.door.calls


async def test_refused_recipients_of_a_customer_are_no_errors(service: Service) -> None:
    service.door.on_rcpt = lambda command: replies.make(550, "1.1", f"No {command.recipient}")
    async with await service.client() as client:
        await client.expect("MAIL FROM:<user@example.org>", "250")
        for number in range(30):
            await client.expect(f"RCPT TO:<r{number}@example.net>", "550 5.1.1")
        await client.expect("DATA", "503")


async def test_the_ehlo_answer(open_service: Service, service: Service) -> None:
    size = service.listener.settings.message_octets
    common = ["PIPELINING", f"SIZE {size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
    async with await service.connect() as client:
        await client.reply()
        offer = await client.ask("EHLO client.example")
        words = [line[4:] for line in offer.split("\n")]
        assert words == ["relay.example", *common, "LIMITS RCPTMAX=1000", "STARTTLS"]
        assert await client.ask("HELO client.example") == "250 relay.example"
        await client.expect("EHLO", "501")
        await client.expect("EHLO a b", "501")
    async with await service.client() as client:
        offer = await client.ask("EHLO client.example")
        assert [line[4:] for line in offer.split("\n")] == ["relay.example", *common, "LIMITS RCPTMAX=1000"]
    async with await open_service.connect() as client:
        await client.reply()
        await client.expect("EHLO [192.0.2.1]", "250")
        assert "AUTH" not in await client.ask("EHLO [IPv6:2001:db8::1]")
        await client.expect("AUTH PLAIN", "502")
