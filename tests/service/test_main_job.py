"""The way of a message through the real daemon, as mail clients and operators see it."""

from __future__ import annotations

import base64
import json
import re
import smtplib
import urllib.request
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.harness import CustomerServer, Relay

pytestmark = pytest.mark.service

ALICE, ROBOT, BOB = "alice@acme.example", "robot@acme.example", "bob@partner.example"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def message(sender: str = ALICE, text: str = "Hello Bob,\n\nsee you on Thursday.\n") -> EmailMessage:
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = sender, BOB, "Thursday"
    made["Message-ID"], made["Date"] = "<1@acme.example>", "Mon, 16 Nov 2026 09:00:00 +0000"
    made.set_content(text)
    return made


def test_mail_arrives_as_it_was_sent_below_our_own_headers(relay: Relay, customer: CustomerServer) -> None:
    raw = b"From: alice@acme.example\r\nSubject:  odd   blanks \r\nTo: bob@partner.example\r\n"
    raw += b"\r\n.one\r\n..two\r\n\r\nend \r\n"
    with relay.client(ALICE) as client:
        client.sendmail(ALICE, [BOB], raw)
    (stored,) = customer.messages
    assert stored.raw.endswith(raw)
    ours = stored.raw[: -len(raw)]
    assert re.findall(rb"(?m)^([A-Za-z-]+):", ours) == [
        b"Received", b"DKIM-Signature", b"CFBL-Address", b"CFBL-Feedback-ID", b"Feedback-ID",
    ]  # fmt: skip
    assert (stored.sender, stored.recipients) == (ALICE, [BOB])


def test_implicit_tls_takes_mail_too(relay: Relay, customer: CustomerServer) -> None:
    with smtplib.SMTP_SSL(*relay.address("submissions"), context=relay.trust()) as client:
        client.login(ALICE, relay.passwords[ALICE])
        client.send_message(message())
    assert len(customer.messages) == 1


def test_pd_31_a_blind_copy_is_not_shown_to_the_others(relay: Relay, customer: CustomerServer) -> None:
    raw = (
        b"From: alice@acme.example\r\nTo: bob@partner.example\r\nBcc: secret@partner.example\r\n\r\nhello\r\n"
    )
    with relay.client(ALICE) as client:
        client.sendmail(ALICE, [BOB, "secret@partner.example"], raw)
    (stored,) = customer.messages
    assert stored.recipients == [BOB, "secret@partner.example"]
    assert b"secret" not in stored.raw


def test_spam_is_refused_with_a_reason_and_goes_nowhere(relay: Relay, customer: CustomerServer) -> None:
    with relay.client(ALICE) as client, pytest.raises(smtplib.SMTPDataError) as refused:
        client.send_message(message(text=GTUBE + "\n"))
    assert refused.value.smtp_code == 554
    assert b"GTUBE" in refused.value.smtp_error
    assert customer.messages == []


def test_a_sender_that_is_not_the_accounts_is_refused(relay: Relay, customer: CustomerServer) -> None:
    with relay.client(ALICE) as client:
        client.ehlo()
        assert client.mail("ceo@acme.example")[0] == 550
        assert client.mail(ALICE)[0] == 250
        assert client.rcpt(BOB)[0] == 250
        assert client.data(message(sender="ceo@acme.example").as_bytes())[0] == 550
    assert customer.messages == []


def test_the_customers_server_decides_about_each_recipient(relay: Relay, customer: CustomerServer) -> None:
    customer.replies["nobody@partner.example"] = "550 5.1.1 no such person"
    with relay.client(ALICE) as client:
        refused = client.sendmail(ALICE, [BOB, "nobody@partner.example"], message().as_bytes())
    assert refused == {"nobody@partner.example": (550, b"5.1.1 no such person")}
    assert [stored.recipients for stored in customer.messages] == [[BOB]]


@pytest.mark.parametrize("place", ["RCPT", "DATA"])
def test_what_the_server_puts_off_waits_and_arrives_once(
    relay: Relay, customer: CustomerServer, place: str
) -> None:
    customer.replies[place] = "451 4.2.0 later"
    with relay.client(ALICE) as client:
        client.send_message(message())
    waiting = relay.rows("outbox", "list")
    assert len(waiting) == 1
    assert customer.messages == []
    del customer.replies[place]
    relay.run("outbox", "retry", "--all")
    until(lambda: customer.messages)
    until(lambda: relay.rows("outbox", "list") == [])
    assert [stored.recipients for stored in customer.messages] == [[BOB]]
    assert customer.messages[0].raw.endswith(message().as_bytes())


def test_suspicious_mail_is_held_until_staff_release_it(relay: Relay, customer: CustomerServer) -> None:
    good = relay.config.read_text()
    relay.config.write_text(good.replace("[screening]", "[screening]\ntag = -50.0\nhold = -50.0"))
    relay.reload()
    with relay.client(ALICE) as client:
        client.send_message(message())
    relay.config.write_text(good)
    relay.reload()
    (held,) = relay.rows("held", "list")
    assert [stored for stored in customer.messages if BOB in stored.recipients] == []
    relay.run("held", "release", held["id"])
    until(lambda: [stored for stored in customer.messages if BOB in stored.recipients])
    assert relay.rows("held", "list") == []


def test_a_throttled_account_is_taken_and_paced(relay: Relay, customer: CustomerServer) -> None:
    relay.account("slow@acme.example", "acme")
    relay.run("account", "throttle", "slow@acme.example", "--reason", "looks odd")
    with relay.client("slow@acme.example") as client:
        until(lambda: relay.json("account", "show", "slow@acme.example")["standing"] == "throttled")
        client.send_message(message(sender="slow@acme.example"))
    until(lambda: customer.messages)
    until(lambda: [event for event in relay.events("delivery") if event["login"] == "slow@acme.example"])


def test_the_customers_server_decides_about_the_message(relay: Relay, customer: CustomerServer) -> None:
    customer.replies["DATA"] = "554 5.6.0 not this one"
    with relay.client(ALICE) as client, pytest.raises(smtplib.SMTPDataError) as refused:
        client.send_message(message())
    assert (refused.value.smtp_code, refused.value.smtp_error) == (554, b"5.6.0 not this one")


def test_nobody_sends_without_a_login(relay: Relay) -> None:
    with smtplib.SMTP(*relay.address("submission"), timeout=PATIENCE_SECONDS) as client:
        client.ehlo()
        assert client.mail(ALICE)[0] == 530
        client.starttls(context=relay.trust())
        client.ehlo()
        assert client.mail(ALICE)[0] == 530
        tried = [_plain(client, login) for login in (ALICE, "nobody@acme.example")]
    assert tried[0] == tried[1]
    assert tried[0][0] == 535


def _plain(client: smtplib.SMTP, login: str) -> tuple[int, bytes]:
    response = base64.b64encode(f"\0{login}\0not the password".encode()).decode()
    return client.docmd("AUTH", f"PLAIN {response}")


def test_a_suspension_holds_in_an_open_session_and_a_reinstatement_too(
    relay: Relay, customer: CustomerServer
) -> None:
    client = relay.client(ALICE)
    shown = relay.json("account", "suspend", ALICE, "--reason", "list was bought")

    def refused() -> bytes | None:
        client.rset()
        assert client.mail(ALICE)[0] == 250
        code, text = client.rcpt(BOB)
        return text if code == 550 else None

    text = until(refused)
    assert b"list was bought" in text
    assert shown["case_id"].encode() in text
    assert client.rcpt("postmaster@relay.example")[0] == 250, "support stays reachable"
    assert relay.json("account", "show", ALICE)["standing"] == "suspended"
    explained = relay.json("explain", shown["case_id"])
    assert (explained["to"], explained["reason"]) == ("suspended", "list was bought")
    relay.run("account", "reinstate", ALICE)
    until(lambda: refused() is None)
    client.rset()
    client.send_message(message())
    client.quit()
    assert len(customer.messages) == 1


def test_a_new_account_can_send_at_once(relay: Relay) -> None:
    relay.account("new@acme.example", "acme")
    with relay.client("new@acme.example") as client:
        assert client.noop()[0] == 250


def test_screen_says_what_would_happen(relay: Relay, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.eml", tmp_path / "bad.eml"
    good.write_bytes(message().as_bytes())
    bad.write_bytes(message(text=GTUBE).as_bytes())
    lines = relay.run("screen", str(good), str(bad), "--json").stdout.splitlines()
    shown = [json.loads(line) for line in lines]
    assert [list(line) for line in shown] == [["file", "score", "action", "hits", "ms"]] * 2
    assert [line["action"] for line in shown] == ["deliver", "refuse"]
    assert set(shown[1]["hits"][0]) == {"rule", "score", "evidence"}


def test_metrics_show_zeros_and_no_person(relay: Relay) -> None:
    with relay.client(ALICE) as client:
        client.send_message(message())
    host, port = relay.address("http")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        text = answer.read().decode()
    assert 'gatepost_messages_total{action="defer",outcome="deferred"} 0.0' in text
    assert "acme.example" not in text
    for path in ("healthz", "readyz"):
        with urllib.request.urlopen(f"http://{host}:{port}/{path}", timeout=PATIENCE_SECONDS) as answer:
            assert answer.status == 200


def test_the_log_names_no_recipient_and_no_subject(relay: Relay) -> None:
    with relay.client(ALICE) as client:
        client.sendmail(
            ALICE, ["canary@partner.example"], message().as_bytes().replace(b"Thursday", b"canary-subject")
        )
    line = until(lambda: relay.events("message"))[-1]
    assert {"id", "login", "action", "outcome", "score", "reply", "stages_ms"} <= set(line)
    assert "canary" not in relay.log()
    assert relay.passwords[ALICE] not in relay.log()


def test_a_reload_takes_the_new_file_whole_or_keeps_the_old(relay: Relay) -> None:
    good = relay.config.read_text()
    try:
        relay.config.write_text(good.replace("[screening]", "[screening]\ntags = 1"))
        event = relay.reload()
        assert event["ok"] is False
        assert "did you mean tag?" in event["faults"][0]
        with relay.client(ALICE) as client:
            client.send_message(message())
        relay.config.write_text(good.replace("[limits]", '[limits]\nmessage_size = "1 MiB"'))
        assert relay.reload()["ok"] is True
        with relay.client(ALICE) as client:
            client.ehlo()
            assert client.esmtp_features["size"] == str(1 << 20)
    finally:
        relay.config.write_text(good)
    assert relay.reload()["ok"] is True


def test_an_unreachable_server_defers(relay: Relay) -> None:
    relay.run("customer", "add", "dark", "--server", "127.0.0.1:1")
    relay.account("eve@dark.example", "dark")
    with relay.client("eve@dark.example") as client:
        client.ehlo()
        client.mail("eve@dark.example")
        code, _ = client.rcpt(BOB)
    assert code in (250, 451)


def test_check_and_serve_agree_about_a_broken_file(relay: Relay, tmp_path: Path) -> None:
    broken = tmp_path / "gatepost.toml"
    broken.write_text('hostnam = "x"\n[listeners]\nsubmission = "nowhere"\n')
    for command in ("check", "serve"):
        done = relay.run("-c", str(broken), command, check=False)
        assert done.returncode in (1, 2)
        assert "did you mean hostname?" in done.stderr
        assert "listeners.submission" in done.stderr


def test_sigterm_says_421_to_the_idle_and_ends_with_0(relay: Relay) -> None:
    client = relay.client(ALICE)
    assert relay.stop() == 0
    assert client.noop()[0] == 421
    client.close()
    relay.start()
