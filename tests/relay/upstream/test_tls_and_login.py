from __future__ import annotations

import ssl

import pytest
import trustme

from relay.config import UpstreamConfig
from relay.model import Tls
from relay.upstream.client import InDoubt, LoginRefused, Unreachable, Unverified
from relay.upstream.connect import Connector
from relay.upstream.pool import Pool
from tests.relay.upstream.fake import DROP, FakeServer, until
from tests.relay.upstream.test_transaction import send


def trusting(pool: Pool, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    pool.connector._contexts[True] = context


@pytest.mark.parametrize("implicit", [False, True])
async def test_mail_goes_over_verified_tls(
    pool: Pool, authority: trustme.CA, server_tls: ssl.SSLContext, *, implicit: bool
) -> None:
    trusting(pool, authority)
    async with FakeServer(tls=server_tls, implicit=implicit).running() as server:
        for _ in range(3):
            assert await send(pool, server, verify=True) == 250
        assert server.connections == 1
        assert server.verbs().count("STARTTLS") == (not implicit)
        assert server.verbs().count("EHLO") == 2 - implicit


@pytest.mark.parametrize("implicit", [False, True])
async def test_tl_13_an_untrusted_certificate_is_never_answered_by_clear_text(
    pool: Pool, server_tls: ssl.SSLContext, *, implicit: bool
) -> None:
    async with FakeServer(tls=server_tls, implicit=implicit).running() as server:
        with pytest.raises(Unverified) as error:
            await send(pool, server, verify=True)
        assert error.value.status == "4.7.5"
        assert "MAIL" not in server.verbs()
        assert await send(pool, server, verify=False) == 250


async def test_tl_13_the_certificate_must_be_for_this_name(
    pool: Pool, authority: trustme.CA, server_tls: ssl.SSLContext
) -> None:
    trusting(pool, authority)

    async def here(_name: str) -> list[str]:
        return ["127.0.0.1"]

    pool.connector.addresses = here
    async with FakeServer(tls=server_tls).running() as server:
        assert await send(pool, server, verify=True, hosts=(f"mail.acme.example:{server.port}",)) == 250
        with pytest.raises(Unverified):
            await send(pool, server, verify=True, hosts=(f"other.example:{server.port}",), key="other")


async def test_a_server_without_starttls_gets_nothing_in_clear_text(pool: Pool, server: FakeServer) -> None:
    with pytest.raises(Unverified):
        await send(pool, server, tls=Tls.STARTTLS, login="a", password="secret")
    assert server.verbs()[:1] == ["EHLO"]
    assert not {"AUTH", "MAIL"} & set(server.verbs())


@pytest.mark.parametrize(
    "injected",
    [
        b"220 ok\r\n250-FAKE\r\n250 AUTH PLAIN\r\n",
        b"220 ok\r\n250 AUTH PLAIN\r\n",
        b"220 ok\r\n250",
        b"220-ok\r\n220 ok\r\n2",
        b"454 not now\r\n",
    ],
)
async def test_fr_55_bytes_around_starttls_end_the_connection(
    pool: Pool, server_tls: ssl.SSLContext, injected: bytes
) -> None:
    async with FakeServer(
        tls=server_tls, logins={"a": "secret"}, answers={"STARTTLS": injected}
    ).running() as server:
        with pytest.raises(Unreachable):
            await send(pool, server, login="a", password="secret")
        assert not {"AUTH", "MAIL"} & set(server.verbs())


async def test_fr_55_bytes_sent_a_moment_after_the_220_end_the_connection(
    pool: Pool, server_tls: ssl.SSLContext
) -> None:
    injected = b"250-FAKE\r\n250 AUTH PLAIN\r\n"
    async with FakeServer(tls=server_tls, logins={"a": "s"}, after_starttls=injected).running() as server:
        with pytest.raises(Unreachable):
            await send(pool, server, login="a", password="s")
        assert not {"AUTH", "MAIL"} & set(server.verbs())


@pytest.mark.parametrize("mechanisms", ["AUTH PLAIN LOGIN", "AUTH LOGIN", "AUTH=LOGIN", "auth login plain"])
async def test_the_relay_credential_logs_in(pool: Pool, mechanisms: str) -> None:
    server = FakeServer(extensions=("PIPELINING", mechanisms))
    async with server.running():
        server.logins = {}
        server.extensions = ("PIPELINING", mechanisms)
        accounts = {"relay": "pässword"}
        server.logins = accounts
        assert await send(pool, server, login="relay", password="pässword") == 250
        assert await send(pool, server, login="relay", password="pässword") == 250
        assert [message.login for message in server.messages] == ["relay", "relay"]
        assert server.verbs().count("AUTH") == 1


async def test_a_refused_credential_says_so_and_tries_no_other_host(pool: Pool) -> None:
    async with FakeServer(logins={"a": "right"}).running() as server:
        hosts = (f"127.0.0.1:{server.port}",) * 3
        with pytest.raises(LoginRefused) as error:
            await send(pool, server, login="a", password="wrong", hosts=hosts)
        assert error.value.reply.code == 535
        assert "wrong" not in str(error.value)
        assert server.connections == 1


async def test_te_05_connections_are_never_shared_between_credentials(pool: Pool) -> None:
    async with FakeServer(logins={"a": "1", "b": "2"}).running() as server:
        for login, password in [("a", "1"), ("b", "2"), ("a", "1"), ("b", "2")]:
            assert await send(pool, server, login=login, password=password) == 250
        assert [(m.login, m.connection) for m in server.messages] == [("a", 1), ("b", 2), ("a", 1), ("b", 2)]
        with pytest.raises(LoginRefused):
            await send(pool, server, login="a", password="changed")


def test_no_password_is_ever_shown() -> None:
    route = FakeServer(port=1).route(login="a", password="hunter2")
    assert "hunter2" not in repr(route)


async def test_pass_through_logins_are_tried_and_their_connection_kept(pool: Pool) -> None:
    async with FakeServer(logins={"a": "right"}).running() as server:
        route = server.route()
        assert (await pool.check_login(route, "a", "wrong", "192.0.2.7")).code == 535
        assert (await pool.check_login(route, "a", "right", "192.0.2.7")).code == 235
        assert (await pool.check_login(route, "a\0b", "right")).code == 535
        assert await send(pool, server, login="a", password="right") == 250
        assert server.verbs().count("AUTH") == 2
        assert server.messages[0].connection == 2
        await until(lambda: server.open == 1)


async def test_a_server_without_auth_cannot_check_logins(pool: Pool, server: FakeServer) -> None:
    with pytest.raises(Unreachable):
        await pool.check_login(server.route(), "a", "b")


async def test_xclient_tells_the_real_client_before_the_login(pool: Pool) -> None:
    offered = ("PIPELINING", "XCLIENT NAME ADDR PROTO HELO")
    async with FakeServer(extensions=offered, logins={"a": "right"}).running() as server:
        assert (await pool.check_login(server.route(), "a", "right", "2001:db8::7")).code == 235
        assert server.verbs() == ["EHLO", "XCLIENT", "EHLO", "AUTH"]
        assert server.commands[1] == "XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PROTO=ESMTP"
        route = server.route(login="a", password="right")
        for ip in ("2001:db8::7", "192.0.2.9", "192.0.2.9"):
            transaction = pool.transaction(route, client_ip=ip)
            await transaction.mail_rcpt("a@acme.example", "b@there.example")
            assert (await transaction.data([b"x\r\n"])).ok
        assert server.connections == 1
        assert server.verbs().count("XCLIENT") == 2
        assert [message.login for message in server.messages] == ["a"] * 3


@pytest.mark.parametrize("answer", ["250 2.0.0 ok\r\n", "550 5.7.0 not from you\r\n"])
async def test_a_server_that_offers_xclient_and_does_not_take_ours_gets_the_mail(
    pool: Pool, answer: str
) -> None:
    async with FakeServer(extensions=("XCLIENT ADDR",), answers={"XCLIENT": answer}).running() as server:
        for _ in range(2):
            transaction = pool.transaction(server.route(), client_ip="192.0.2.9")
            await transaction.mail_rcpt("a@acme.example", "b@there.example")
            assert (await transaction.data([b"x\r\n"])).ok
        assert server.verbs().count("XCLIENT") == 1


async def test_xforward_goes_with_mail_in_one_write(pool: Pool) -> None:
    async with FakeServer(extensions=("PIPELINING", "XFORWARD NAME ADDR PROTO HELO")).running() as server:
        transaction = pool.transaction(server.route(), client_ip="192.0.2.9", client_helo="my laptop\r\n")
        mail, rcpt = await transaction.mail_rcpt("a@acme.example", "b@there.example")
        assert (mail.ok, rcpt.ok) == (True, True)
        assert (await transaction.data([b"x\r\n"])).ok
        assert server.commands[1] == (
            "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.9 HELO=my+20laptop+0D+0A PROTO=ESMTP"
        )


async def test_a_silent_handshake_ends(server_tls: ssl.SSLContext) -> None:
    connector = Connector("gate.example", 0.2, 0.2)
    async with FakeServer().running() as server:
        with pytest.raises(Unreachable):
            await connector.open(server.route(tls=Tls.IMPLICIT), f"127.0.0.1:{server.port}", ("", ""))
    assert UpstreamConfig().connect_timeout.total_seconds() == 10
    assert server_tls is not None


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_connection_lost_after_the_dot_is_in_doubt_under_tls_too(
    pool: Pool, server_tls: ssl.SSLContext, *, implicit: bool
) -> None:
    """TLS must not make a body that has left look as if it were still ours."""
    async with FakeServer(tls=server_tls, implicit=implicit, answers={"DOT": [DROP]}).running() as server:
        transaction = pool.transaction(server.route())
        await transaction.mail_rcpt("a@acme.example", "b@there.example")
        with pytest.raises(InDoubt):
            await transaction.data([b"Subject: x\r\n\r\n" + b"x\r\n" * 1000])
