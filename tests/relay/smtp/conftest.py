from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import trustme

from relay.smtp.tls import Certificate
from tests.relay.smtp.harness import Service, Services, SmallDoor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


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
