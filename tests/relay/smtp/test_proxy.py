"""PROXY protocol: the header as a value, and FR-53 on a live port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from relay.smtp.proxy import BadHeader, Source, parse

if TYPE_CHECKING:
    from tests.relay.smtp.harness import Services

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + len(body).to_bytes(2, "big") + body


V4 = bytes([192, 0, 2, 7, 203, 0, 113, 1]) + (4711).to_bytes(2, "big") + (587).to_bytes(2, "big")
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(16) + (4711).to_bytes(2, "big") + bytes(2)

GOOD = [
    (b"PROXY TCP4 192.0.2.7 203.0.113.1 4711 587\r\n", Source("192.0.2.7", 4711, 43)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 587\r\n", Source("2001:db8::7", 4711, 45)),
    (v2(1, 0x11, V4), Source("192.0.2.7", 4711, 28)),
    (v2(1, 0x11, V4 + b"\x04\0\1x"), Source("192.0.2.7", 4711, 32)),
    (v2(1, 0x21, V6), Source("2001:db8::7", 4711, 52)),
    (v2(0, 0, b""), Source("", 0, 16)),
]
BAD = [
    b"EHLO x\r\n", b"PROXY UNKNOWN\r\n", b"PROXY TCP4 192.0.2.7 203.0.113.1 4711\r\n",
    b"PROXY TCP4 a b 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", b"PROXY TCP4 192.0.2.7 203.0.113.1 70000 587\r\n",
    b"PROXY TCP4 192.0.2.7 203.0.113.1 -1 587\r\n", b"PROXY " + b"x" * 200, b"PROXY \xff TCP4\r\n",
    b"PROXY TCP4 192.0.2.7  203.0.113.1 4711 587\r\n",
    v2(2, 0x11, V4), v2(1, 0x12, V4), v2(1, 0x11, V4[:8]), v2(1, 0x31, bytes(216)),
    SIGNATURE + b"\x11\x11\0\x0c", SIGNATURE + b"\x21\x11\xff\xff",
]  # fmt: skip


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_good_headers_and_every_cut_of_them(header: bytes, source: Source) -> None:
    assert parse(header + b"EHLO x\r\n") == source
    for end in range(len(header)):
        assert parse(header[:end]) is None


@pytest.mark.parametrize("header", BAD)
def test_bad_headers(header: bytes) -> None:
    with pytest.raises(BadHeader):
        parse(header)


@pytest.mark.parametrize(("header", "source"), GOOD)
async def test_fr_53_a_trusted_balancer_names_the_client(
    services: Services, header: bytes, source: Source
) -> None:
    service = await services.start(rest='listeners.proxy_protocol_from = ["127.0.0.0/8"]')
    async with await service.connect() as client:
        await client.send(header + b"NOOP\r\n")
        assert (await client.reply()).startswith("220")
        assert (await client.reply()).startswith("250")
        (wire,) = service.listener.wires
        assert wire.peer_ip == (source.ip or "127.0.0.1")


@pytest.mark.parametrize("header", BAD)
async def test_fr_53_a_bad_header_is_hung_up_on(services: Services, header: bytes) -> None:
    service = await services.start(rest='listeners.proxy_protocol_from = ["127.0.0.0/8"]')
    async with await service.connect() as client:
        await client.send(header)
        assert await client.reply() == ""
    assert service.shared.open == 0


async def test_fr_53_limits_count_the_client_behind_the_balancer(services: Services) -> None:
    service = await services.start(
        "connections_per_client = 1", rest='listeners.proxy_protocol_from = ["127.0.0.1"]'
    )
    first, second, third = [await service.connect() for _ in range(3)]
    await first.send(b"PROXY TCP4 192.0.2.7 203.0.113.1 1 2\r\n")
    assert (await first.reply()).startswith("220")
    await second.send(b"PROXY TCP4 192.0.2.7 203.0.113.1 3 2\r\n")
    assert (await second.reply()).startswith("421 4.7.0")
    await third.send(b"PROXY TCP4 192.0.2.8 203.0.113.1 1 2\r\n")
    assert (await third.reply()).startswith("220")


async def test_fr_53_a_stranger_cannot_name_a_client(services: Services) -> None:
    service = await services.start()
    async with await service.connect() as client:
        await client.send(b"PROXY TCP4 192.0.2.7 203.0.113.1 1 2\r\nNOOP\r\n")
        assert (await client.reply()).startswith("220")
        assert (await client.reply()).startswith("421")
        assert await client.ended()


@pytest.mark.parametrize("header", [GOOD[0][0], GOOD[2][0]])
async def test_behind_a_balancer_tls_starts_after_the_header(services: Services, header: bytes) -> None:
    """The header and the first octets of the handshake come in one segment."""
    service = await services.start(implicit=True, rest='listeners.proxy_protocol_from = ["127.0.0.1"]')
    async with await service.connect() as client:
        await client.handshake(service.context, before=header)
        assert (await client.reply()).startswith("220")
        (wire,) = service.listener.wires
        assert wire.peer_ip == "192.0.2.7"


async def test_fr_53_clear_text_behind_the_header_is_no_tls(services: Services) -> None:
    service = await services.start(implicit=True, rest='listeners.proxy_protocol_from = ["127.0.0.1"]')
    async with await service.connect() as client:
        await client.send(b"PROXY TCP4 192.0.2.7 203.0.113.1 1 2\r\nEHLO x\r\n")
        assert await client.reply() == ""
