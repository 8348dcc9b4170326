"""A daemon with screening and signing on, between a client and a next hop that do as they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.catalogue.letters import LOGIN, B
from tests.service.harness import Relay
from tests.service.wire import Client, NextHop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[Relay]:
    with Relay(tmp_path_factory.mktemp("house")) as running:
        running.init()
        running.configure("limits", 'message_size = "1 MiB"')
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{hop.port}")
        running.run("customer", "add", "other", "--server", f"127.0.0.1:{hop.port}")
        running.account(LOGIN, "acme", "--sender", LOGIN, "--sender", "@acme.example")
        running.account(B.decode(), "other")
        yield running.start()


@pytest.fixture(autouse=True)
def _friendly(hop: NextHop) -> None:
    hop.friendly()


@pytest.fixture
def client(house: Relay) -> Iterator[Client]:
    with Client(house, LOGIN) as made:
        yield made
