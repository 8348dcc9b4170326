"""A server that shuts down or is configured anew, with sessions open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.relay.upstream.fake import until

if TYPE_CHECKING:
    from tests.relay.smtp.harness import Service, Services


async def test_drain_ends_idle_sessions_and_waits_for_messages(service: Service) -> None:
    idle = await service.client()
    busy = await service.client()
    await busy.open_message()
    done = asyncio.create_task(service.listener.drain(10))
    assert (await idle.reply()).startswith("421 4.3.2")
    assert await idle.ended()
    assert not done.done()
    await busy.send(b"Subject: a\r\n\r\n.\r\n")
    assert (await busy.reply()).startswith("250")
    assert (await busy.reply()).startswith("421 4.3.2")
    await asyncio.wait_for(done, 5)
    with pytest.raises(ConnectionError):
        await service.connect()
    assert len(service.door.messages) == 1
    await idle.close()
    await busy.close()


async def test_drain_gives_up_after_its_time(service: Service) -> None:
    stuck = await service.client()
    await stuck.open_message()
    await asyncio.wait_for(service.listener.drain(0.1), 5)
    assert await stuck.ended()
    await until(lambda: service.shared.open == 0)
    await stuck.close()


async def test_a_new_configuration_binds_open_sessions(services: Services) -> None:
    service = await services.start()
    async with await service.client() as client:
        service.listener.configure(services.config("message_size = 1000\nrecipients = 1"))
        offer = await client.ask("EHLO client.example")
        assert "SIZE 1000" in offer
        assert "LIMITS RCPTMAX=1" in offer
        await client.expect("MAIL FROM:<user@example.org> SIZE=1001", "552")
