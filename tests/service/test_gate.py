"""Who may send, and how much, on two workers: clauses, rates, budgets, an owner's pause, brake, bypass."""

from __future__ import annotations

import shutil
import smtplib
from typing import TYPE_CHECKING

import pytest

from policies import transmission
from tests.service.harness import Relay, until
from tests.service.test_main_job import message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service

ANNA, BEN, APP, SLOW = "anna@acme.example", "ben@acme.example", "app@acme.example", "app@slow.example"
#: Each is switched off and on by one test alone.
PAUSED, SPAMMED = "paused@acme.example", "spammed@acme.example"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    folder: Path = tmp_path_factory.mktemp("gate")
    with Relay(folder) as running:
        running.init()
        running.config.write_text(running.config.read_text().replace("workers = 1 ", "workers = 2 "))
        shutil.copy(transmission.SHIPPED, folder / "agreed.toml")
        text = (folder / "agreed.toml").read_text().replace('kinds = ["exe"', 'kinds = ["pages", "exe"')
        (folder / "agreed.toml").write_text(text.replace("limit = 100\n", "limit = 60\n"))
        running.configure("policy", 'transmission = "agreed.toml"')
        with running.config.open("a") as file:
            file.write('\n[rates.by_customer.slow]\nmessages = "4/1h"\n')
        for name in ("acme", "slow"):
            running.run("customer", "add", name, "--server", f"127.0.0.1:{customer.port}")
        for login in (ANNA, BEN):
            running.account(login, "acme", "--class", "person")
        for login in (APP, PAUSED, SPAMMED):
            running.account(login, "acme")
        running.account(SLOW, "slow")
        yield running.start()
        assert running.stop() == 0


def rcpt(client: smtplib.SMTP, *recipients: str) -> list[str]:
    return [f"{code} {text.decode()}" for code, text in (client.rcpt(one) for one in recipients)]


def people(first: int, last: int) -> list[str]:
    return [f"user{number}@world.example" for number in range(first, last)]


def test_a_message_of_a_person_has_as_many_recipients_as_the_policy_says(relay: Relay) -> None:
    with relay.client(BEN) as client:
        client.mail(BEN)
        known = [BEN] * 60
        assert {one[:3] for one in rcpt(client, *known)} == {"250"}
        (answer,) = rcpt(client, BEN)
    assert answer.startswith("550 5.5.3 ")
    assert answer.endswith("[TP 2.5 (2026-11)]")
    assert 'check="recipients"' in relay.metrics()


def test_new_correspondents_are_reserved_at_rcpt_in_all_sessions_and_given_back(
    relay: Relay, customer: CustomerServer
) -> None:
    first, second = relay.client(ANNA), relay.client(ANNA)
    first.mail(ANNA)
    assert {one[:3] for one in rcpt(first, *people(0, 30))} == {"250"}
    second.mail(ANNA)
    answers = rcpt(second, *people(30, 51))
    assert [one[:3] for one in answers] == ["250"] * 20 + ["450"]
    assert "first 14 days" in answers[-1]
    assert answers[-1].endswith("[TP 2.6 (2026-11)]")
    first.rset()  # nothing was sent: there is room again
    assert rcpt(second, "user51@world.example")[0].startswith("250 ")
    second.data(message(sender=ANNA).as_bytes())
    before = len(customer.messages)
    assert before
    # those are known now, in every worker, and cost nothing
    for _ in range(2):
        with relay.client(ANNA) as client:
            for round_ in range(3):
                client.mail(ANNA)
                assert {one[:3] for one in rcpt(client, *people(30, 50))} == {"250"}, round_
                client.rset()
    until(lambda: relay.json("account", "show", ANNA)["tally"]["first_time_recipients_24h"] == 21)
    for client in (first, second):
        client.close()


def test_a_message_rate_holds_over_all_workers_and_names_its_clause(relay: Relay) -> None:
    refused = []
    for _ in range(8):
        with relay.client(SLOW) as client:
            try:
                client.send_message(message(sender=SLOW))
            except smtplib.SMTPRecipientsRefused as error:
                refused.append(error.recipients)
    assert len(refused) == 4
    (code, text) = next(iter(refused[0].values()))
    assert code == 450
    assert b"4 in 1h" in text
    assert text.endswith(b"[TP 2.1 (2026-11)]")


def test_a_clause_about_attachments_refuses_at_the_dot(relay: Relay) -> None:
    mail = message(sender=APP)
    mail.add_attachment(b"PK", maintype="application", subtype="octet-stream", filename="plan.pages")
    with relay.client(APP) as client, pytest.raises(smtplib.SMTPDataError) as refusal:
        client.send_message(mail)
    assert refusal.value.smtp_code == 550
    assert b"TP 3.2 (2026-11)" in refusal.value.smtp_error
    until(lambda: relay.json("account", "show", APP)["tally"]["refusals_1h"] == 1)


def test_under_the_brake_mail_is_taken_and_waits(relay: Relay, customer: CustomerServer) -> None:
    before = len(customer.messages)
    with relay.client(APP) as client:
        client.mail(APP)
        assert rcpt(client, "a@world.example")[0].startswith("250")
        relay.run("brake", "--for", "10min", "--reason", "a storm")
        until(lambda: 'gatepost_switch{switch="brake"} 1.0' in relay.metrics())
        client.data(message(sender=APP).as_bytes())  # the dot of an open transaction too
        client.send_message(message(sender=APP))
    assert len(relay.rows("outbox", "list")) == 2
    assert "brake" in relay.run("check").stdout
    assert len(customer.messages) == before
    relay.run("brake", "--off")
    until(lambda: len(customer.messages) == before + 2)
    assert 'gatepost_switch{switch="brake"} 0.0' in relay.metrics()
    actions = [one["action"] for one in relay.json("audit", "list")]
    assert [one for one in actions if one.startswith("brake")] == ["brake off", "brake on"]
    sessions = [relay.client(APP) for _ in range(8)]  # both workers forward again
    until(lambda: all(forwards(one) for one in sessions))
    until(lambda: relay.rows("outbox", "list") == [])
    for one in sessions:
        one.close()


def test_the_owners_switch_and_the_providers_do_not_lift_each_other(relay: Relay) -> None:
    relay.run("account", "pause", PAUSED)
    until(lambda: "paused by its owner" in may_send(relay, PAUSED))
    assert relay.json("account", "show", PAUSED)["standing"] == "suspended"
    relay.run("account", "suspend", PAUSED, "--reason", "spam")
    relay.run("account", "resume", PAUSED)
    until(lambda: "spam" in may_send(relay, PAUSED))
    relay.run("account", "pause", PAUSED)
    relay.run("account", "reinstate", PAUSED)
    until(lambda: "paused by its owner" in may_send(relay, PAUSED))
    relay.run("account", "resume", PAUSED)
    until(lambda: may_send(relay, PAUSED).startswith("250"))


def test_a_bypass_lets_a_suspended_account_send_until_it_ends(relay: Relay) -> None:
    sessions = [relay.client(SPAMMED) for _ in range(8)]  # of both workers: what they do not know yet bites
    relay.run("account", "suspend", SPAMMED, "--reason", "spam")
    until(lambda: all(answer(one, SPAMMED).startswith("550") for one in sessions))
    relay.run("bypass", "--for", "30m")
    until(lambda: all(answer(one, SPAMMED).startswith("250") for one in sessions))
    relay.run("bypass", "--off")
    until(lambda: all(answer(one, SPAMMED).startswith("550") for one in sessions))
    for one in sessions:
        one.close()
    assert relay.run("bypass", "--off", check=False).returncode == 1


def forwards(client: smtplib.SMTP) -> bool:
    client.mail(APP)
    client.rcpt("a@world.example")
    return b"stored" in client.data(message(sender=APP).as_bytes())[1]


def may_send(relay: Relay, login: str) -> str:
    with relay.client(login) as client:
        return answer(client, login)


def answer(client: smtplib.SMTP, login: str) -> str:
    client.rset()
    client.mail(login)
    return rcpt(client, "a@world.example")[0]
