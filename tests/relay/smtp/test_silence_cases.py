"""CASES group RE on a live port: clients that say nothing, or say it slowly, and who waits for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay.smtp import wire
from relay.smtp.session import Event
from tests.relay.smtp.harness import served_within
from tests.relay.upstream.fake import until
from tests.steady import steady

if TYPE_CHECKING:
    import pytest

    from tests.relay.smtp.harness import Service, Services


async def test_re_05_silent_clients_delay_nobody(service: Service) -> None:
    silent = [await service.connect() for _ in range(400)]
    await served_within(service, 2)
    for client in silent:
        client.writer.close()


async def test_re_06_dripping_clients_delay_nobody(service: Service) -> None:
    clients = [await service.connect() for _ in range(100)]
    for octet in b"EHLO drip.example":
        for client in clients:
            client.writer.write(bytes([octet]))
        await served_within(service, 2)
    for client in clients:
        client.writer.close()


async def test_re_22_silence_in_data_is_cut(services: Services) -> None:
    service = await services.start('data_timeout = "200ms"')
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: a\r\n")
        assert (await client.reply()).startswith("421 4.4.2")
        assert await client.ended()
    assert service.door.messages == []
    assert service.events.count(Event.TIMED_OUT) == 1


async def test_re_23_silence_is_cut_by_state(services: Services) -> None:
    service = await services.start('greeting_timeout = "200ms"\ncommand_timeout = "900ms"')
    loop = asyncio.get_running_loop()
    async with await service.connect() as client:
        await client.reply()
        started, steadily = loop.time(), steady()
        await client.send(b"EH")  # a byte now and then buys no time
        assert (await client.reply()).startswith("421 4.4.2")
        assert loop.time() - started > 0.15
        assert steady() - steadily < 0.7
    async with await service.client() as client:
        started, steadily = loop.time(), steady()
        assert (await client.reply()).startswith("421 4.4.2")
        assert loop.time() - started > 0.8
        assert steady() - steadily < 2


async def test_a_slow_door_is_never_cut(services: Services) -> None:
    """Timeouts bind the client, not the commit."""
    service = await services.start(
        'command_timeout = "100ms"\ndata_timeout = "100ms"\ngreeting_timeout = "5s"'
    )
    service.door.gate.clear()
    async with await service.client() as client:
        await client.open_message()
        await client.send(b"Subject: a\r\n\r\n.\r\n")
        await service.door.entered.wait()
        await asyncio.sleep(0.4)
        service.door.gate.set()
        assert (await client.reply()).startswith("250")


async def test_a_client_that_falls_silent_in_a_message_keeps_nothing_scarce(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After MAIL or RCPT, not only in DATA: the door hears of each silence once."""
    monkeypatch.setattr(wire, "SLOW_SECONDS", 0.05)
    async with await service.client() as client:
        await client.expect("NOOP", "250")
        assert "slow" not in service.door.calls
        await client.expect("MAIL FROM:<user@example.org>", "250")
        await until(lambda: service.door.calls.count("slow") == 1)
        await client.expect("RCPT TO:<b@example.net>", "250")
        await until(lambda: service.door.calls.count("slow") == 2)
        await client.expect("NOOP", "250")
