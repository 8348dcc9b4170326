from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import trustme
import uvloop

from relay.smtp.tls import Certificate
from tests.relay.smtp.harness import Service, Services, SmallDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

#: what touches the transport runs on both loops, the rest on the one that serves
BOTH_LOOPS = (
    "test_tls_cases",
    "test_proxy",
    "test_resource_cases",
    "test_silence_cases",
    "test_drain",
    "test_server",
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    del config
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.stem in BOTH_LOOPS:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def quiet_log(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No client, however it behaves, makes the log complain; only our own bugs and a full disk do."""
    yield
    if "bug" not in request.node.name and "disk" not in request.node.name:
        complaints = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in complaints] == []


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def pair(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    issued.private_key_pem.write_to_path(folder / "tls.key")
    return folder / "tls.crt", folder / "tls.key"


@pytest.fixture(scope="session")
def certificate(pair: tuple[Path, Path]) -> Certificate:
    return Certificate(*pair)


@pytest.fixture(scope="session")
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


@pytest_asyncio.fixture
async def services(
    certificate: Certificate, context: ssl.SSLContext, tmp_path: Path
) -> AsyncIterator[Services]:
    made = Services(certificate, context, tmp_path)
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def service(services: Services) -> Service:
    """Submission: TLS and login needed."""
    return await services.start()


@pytest_asyncio.fixture
async def open_service(services: Services) -> Service:
    """No login: what the feedback door is like."""
    return await services.start(door=SmallDoor(needs_login=False))
