from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.harness import CustomerServer, Relay
from tests.service.wire import NextHop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def customer() -> Iterator[CustomerServer]:
    with CustomerServer() as server:
        yield server


@pytest.fixture(scope="module")
def hop() -> Iterator[NextHop]:
    """A next hop that answers as it is told, to the byte."""
    server = NextHop()
    server.up()
    yield server
    server.down()


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    """A running relay with one customer, one person and one machine that may send as anybody."""
    folder: Path = tmp_path_factory.mktemp("relay")
    with Relay(folder) as running:
        running.init()
        running.run(
            "customer",
            "add",
            "acme",
            "--server",
            f"127.0.0.1:{customer.port}",
            "--contact",
            "owner@acme.example",
        )
        running.account("alice@acme.example", "acme")
        running.account("robot@acme.example", "acme", "--sender", "*")
        yield running.start()


@pytest.fixture(autouse=True)
def _friendly(customer: CustomerServer) -> None:
    """Forget what the test before told the customer's server."""
    customer.messages.clear()
    customer.replies.clear()
