from __future__ import annotations

import asyncio

import pytest

from relay.config import UpstreamConfig
from relay.upstream.client import InDoubt, LoginRefused, Unreachable
from relay.upstream.pool import Pool
from tests.relay.upstream.fake import DROP, RESET, SILENT, FakeServer, until

BODY = b"Subject: hi\r\n\r\nbody\r\n"


async def send(pool: Pool, server: FakeServer, body: bytes = BODY, **route: object) -> int:
    transaction = pool.transaction(server.route(**route))
    mail, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
    assert mail.ok
    assert rcpt.ok
    return (await transaction.data([body])).code


async def test_a_message_arrives_byte_for_byte(pool: Pool, server: FakeServer) -> None:
    body = b".\r\n..\r\n.x\r\n\r\n. \r\n" + b"." * 900 + b"\r\n"
    assert await send(pool, server, body) == 250
    assert [message.data for message in server.messages] == [body]
    assert server.messages[0].mail == "MAIL FROM:<a@acme.example>"
    assert server.messages[0].rcpts == ["RCPT TO:<b@there.example>"]


async def test_a_connection_is_kept_and_used_again(pool: Pool, server: FakeServer) -> None:
    for _ in range(5):
        assert await send(pool, server) == 250
    assert server.connections == 1
    assert server.verbs() == ["EHLO"] + ["MAIL", "RCPT", "DATA"] * 5
    assert pool.statistics()["reused"] == 4


async def test_a_dead_idle_connection_is_replaced_once(pool: Pool, server: FakeServer) -> None:
    assert await send(pool, server) == 250
    server.answers["MAIL"] = [DROP]
    assert await send(pool, server) == 250
    assert len(server.messages) == 2
    server.answers["MAIL"] = [DROP, DROP]
    with pytest.raises(Unreachable):
        await send(pool, server)


async def test_a_connection_closed_while_idle_is_not_used(pool: Pool, server: FakeServer) -> None:
    await send(pool, server)
    server.hang_up()
    await until(lambda: pool.statistics()["servers"][f"server {server.port}"]["idle"] == 0)
    assert await send(pool, server) == 250


async def test_a_goodbye_on_an_idle_connection_is_retried(pool: Pool, server: FakeServer) -> None:
    await send(pool, server)
    server.answers["MAIL"] = [b"421 4.4.2 idle too long\r\n"]
    assert await send(pool, server) == 250


async def test_refusals_are_handed_on(pool: Pool, server: FakeServer) -> None:
    server.answers["RCPT"] = [b"550-5.1.1 no such\r\n550 5.1.1 user\r\n"]
    transaction = pool.transaction(server.route())
    mail, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
    assert (mail.ok, rcpt.code, rcpt.status, rcpt.text) == (True, 550, "5.1.1", "no such user")
    assert (await transaction.rcpt("c@there.example")).ok
    assert (await transaction.data([BODY])).ok
    assert server.messages[0].rcpts == ["RCPT TO:<c@there.example>"]


async def test_abandoning_resets_and_returns_the_connection(pool: Pool, server: FakeServer) -> None:
    transaction = pool.transaction(server.route())
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    await transaction.abandon()
    await transaction.abandon()
    await until(lambda: pool.statistics()["servers"][f"server {server.port}"]["idle"] == 1)
    assert await send(pool, server) == 250
    assert server.connections == 1
    assert server.verbs().count("RSET") == 1


@pytest.mark.parametrize("act", [DROP, RESET])
async def test_a_connection_lost_after_the_dot_is_in_doubt(pool: Pool, server: FakeServer, act: str) -> None:
    server.answers["DOT"] = [act]
    with pytest.raises(InDoubt):
        await send(pool, server)


async def test_a_connection_lost_before_the_dot_is_not_in_doubt(pool: Pool, server: FakeServer) -> None:
    server.answers["DATA"] = [DROP]
    with pytest.raises(Unreachable):
        await send(pool, server)


async def test_a_late_answer_is_still_heard(pool: Pool, server: FakeServer) -> None:
    server.gate = asyncio.Event()
    transaction = pool.transaction(server.route())
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await transaction.data([BODY])
    await transaction.abandon()
    server.gate.set()
    assert transaction.late is not None
    assert (await transaction.late).code == 250
    assert await send(pool, server) == 250
    assert server.connections == 1


async def test_a_cancelled_caller_does_not_lose_the_answer(pool: Pool, server: FakeServer) -> None:
    server.gate = asyncio.Event()
    transaction = pool.transaction(server.route())
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    task = asyncio.create_task(transaction.data([BODY]))
    await until(lambda: server.bodies == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.gate.set()
    assert transaction.late is not None
    assert (await transaction.late).code == 250


async def test_silence_ends_with_unreachable() -> None:
    config = UpstreamConfig.model_validate({"reply_timeout": "100ms"})
    pool = Pool(config, "gate.example")
    async with FakeServer(answers={"MAIL": SILENT}).running() as server:
        with pytest.raises(Unreachable):
            await send(pool, server)
    await pool.close()


async def test_a_421_is_a_later_for_the_client(pool: Pool, server: FakeServer) -> None:
    server.answers["DOT"] = [b"421 4.3.2 going down\r\n"]
    transaction = pool.transaction(server.route())
    await transaction.mail_rcpt("a@acme.example", "b@there.example")
    assert (await transaction.data([BODY])).code == 451
    assert pool.statistics()["servers"][f"server {server.port}"]["busy"] == 0


async def test_a_body_that_never_left_is_not_in_doubt(pool: Pool) -> None:
    """The server stops reading in the middle of the body and hangs up: the dot never went out."""
    stuck = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        for answer in (b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readexactly(1000)
        stuck.set()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        transaction = pool.transaction(FakeServer(port=port).route())
        await transaction.mail_rcpt("a@acme.example", "b@there.example")
        with pytest.raises(Unreachable):
            await transaction.data([b"x" * 76 + b"\r\n"] * 400_000)
    assert stuck.is_set()


@pytest.mark.parametrize("said", [b"530 5.7.0 Authentication required\r\n", b"538 5.7.11 TLS first\r\n"])
async def test_a_server_that_wants_a_login_refuses_us_and_not_the_message(
    pool: Pool, server: FakeServer, said: bytes
) -> None:
    """It is set up wrongly: mail waits until somebody mends that, instead of coming back."""
    server.answers["MAIL"] = [said]
    with pytest.raises(LoginRefused):
        await send(pool, server)
    assert await send(pool, server) == 250
