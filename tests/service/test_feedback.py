"""What comes back, end to end over SMTP and HTTP against a daemon of two workers."""

from __future__ import annotations

import re
import secrets
import smtplib
import time
import urllib.parse
import urllib.request
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

import pytest

from relay import clock
from relay.feedback import signed
from relay.signing import dkim
from relay.signing.dkim import Signer
from tests.service.harness import PATIENCE_SECONDS, Relay, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service

NEWS, OTHER = "news@acme.example", "other@acme.example"
PATHS = ("ann@proxy.example", "ann@queue.example")
LOOP = Signer("loop.example", "s", dkim.new_key("ed25519"))
HUB = Signer("hub.example", "s", dkim.new_key("ed25519"))
SECRET = secrets.token_hex(32).encode()
ADDRESS = "fbl@relay.example"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    folder = tmp_path_factory.mktemp("feedback")
    with Relay(folder) as running:
        running.init()
        text = running.config.read_text().replace("workers = 1 ", "workers = 2 ")
        text += '\n[feedback.sources.hub]\nreporter = "hub.example"\nsecret_file = "hub.secret"\n'
        running.config.write_text(text)
        running.configure("unsubscribe", 'url = "https://relay.example"')
        (running.folder / "hub.secret").write_bytes(SECRET)
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
        running.configure("returns", 'domain = "return.example"\ncustomers = ["proxy", "queue"]')
        for login, forward in zip(PATHS, ("proxy", "queue"), strict=True):
            host = f"127.0.0.1:{customer.port}"
            running.run("customer", "add", forward, "--server", host, "--forward", forward)
            running.account(login, forward)
        for login in (NEWS, OTHER):
            running.account(login, "acme", "--class", "bulk")
        for signer, covers in ((LOOP, "a.example"), (HUB, "b.example")):
            key = running.folder / f"{signer.domain}.key"
            key.write_text(signer.dns_record()[1])
            running.run("reporter", "add", signer.domain, "--covers", covers, "--dkim-key", str(key))
        yield running.start()
        assert running.stop() == 0


def send(relay: Relay, login: str, recipient: str) -> None:
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = login, recipient, "Offer"
    made["Message-ID"] = f"<{secrets.token_hex(8)}@acme.example>"
    made.set_content("Buy\n")
    with relay.client(login) as client:
        client.send_message(made)


def report(raw: bytes, signer: Signer | None, domain: str = "loop.example", kind: str = "abuse") -> bytes:
    head = (
        f"From: fbl@{domain}\r\nTo: {ADDRESS}\r\nSubject: report\r\n"
        f"Message-ID: <{secrets.token_hex(8)}@x>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n"
    ).encode()
    body = (
        f"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: L/1\r\n"
        "Version: 1\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    ).encode() + raw
    body += b"\r\n--b--\r\n"
    return (signer.sign(head, body, clock.now()) if signer else b"") + head + b"\r\n" + body


def mail_in(relay: Relay, *reports: bytes) -> None:
    host, port = relay.address("feedback")
    with smtplib.SMTP(host, port, timeout=PATIENCE_SECONDS) as client:
        for one in reports:
            client.sendmail("", [ADDRESS], one)


def tally(relay: Relay, login: str) -> dict[str, int]:
    found: dict[str, int] = relay.json("account", "show", login)["tally"]
    return found


def refused(client: smtplib.SMTP, login: str, recipient: str = "x@else.example") -> bool:
    client.mail(login)
    code = client.rcpt(recipient)[0]
    client.rset()
    return code == 550


def test_forged_reports_move_nothing_and_signed_ones_switch_off_in_both_workers(
    relay: Relay, customer: CustomerServer
) -> None:
    customer.messages.clear()
    for number in range(14):
        send(relay, NEWS, f"user{number}@{'ab'[number % 2]}.example")
    mails = [(one.raw, one.recipients[0]) for one in customer.messages]
    assert len(mails) == 14
    sessions = [relay.client(NEWS) for _ in range(6)]
    other = Signer("loop.example", "s", dkim.new_key("ed25519"))
    mail_in(relay, *(report(raw, None) for raw, _ in mails), *(report(raw, other) for raw, _ in mails))
    until(lambda: tally(relay, NEWS)["grade_b"] == 14)
    assert (tally(relay, NEWS)["votes"], relay.json("account", "show", NEWS)["standing"]) == (0, "active")
    assert not any(refused(one, NEWS) for one in sessions)
    for raw, recipient in mails:
        signer = LOOP if recipient.endswith("@a.example") else HUB
        mail_in(relay, report(raw, signer, signer.domain))
    until(lambda: relay.json("account", "show", NEWS)["standing"] in ("deactivated", "suspended"))
    until(lambda: all(refused(one, NEWS) for one in sessions), seconds=1.5)
    for one in sessions:
        one.close()
    assert relay.json("account", "show", OTHER)["standing"] == "active"


def test_not_spam_takes_a_vote_back_and_a_signed_post_counts_once(
    relay: Relay, customer: CustomerServer
) -> None:
    customer.messages.clear()
    send(relay, OTHER, "ann@a.example")
    send(relay, OTHER, "bea@b.example")
    ann, bea = (one.raw for one in customer.messages)
    mail_in(relay, report(ann, LOOP))
    until(lambda: tally(relay, OTHER)["votes"] == 1)
    host, port = relay.address("http")
    body = report(bea, None, "whoever.example")
    for number, status in (("a" * 16, 200), ("a" * 16, 401), ("b" * 16, 200)):
        seal = signed.sign(SECRET, body, int(time.time()), number)  # noqa: TID251 - the clock of a provider
        asked = urllib.request.Request(
            f"http://{host}:{port}/feedback/hub",
            body,
            {"content-type": "message/rfc822", "gatepost-signature": seal},
        )
        assert answer(asked) == status
    until(lambda: tally(relay, OTHER)["votes"] == 2)
    with relay.client(OTHER) as client:
        # who complained gets no more bulk mail, and every process knows it within a second
        until(lambda: refused(client, OTHER, "ann@a.example"), seconds=1.5)
    mail_in(relay, report(ann, LOOP, kind="not-spam"))
    until(lambda: tally(relay, OTHER)["votes"] == 1)
    with relay.client(OTHER) as client:
        until(lambda: not refused(client, OTHER, "ann@a.example"))


def answer(asked: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as found:  # noqa: S310 - our own daemon
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_one_click_stops_bulk_mail_to_that_recipient_in_every_session(
    relay: Relay, customer: CustomerServer
) -> None:
    customer.messages.clear()
    send(relay, OTHER, "cid@b.example")
    raw = customer.messages[0].raw
    link = re.search(rb"List-Unsubscribe: <https://relay\.example(/unsubscribe/[a-z2-7]+)>", raw)
    assert link is not None
    host, port = relay.address("http")
    address = f"http://{host}:{port}{link[1].decode()}"
    with relay.client(OTHER) as one, relay.client(OTHER) as two:
        assert answer(urllib.request.Request(address)) == 405
        assert not refused(one, OTHER, "cid@b.example")
        click = urllib.parse.urlencode({"List-Unsubscribe": "One-Click"}).encode()
        assert answer(urllib.request.Request(address, click)) == 200
        until(
            lambda: refused(one, OTHER, "cid@b.example") and refused(two, OTHER, "cid@b.example"), seconds=3
        )
    found = relay.json("suppression", "show", "cid@b.example", "--customer", "acme")["suppressions"]
    assert [line["kind"] for line in found] == ["unsubscribe"]
    assert tally(relay, OTHER)["grade_b"] == 0


def bounced(to: str, recipient: str) -> bytes:
    return (
        f"From: MAILER-DAEMON@mx.a.example\r\nTo: {to}\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n"
        "--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.a.example\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        "--x\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: x@acme.example\r\n\r\n--x--\r\n"
    ).encode()


@pytest.mark.parametrize("login", PATHS)
def test_a_bounce_to_our_return_path_counts_once_and_reaches_the_sender(
    relay: Relay, customer: CustomerServer, login: str
) -> None:
    customer.messages.clear()
    send(relay, login, "gone@a.example")
    [out] = until(lambda: [one for one in customer.messages if "gone@a.example" in one.recipients])
    path = out.sender
    assert re.fullmatch(r"bounce\+[a-z2-7]{52}@return\.example", path)
    host, port = relay.address("feedback")
    with smtplib.SMTP(host, port, timeout=PATIENCE_SECONDS) as client:
        client.ehlo()
        client.mail("")
        assert client.rcpt(path.replace("bounce+", "bounce+a"))[0] == 550, "forged"
        assert client.rcpt("ann@return.example")[0] == 550
        client.rset()

        def taken() -> bool:  # the journal's row may come a moment after the message
            client.mail("")
            assert client.rcpt(path)[0] == 250
            return client.data(bounced(path, "gone@a.example"))[0] == 250

        until(taken)
        assert taken(), "the same again"
    [back] = until(lambda: [one for one in customer.messages if login in one.recipients])
    assert back.sender in ("", "<>", None)
    assert b"Final-Recipient: rfc822; gone@a.example" in back.raw
    until(lambda: tally(relay, login)["hard_bounces"] == 1)
    assert len([one for one in customer.messages if login in one.recipients]) == 1
