"""Who may log in, how fast that changes, and what is kept of it, with the running daemon."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import Relay, until
from tests.service.test_main_job import ALICE, BOB, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    with Relay(tmp_path_factory.mktemp("logins")) as running:
        running.init()
        running.configure("limits", "auth_failures_per_client = 3")
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
        running.run("customer", "add", "other", "--server", f"127.0.0.1:{customer.port}")
        running.account(ALICE, "acme")
        running.account("anybody@acme.example", "acme", "--sender", "*")
        running.account("bruno@other.example", "other", "--sender", "@other.example")
        yield running.start()


def answer(relay: Relay, login: str, password: str) -> int:
    """Log in; the code of the reply to it."""
    try:
        relay.client(login, password).quit()
    except smtplib.SMTPAuthenticationError as refused:
        return int(refused.smtp_code)
    return 235


def within_a_second(relay: Relay, login: str, password: str, code: int) -> None:
    until(lambda: answer(relay, login, password) == code, seconds=1)


def test_au_14_a_closed_account_is_refused_at_the_door_and_in_its_open_session(relay: Relay) -> None:
    relay.account("leaver@acme.example", "acme")
    password = relay.passwords["leaver@acme.example"]
    with relay.client("leaver@acme.example") as client:
        relay.run("account", "close", "leaver@acme.example", "--reason", "gone")
        within_a_second(relay, "leaver@acme.example", password, 525)
        client.mail("leaver@acme.example")
        assert client.rcpt(BOB)[0] >= 400


def test_au_15_a_new_password_works_at_once_and_the_old_one_dies(relay: Relay) -> None:
    relay.account("changer@acme.example", "acme")
    old = relay.passwords["changer@acme.example"]
    assert answer(relay, "changer@acme.example", old) == 235
    new = relay.json("account", "password", "changer@acme.example")["password"]
    within_a_second(relay, "changer@acme.example", new, 235)
    assert answer(relay, "changer@acme.example", old) == 535


def test_a_credential_is_listed_blocked_and_taken_again(relay: Relay) -> None:
    relay.account("stolen@acme.example", "acme")
    password = relay.passwords["stolen@acme.example"]
    assert answer(relay, "stolen@acme.example", password) == 235
    (known,) = relay.json("credential", "list", "stolen@acme.example")
    assert (known["blocked"], known["own"]) == (False, True)
    relay.run("credential", "block", "stolen@acme.example", "--password-stdin", stdin=password + "\n")
    within_a_second(relay, "stolen@acme.example", password, 525)
    assert relay.json("credential", "list", "stolen@acme.example")[0]["blocked"]
    relay.run("credential", "unblock", "stolen@acme.example", "--password-stdin", stdin=password + "\n")
    within_a_second(relay, "stolen@acme.example", password, 235)


def test_logins_are_kept_with_when_from_where_and_how(relay: Relay) -> None:
    relay.account("watched@acme.example", "acme")
    assert answer(relay, "watched@acme.example", relay.passwords["watched@acme.example"]) == 235
    assert answer(relay, "watched@acme.example", "wrong") == 535

    def history() -> list[dict[str, object]]:
        found: list[dict[str, object]] = relay.json("account", "logins", "watched@acme.example")
        return found

    rows = until(lambda: [row for row in [history()] if len(row) >= 2])[0]
    assert {row["from"] for row in rows} == {"127.0.0.1"}
    assert [row["ok"] for row in rows][-1] is True
    assert rows[0]["ok"] is False
    assert {row["how"] for row in rows} <= {"PLAIN", "LOGIN"}
    assert "wrong" in relay.run("account", "logins", "watched@acme.example").stdout


def test_au_12_guessing_at_a_login_sounds_an_alarm_with_its_name(relay: Relay) -> None:
    for number in range(5):
        assert answer(relay, ALICE, f"guess {number}") == 535
    until(lambda: relay.events("login_guessed"))
    assert relay.events("login_guessed") == [
        {**relay.events("login_guessed")[0], "level": "warning", "login": ALICE}
    ]


@pytest.mark.parametrize("name", ["MAIL FROM", "From", "Resent-From"])
def test_pd_15_a_star_is_no_other_customers_name(relay: Relay, customer: CustomerServer, name: str) -> None:
    theirs, ours = "bruno@other.example", "anybody@acme.example"
    sent = message(sender=theirs if name == "From" else ours)
    if name == "Resent-From":
        sent["Resent-From"] = theirs
    with relay.client(ours) as client:
        with pytest.raises(smtplib.SMTPException) as refused:
            client.send_message(sent, from_addr=theirs if name == "MAIL FROM" else ours)
        client.send_message(message(sender="somebody@else.example"), from_addr="x@else.example")
    assert "550" in str(refused.value)
    assert len(customer.messages) == 1
