from __future__ import annotations

import asyncio
from itertools import product

import pytest

from relay.dns import Found, Resolver, Target
from relay.model import Tls
from relay.upstream.client import Unreachable
from relay.upstream.connect import Connector
from relay.upstream.pool import Pool
from tests.relay.upstream.fake import FakeServer, until
from tests.relay.upstream.test_transaction import send


async def test_a_second_recipient_is_asked_after_the_first_was_refused(pool: Pool) -> None:
    async with FakeServer(refused="nobody").running() as server:
        transaction = pool.transaction(server.route())
        mail, rcpt = await transaction.mail_rcpt("a@acme.example", "nobody@there.example")
        assert (mail.code, rcpt.code) == (250, 550)
        mail, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
        assert (mail.code, rcpt.code) == (250, 250)
        assert (await transaction.data([b"Subject: x\r\n\r\n"])).code == 250
        assert server.violations == []
        assert server.verbs() == ["EHLO", "MAIL", "RCPT", "RCPT", "DATA"]


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_connection_is_closed_after_421_though_the_server_keeps_it_open(
    pool: Pool, server: FakeServer, verb: str
) -> None:
    server.answers[verb] = [b"421 4.3.2 closing some day\r\n"]
    transaction = pool.transaction(server.route())
    try:
        mail, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
        if mail.ok and rcpt.ok:
            await transaction.data([b"Subject: x\r\n\r\n"])
    except Unreachable:
        pass
    await transaction.abandon()
    await until(lambda: server.open == 0, 3)
    assert pool.statistics()["servers"][f"server {server.port}"]["busy"] == 0


async def test_a_customer_that_moved_is_not_served_over_old_connections(pool: Pool) -> None:
    async with FakeServer().running() as old, FakeServer().running() as new:
        await send(pool, old, key="server 7 acme")
        await send(pool, new, key="server 7 acme")
        assert (len(old.messages), len(new.messages)) == (1, 1)


async def test_tls_that_is_switched_on_holds_for_kept_connections(pool: Pool, server: FakeServer) -> None:
    await send(pool, server)
    with pytest.raises(Unreachable):
        await send(pool, server, tls=Tls.STARTTLS)


@pytest.mark.parametrize("early", [b"250 2.0.0 ok\r\n", b"552 5.3.4 too big\r\n", b"451 4.3.0 later\r\n"])
async def test_an_answer_before_the_body_has_left_ends_the_connection(pool: Pool, early: bytes) -> None:
    """Else the answer to the real dot would be taken for that of the next message."""
    rest = asyncio.Event()

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(b"250-x\r\n250 PIPELINING\r\n")
            elif line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                await reader.readexactly(1000)
                writer.write(early)
                await rest.wait()
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.transport.abort()

    listening = await asyncio.start_server(rude, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    transaction = pool.transaction(FakeServer(port=port).route())
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    body = [b"Subject: x\r\n\r\n" + b"x" * 900 + b"\r\n", (b"y" * 900 + b"\r\n") * 30000]
    answer = await transaction.data(body)
    # a yes to what has not left is none; a no counts
    assert answer.code == (451 if early.startswith(b"250") else int(early[:3]))
    figures = pool.statistics()["servers"][f"server {port}"]
    assert (figures["busy"], figures["idle"]) == (0, 0)
    rest.set()
    listening.close()
    await listening.wait_closed()


async def test_many_who_want_one_dead_name_take_one_thread() -> None:
    """The system's look-ups block threads, which are few: one customer's name must not take them all."""
    asked: list[str] = []
    answered = asyncio.Event()

    async def slow(name: str) -> list[str]:
        asked.append(name)
        await answered.wait()
        if name == "dead.example":
            raise OSError("no answer")
        return ["127.0.0.1"]

    connector = Connector("gate.example", 5.0, 5.0, addresses=slow)
    route = FakeServer().route()
    names = ["dead.example:25"] * 20 + ["good.example:25"] * 5
    tasks = [asyncio.create_task(connector.places(route, name)) for name in names]
    await until(lambda: len(asked) == 2)
    tasks[0].cancel()  # who gives up does not end it for the others
    answered.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert asked == ["dead.example", "good.example"]
    assert [type(one) for one in found[1:20]] == [Unreachable] * 19
    assert [one[0].ip for one in found[20:] if isinstance(one, list)] == ["127.0.0.1"] * 5
    assert not connector._asked


async def test_one_dead_host_among_a_domains_mx_stops_no_mail() -> None:
    """RFC 5321 §5.1: the others are tried, whether its name has no address or nobody answers."""

    class Domain(Resolver):
        async def mx(self, name: str) -> tuple[Found, tuple[Target, ...]]:
            hosts = ("gone.acme.example", "silent.acme.example", "good.acme.example")
            return Found.YES, tuple(Target(10, 0, host, 25) for host in hosts if name)

    async def addresses(name: str) -> list[str]:
        if name.startswith("gone"):
            raise OSError("no such name")
        if name.startswith("silent"):
            await asyncio.Event().wait()
        return ["192.0.2.1"]

    connector = Connector("gate.example", 0.2, 5.0, addresses=addresses, resolver=Domain())
    found = await connector.places(FakeServer().route(), "mx:acme.example:25")
    assert [place.name for place in found] == ["good.acme.example"]
    await connector.resolver.close()


async def test_recipients_of_a_transaction_that_was_given_up_count_no_more(
    pool: Pool, server: FakeServer
) -> None:
    transaction = pool.transaction(server.route())
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    await transaction.abandon()
    server.answers["RCPT"] = [b"450 4.2.1 later\r\n"]
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    assert (await transaction.data([b"Subject: x\r\n\r\n"])).status == "5.5.1"
    assert "DATA" not in server.verbs()


@pytest.mark.parametrize(
    ("verb", "code"),
    [*product(("MAIL", "RCPT", "DOT"), (354, 334)), ("DATA", 334)],
)
async def test_an_answer_out_of_place_refuses_no_message(
    pool: Pool, server: FakeServer, verb: str, code: int
) -> None:
    """What is neither yes nor no decides nothing; the message is tried again, and no bounce is sent."""
    server.answers[verb] = [b"%d go on\r\n" % code]
    transaction = pool.transaction(server.route())
    _, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
    reply = rcpt if not rcpt.ok else await transaction.data([b"Subject: x\r\n\r\n"])
    assert reply.code == 451
    await transaction.abandon()
    assert await send(pool, server) == 250
    assert server.connections == 2


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_server_that_has_lost_its_place_refuses_no_message(
    pool: Pool, server: FakeServer, verb: str
) -> None:
    server.answers[verb] = [b"503 5.5.1 bad sequence of commands\r\n"]
    transaction = pool.transaction(server.route())
    _, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
    reply = rcpt if not rcpt.ok else await transaction.data([b"Subject: x\r\n\r\n"])
    assert (reply.code, reply.status) == (451, "4.3.2")
    await transaction.abandon()
    assert await send(pool, server) == 250
    assert server.connections == 2  # nobody knows what is answered next on the first
