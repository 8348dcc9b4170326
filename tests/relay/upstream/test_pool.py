from __future__ import annotations

import asyncio
import socket

import pytest

from relay.config import UpstreamConfig
from relay.upstream.breaker import FAILURES, LONGEST_PAUSE_SECONDS, Breaker
from relay.upstream.client import Unreachable
from relay.upstream.pool import Pool
from relay.upstream.slots import Slots
from tests.relay.upstream.fake import DROP, FakeServer, until
from tests.relay.upstream.test_transaction import BODY, send


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_the_next_host_takes_over_and_the_dead_one_is_left_alone(
    pool: Pool, server: FakeServer
) -> None:
    dead = f"127.0.0.1:{closed_port()}"
    route = server.route(hosts=(dead, f"127.0.0.1:{server.port}"))
    transactions = [pool.transaction(route) for _ in range(FAILURES + 1)]
    for transaction in transactions:
        assert await transaction.open()
    assert pool.statistics()["servers"][route.key]["broken"] == [dead]
    for transaction in transactions:
        await transaction.abandon()


async def test_a_broken_server_is_tried_again_after_its_pause(server: FakeServer) -> None:
    now = [0.0]
    pool = Pool(UpstreamConfig(), "gate.example", monotonic=lambda: now[0])
    server.answers["GREETING"] = [b"554 no\r\n"] * FAILURES
    for _ in range(FAILURES):
        with pytest.raises(Unreachable):
            await pool.transaction(server.route()).open()
    asked = server.connections
    with pytest.raises(Unreachable):
        await pool.transaction(server.route()).open()
    assert server.connections == asked
    impatient = pool.transaction(server.route(), patient=False)
    assert await impatient.open()
    await impatient.abandon()
    now[0] += LONGEST_PAUSE_SECONDS
    assert await send(pool, server) == 250
    await pool.close()


def test_a_breaker_lets_one_trial_through_and_doubles_its_pause() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.allows(0.0)
        breaker.failed(0.0)
    assert not breaker.allows(1.9)
    assert breaker.allows(2.0)
    assert not breaker.allows(2.0)
    breaker.gave_up()
    assert breaker.allows(2.0)
    breaker.failed(2.0)
    assert breaker.open_until == 6.0
    for _ in range(40):
        breaker.failed(6.0)
    assert breaker.open_until == 6.0 + LONGEST_PAUSE_SECONDS
    breaker.succeeded()
    assert breaker.allows(0.0)


async def test_a_server_gets_no_more_connections_than_its_cap() -> None:
    pool = Pool(UpstreamConfig(connections_per_server=3), "gate.example")
    async with FakeServer().running() as server:
        assert await asyncio.gather(*(send(pool, server) for _ in range(30))) == [250] * 30
        assert server.connections <= 3
    await pool.close()


async def test_an_idle_connection_of_another_credential_makes_room() -> None:
    pool = Pool(UpstreamConfig(connections_per_server=1), "gate.example")
    async with FakeServer(logins={"a": "1", "b": "2"}).running() as server:
        assert await send(pool, server, login="a", password="1") == 250
        assert await send(pool, server, login="b", password="2") == 250
        await until(lambda: server.open == 1)
    await pool.close()


async def test_te_06_waiting_goes_round_between_logins() -> None:
    slots = Slots(1)
    await slots.take("greedy", 1)
    order: list[str] = []

    async def one(login: str) -> None:
        await slots.take(login, 5)
        order.append(login)
        slots.give()

    tasks = [asyncio.create_task(one("greedy")) for _ in range(50)]
    await until(lambda: slots.waiting == 50)
    tasks.append(asyncio.create_task(one("modest")))
    await until(lambda: slots.waiting == 51)
    slots.give()
    await asyncio.gather(*tasks)
    assert order.index("modest") <= 1
    assert slots.busy == 0


async def test_waiting_for_a_slot_ends_and_leaves_nothing_behind() -> None:
    slots = Slots(1)
    await slots.take("a", 1)
    with pytest.raises(Unreachable):
        await slots.take("b", 0.01)
    waiter = asyncio.create_task(slots.take("c", 5))
    await until(lambda: slots.waiting == 1)
    waiter.cancel()
    slots.give()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert (slots.busy, slots.waiting) == (0, 0)


async def test_idle_connections_are_closed_after_a_while() -> None:
    pool = Pool(UpstreamConfig.model_validate({"idle": "40ms"}), "gate.example")
    async with FakeServer().running() as server:
        assert await send(pool, server) == 250
        await until(lambda: server.open == 0)
        assert server.verbs()[-1] == "QUIT"
        assert pool.statistics()["servers"][f"server {server.port}"] == {
            "busy": 0, "idle": 0, "waiting": 0, "broken": [],
        }  # fmt: skip
    await pool.close()


async def test_slots_come_back_whatever_happens(pool: Pool, server: FakeServer) -> None:
    for verb in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT"):
        server.answers[verb] = [DROP]
        with pytest.raises(Exception, match=r"127\.0\.0\.1"):
            await send(pool, server)
        server.answers.pop(verb)
    statistics = pool.statistics()["servers"][f"server {server.port}"]
    assert (statistics["busy"], statistics["waiting"]) == (0, 0)


async def test_a_cancelled_connect_frees_its_slot(pool: Pool) -> None:
    async with FakeServer(answers={"GREETING": "silent"}).running() as server:
        task = asyncio.create_task(pool.transaction(server.route()).open())
        await until(lambda: server.open == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.statistics()["servers"][f"server {server.port}"]["busy"] == 0


async def test_many_recipients_go_in_one_write_and_each_gets_its_answer(
    pool: Pool, server: FakeServer
) -> None:
    server.answers["RCPT"] = [None, b"550 5.1.1 no\r\n", b"450 4.2.2 full\r\n", None]
    transaction = pool.transaction(server.route())
    names = [f"r{n}@there.example" for n in range(4)] + ["bad one@there.example"]
    replies = await transaction.envelope("a@acme.example", [(name, (), None) for name in names])
    assert [reply.code for reply in replies] == [250, 250, 550, 450, 250, 553]
    assert transaction.accepted == 2
    assert (await transaction.data([BODY])).ok


async def test_a_server_without_pipelining_is_asked_one_by_one(pool: Pool) -> None:
    async with FakeServer(extensions=(), answers={"MAIL": [b"550 5.7.1 no\r\n"]}).running() as server:
        transaction = pool.transaction(server.route())
        replies = await transaction.envelope("a@acme.example", [("b@x.example", (), None)] * 2)
        assert [reply.code for reply in replies] == [550] * 3
        assert server.verbs() == ["EHLO", "MAIL"]
        await transaction.abandon()
        assert await send(pool, server) == 250


async def test_fr_57_eight_bit_mail_never_goes_to_a_seven_bit_server(pool: Pool) -> None:
    async with FakeServer(extensions=("PIPELINING",)).running() as server:
        transaction = pool.transaction(server.route())
        await transaction.mail_rcpt("a@acme.example", "b@there.example")
        reply = await transaction.data(["Subject: café\r\n".encode()])
        assert (reply.code, reply.status) == (554, "5.6.3")
        assert "DATA" not in server.verbs()
        assert await send(pool, server) == 250


async def test_plain_mail_goes_to_a_modest_server_whatever_its_client_says_of_it(pool: Pool) -> None:
    async with FakeServer(extensions=()).running() as server:
        transaction = pool.transaction(server.route())
        await transaction.mail_rcpt("a@acme.example", "b@there.example", eight_bit=True, smtputf8=True)
        assert (await transaction.data([b"Subject: hi\r\n\r\nbody\r\n"])).code == 250
        assert server.messages[0].mail == "MAIL FROM:<a@acme.example>"
        assert transaction.extensions == frozenset()


async def test_a_server_that_knows_only_helo_is_spoken_to(pool: Pool) -> None:
    async with FakeServer(answers={"EHLO": b"502 5.5.1 what?\r\n"}).running() as server:
        assert await send(pool, server) == 250
        assert server.verbs()[:2] == ["EHLO", "HELO"]


@pytest.mark.parametrize(
    "chatter", [b"220 x\r\n250 y\r\n", b"SSH-2.0-OpenSSH\r\n", b"\x00" * 100, b"2" * 9000]
)
async def test_strange_servers_are_left(pool: Pool, chatter: bytes) -> None:
    async with FakeServer(answers={"GREETING": chatter}).running() as server:
        with pytest.raises(Unreachable) as error:
            await send(pool, server)
        assert "SSH" not in str(error.value)


async def test_a_slow_large_body_is_not_cut_off(pool: Pool, server: FakeServer) -> None:
    body = b"x" * 76 + b"\r\n"
    assert await send(pool, server, body * 60_000) == 250
    assert len(server.messages[0].data) == 78 * 60_000
