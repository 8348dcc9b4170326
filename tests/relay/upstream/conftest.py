from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
import uvloop

from relay.config import UpstreamConfig
from relay.upstream.pool import Pool
from tests.relay.upstream.fake import FakeServer


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both loops: their transports are not of one class, and report unsent bytes each in its way."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().running() as fake:
        yield fake
        assert fake.violations == []


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(UpstreamConfig(), "gate.example")
    yield pool
    await pool.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "mail.acme.example").configure_cert(context)
    return context
