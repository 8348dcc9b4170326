"""The client against a server that we did not write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope

from relay.config import UpstreamConfig
from relay.upstream.pool import Pool
from relay.upstream.route import Route


class Sink:
    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 2.0.0 taken"


@pytest.fixture
async def peer() -> AsyncIterator[tuple[Sink, Route]]:
    sink = Sink()
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def factory() -> Any:
        made.append(SMTP(sink, hostname="peer.example", loop=loop, enable_SMTPUTF8=True))
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    yield sink, Route("peer", (f"127.0.0.1:{server.sockets[0].getsockname()[1]}",))
    server.close()
    for smtp in made:
        if smtp.transport is not None:
            smtp.transport.abort()


async def test_aiosmtpd_takes_our_mail(peer: tuple[Sink, Route]) -> None:
    sink, route = peer
    pool = Pool(UpstreamConfig(), "gate.example")
    body = b"Subject: x\r\n\r\n" + b".\r\n..x\r\n" * 50 + "déjà vu\r\n".encode()
    for _ in range(3):
        transaction = pool.transaction(route)
        mail, rcpt = await transaction.mail_rcpt(
            "té@acme.example", "b@there.example", size=500, smtputf8=True
        )
        assert (mail.ok, rcpt.ok) == (True, True)
        assert (await transaction.rcpt("c@there.example")).ok
        assert (await transaction.data([body])).ok
    assert [envelope.content for envelope in sink.envelopes] == [body] * 3
    assert sink.envelopes[0].rcpt_tos == ["b@there.example", "c@there.example"]
    assert pool.statistics()["opened"] == 1
    await pool.close()
