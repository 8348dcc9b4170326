from __future__ import annotations

import pytest

from relay.config import UpstreamConfig
from relay.dns import Answer, Found, Resolver
from relay.upstream import guard
from relay.upstream.client import Unreachable, Unroutable
from relay.upstream.pool import Pool
from relay.upstream.route import Route
from tests.relay.upstream.fake import FakeServer


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "10.1.2.3", "192.168.0.1", "172.16.0.1",  # noqa: S104
        "100.64.0.1", "fc00::1", "fe80::1", "fe80::1%eth0", "::ffff:127.0.0.1", "::127.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "224.0.0.1", "ff02::1", "255.255.255.255",
        "192.0.2.1", "2001:db8::1", "nonsense",
    ],
)  # fmt: skip
def test_te_08_addresses_that_customers_may_not_name(address: str) -> None:
    assert guard.address_fault(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450:4001:82a::200e", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert guard.address_fault(address) == ""


def test_private_networks_of_the_configuration_are_allowed() -> None:
    allowed = guard.networks(["10.1.0.0/16", "fd00::/8"])
    assert guard.address_fault("10.1.9.9", allowed) == ""
    assert guard.address_fault("fd00::9", allowed) == ""
    assert guard.address_fault("::ffff:10.1.9.9", allowed) == ""
    assert guard.address_fault("10.2.0.1", allowed)


@pytest.mark.parametrize("port", [22, 80, 5432, 6379, 0, 8025])
def test_te_08_ports_that_customers_may_not_name(port: int) -> None:
    assert guard.port_fault(port)


HOSTS = ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "localhost.", "::ffff:127.0.0.1", "::1"]


@pytest.mark.parametrize("host", HOSTS)
async def test_te_08_a_customers_host_never_leads_inside(pool: Pool, server: FakeServer, host: str) -> None:
    name = f"[{host}]" if ":" in host else host
    ports = frozenset({server.port})
    inside = Pool(UpstreamConfig(), "gate.example", ports=ports)
    with pytest.raises(Unreachable):
        await inside.transaction(Route("x", (f"{name}:{server.port}",), trusted_hosts=False)).open()
    with pytest.raises(Unreachable):
        await pool.transaction(Route("x", (f"{name}:22",), trusted_hosts=False)).open()
    await inside.close()
    assert server.connections == 0


async def test_te_08_an_allowed_network_is_reached(server: FakeServer) -> None:
    config = UpstreamConfig.model_validate({"allow_private": ["127.0.0.0/8"]})
    pool = Pool(config, "gate.example", ports=frozenset({server.port}))
    transaction = pool.transaction(server.route(trusted_hosts=False))
    assert "PIPELINING" in await transaction.open()
    await transaction.abandon()
    await pool.close()


def resolver(**answers: Answer) -> Resolver:
    async def ask(_name: str, kind: str) -> Answer:
        return answers.get(kind, Answer(Found.NO))

    return Resolver(ask)


@pytest.mark.parametrize(
    ("answer", "error", "status"),
    [
        (Answer(Found.FAILED), Unreachable, "4.4.3"),
        (Answer(Found.NO), Unroutable, "5.1.2"),
        (Answer(Found.YES, ("0 .",), 60), Unroutable, "5.1.10"),
        (Answer(Found.YES, ("10 localhost.",), 60), Unroutable, "5.4.6"),
        (Answer(Found.YES, ("10 gate.example.",), 60), Unroutable, "5.4.6"),
        (Answer(Found.YES, ("10 127.0.0.1",), 60), Unroutable, "5.4.6"),
    ],
)
async def test_du_31_what_dns_may_say(answer: Answer, error: type[Exception], status: str) -> None:
    pool = Pool(UpstreamConfig(), "gate.example", resolver=resolver(MX=answer))
    with pytest.raises(error) as caught:
        await pool.transaction(Route("x", ("mx:acme.example:25",))).open()
    assert getattr(caught.value, "status", "") == status
    await pool.close()


async def test_a_service_record_names_host_and_port(server: FakeServer) -> None:
    record = f"0 5 {server.port} 127.0.0.1"
    pool = Pool(UpstreamConfig(), "gate.example", resolver=resolver(SRV=Answer(Found.YES, (record,), 60)))
    transaction = pool.transaction(Route("x", ("srv:_submission._tcp.acme.example:0",)))
    assert await transaction.open()
    await transaction.abandon()
    await pool.close()


async def test_te_08_a_name_is_looked_up_once_and_that_address_is_connected_to(server: FakeServer) -> None:
    asked = []

    async def rebinding(name: str) -> list[str]:
        asked.append(name)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    config = UpstreamConfig.model_validate({"allow_private": ["127.0.0.0/8"]})
    pool = Pool(config, "gate.example", ports=frozenset({server.port}))
    pool.connector.addresses = rebinding
    transaction = pool.transaction(
        server.route(hosts=(f"rebind.example:{server.port}",), trusted_hosts=False)
    )
    assert await transaction.open()
    assert asked == ["rebind.example"]
    await transaction.abandon()
    await pool.close()
