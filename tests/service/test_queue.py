"""Customers whose mail always goes through the outbox first."""

from __future__ import annotations

import smtplib
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import PATIENCE_SECONDS, until
from tests.service.test_main_job import ALICE, BOB, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.harness import CustomerServer, Relay

pytestmark = pytest.mark.service


@pytest.fixture
def queued(relay: Relay, customer: CustomerServer) -> Iterator[None]:
    relay.run("customer", "change", "acme", "--forward", "queue")
    customer.replies["full@partner.example"] = "552 5.2.2 its mailbox is full"
    with relay.client(ALICE) as client:

        def taken() -> bool:
            client.rset()
            client.mail(ALICE)
            return client.rcpt("full@partner.example")[0] == 250

        until(taken)  # within a second of the change; the server, which would refuse, is not asked
    yield
    relay.run("customer", "change", "acme", "--forward", "proxy")


@pytest.mark.usefixtures("queued")
def test_mail_is_taken_at_once_and_delivered_by_the_outbox(relay: Relay, customer: CustomerServer) -> None:
    with relay.client(ALICE) as client:
        client.mail(ALICE)
        client.rcpt(BOB)
        code, text = client.data(message().as_bytes())
        assert (code, text[:14]) == (250, b"2.0.0 Accepted")
    until(lambda: customer.messages)
    assert customer.messages[0].raw.endswith(message().as_bytes())
    until(lambda: relay.rows("outbox", "list") == [])


@pytest.mark.usefixtures("queued")
def test_a_refusal_at_delivery_comes_back_as_a_report(relay: Relay, customer: CustomerServer) -> None:
    customer.replies["nobody@partner.example"] = "550 5.1.1 no such person"
    with relay.client(ALICE) as client:
        assert client.sendmail(ALICE, ["nobody@partner.example"], message().as_bytes()) == {}
    until(lambda: customer.messages)
    (report,) = customer.messages
    assert report.recipients == [ALICE]
    assert b"Status: 5.1.1" in report.raw


@pytest.mark.usefixtures("queued")
def test_a_suppressed_recipient_is_refused_before_anything_is_queued(
    relay: Relay, customer: CustomerServer
) -> None:
    relay.run("suppression", "add", "gone@partner.example", "--customer", "acme")
    with relay.client(ALICE) as client:

        def refused() -> bool:
            client.rset()
            client.mail(ALICE)
            code, text = client.rcpt("gone@partner.example")
            return code == 550 and b"5.7.1" in text

        until(refused)
        assert client.rcpt(BOB)[0] == 250
        assert client.data(message().as_bytes())[0] == 250
    until(lambda: customer.messages)
    assert [stored.recipients for stored in customer.messages] == [[BOB]]


def test_a_suspended_account_is_refused_before_anything_is_queued(
    relay: Relay, customer: CustomerServer
) -> None:
    relay.run("customer", "add", "shop", "--server", f"127.0.0.1:{customer.port}", "--forward", "queue")
    relay.account("cart@shop.example", "shop")
    relay.run("account", "suspend", "cart@shop.example", "--reason", "test")
    with relay.client("cart@shop.example") as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.sendmail("cart@shop.example", [BOB], message("cart@shop.example").as_bytes())
    assert relay.rows("outbox", "list") == []


def test_a_rate_is_asked_at_rcpt_before_anything_is_queued(relay: Relay, customer: CustomerServer) -> None:
    usual = relay.config.read_text()
    relay.run("customer", "add", "slow", "--server", f"127.0.0.1:{customer.port}", "--forward", "queue")
    relay.account("news@slow.example", "slow")
    relay.config.write_text(usual + '\n[rates.by_customer.slow]\nmessages = "2/1h"\n')
    relay.reload()
    try:
        with relay.client("news@slow.example") as client:
            for _ in range(2):
                client.sendmail("news@slow.example", [BOB], message("news@slow.example").as_bytes())
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                client.sendmail("news@slow.example", [BOB], message("news@slow.example").as_bytes())
        assert [code for code, _ in refused.value.recipients.values()] == [450]
    finally:
        relay.config.write_text(usual)
        relay.reload()
    until(lambda: len(customer.messages) == 2)
    until(lambda: relay.rows("outbox", "list") == [])


@pytest.mark.usefixtures("queued")
def test_standing_is_asked_again_at_each_attempt(relay: Relay, customer: CustomerServer) -> None:
    customer.replies["DATA"] = "451 4.2.0 later"
    with relay.client(ALICE) as client:
        client.send_message(message())
    until(lambda: relay.rows("outbox", "list")[0]["attempts"])
    relay.run("account", "suspend", ALICE, "--reason", "test")
    until(lambda: relay.json("account", "show", ALICE)["standing"] == "suspended")
    del customer.replies["DATA"]
    relay.run("outbox", "retry", "--all")
    until(lambda: relay.rows("outbox", "list")[0]["reason"] == "standing")
    assert customer.messages == []
    relay.run("account", "reinstate", ALICE, "--reason", "test")
    until(lambda: customer.messages)  # at once: nobody has to ask for it
    until(lambda: relay.rows("outbox", "list") == [])
    assert [stored.recipients for stored in customer.messages] == [[BOB]]


@pytest.mark.usefixtures("queued")
def test_a_rotated_key_seals_what_waits_after_a_reload(relay: Relay, customer: CustomerServer) -> None:
    def waits() -> list[bytes]:
        with closing(sqlite3.connect(relay.folder / "gatepost.db", timeout=PATIENCE_SECONDS)) as database:
            return [sealed[:1] for (sealed,) in database.execute("SELECT envelope FROM outbox ORDER BY id")]

    customer.replies["DATA"] = "451 4.2.0 later"
    with relay.client(ALICE) as client:
        client.send_message(message())
        assert waits() == [b"\1"]
        relay.run("keys", "rotate")
        assert relay.reload()["ok"]
        client.send_message(message())
    assert b"\2" in waits()
    del customer.replies["DATA"]
    relay.run("outbox", "retry", "--all")
    until(lambda: waits() == [])
    assert len(customer.messages) == 2


def test_passed_through_passwords_cannot_be_queued_without_a_login_of_ours(relay: Relay) -> None:
    add = ("customer", "add", "own", "--server", "127.0.0.1:2", "--auth", "passthrough")
    refused = relay.run(*add, "--forward", "queue", check=False)
    assert refused.returncode == 2
    assert "customer own: forward" in refused.stderr
    assert "--relay LOGIN:SECRETFILE" in refused.stderr
    assert relay.run("customer", "show", "own", check=False).returncode == 1
    relay.run(*add)
    assert relay.run("customer", "change", "own", "--forward", "queue", check=False).returncode == 2
    relay.run("customer", "change", "own", "--forward", "queue", "--relay", "gatepost:keys/own.secret")
    shown = relay.json("server", "show", "own")
    assert (shown["forward"], shown["auth"], shown["relay_login"]) == ("queue", "passthrough", "gatepost")
    assert relay.run("customer", "change", "own", "--relay", "none", check=False).returncode == 2
    assert relay.run("customer", "change", "own", check=False).returncode == 2


def test_large_mail_lies_in_the_spool_folder_while_it_comes_in(
    relay: Relay, customer: CustomerServer
) -> None:
    assert relay.process is not None
    handles = Path(f"/proc/{relay.process.pid}/fd")
    spool = str(relay.folder / "spool")

    def spilled() -> bool:
        for handle in handles.iterdir():
            with suppress(FileNotFoundError):
                if str(handle.readlink()).startswith(spool):
                    return True
        return False

    with relay.client(ALICE) as client:
        client.mail(ALICE)
        client.rcpt(BOB)
        client.docmd("DATA")
        client.send(b"From: alice@acme.example\r\n\r\n" + b"a line of text\r\n" * 40_000)
        until(spilled)
        client.send(b".\r\n")
        assert client.getreply()[0] == 250
    until(lambda: len(customer.messages) == 1)
    assert not spilled()
