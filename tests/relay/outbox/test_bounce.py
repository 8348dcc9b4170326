from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.outbox import bounce
from relay.outbox.bounce import Kind, Subject
from relay.outbox.envelope import Fate, Recipient, WaitingEnvelope

NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)
HEAD = b"Subject: hello\r\nBcc: hidden@x.example\r\n\r\nsecret body"


def subject(envelope: WaitingEnvelope, head: bytes = HEAD, until: datetime | None = None) -> Subject:
    return Subject("3b0c46hqxbvrfef5", "gate.example", NOW - timedelta(hours=5), envelope, head, until)


def failed(address: str, notify: tuple[str, ...] = (), reply: str = "550 5.1.1 no such user") -> Recipient:
    return Recipient(address, notify, fate=Fate.FAILED, status="5.1.1", reply=reply)


def parse(raw: bytes) -> EmailMessage:
    assert len(raw) <= 50_000
    assert b"\n" not in raw.replace(b"\r\n", b"")
    return email.message_from_bytes(raw, policy=email.policy.default)


def test_a_failure_is_reported_as_rfc_3464_says() -> None:
    people = (failed("gone@x.example"), Recipient("fine@x.example", fate=Fate.DELIVERED))
    envelope = WaitingEnvelope("a@acme.example", people, envid="my+20id")
    (raw,) = bounce.notify(subject(envelope), Kind.FAILURE, people, NOW)
    message = parse(raw)
    assert message["To"] == "a@acme.example"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    text, status, headers = message.iter_parts()
    assert "gone@x.example" in text.get_content()
    whole, one = status.iter_parts() if status.is_multipart() else (None, None)
    assert whole is not None
    assert one is not None
    assert (whole["Reporting-MTA"], whole["Original-Envelope-Id"]) == ("dns; gate.example", "my id")
    assert (one["Final-Recipient"], one["Action"], one["Status"]) == (
        "rfc822; gone@x.example",
        "failed",
        "5.1.1",
    )
    assert one["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert b"secret" not in raw
    assert b"fine@x.example" not in raw


@pytest.mark.parametrize(
    ("kind", "fate", "notify", "told"),
    [
        (Kind.FAILURE, Fate.FAILED, (), True),
        (Kind.FAILURE, Fate.FAILED, ("FAILURE",), True),
        (Kind.FAILURE, Fate.FAILED, ("NEVER",), False),
        (Kind.FAILURE, Fate.FAILED, ("SUCCESS",), False),
        (Kind.FAILURE, Fate.WAITING, (), False),
        (Kind.DELAY, Fate.WAITING, (), True),
        (Kind.DELAY, Fate.WAITING, ("FAILURE",), False),
        (Kind.DELAY, Fate.FAILED, (), False),
        (Kind.SUCCESS, Fate.RELAYED, ("SUCCESS",), True),
        (Kind.SUCCESS, Fate.DELIVERED, ("SUCCESS",), False),
        (Kind.SUCCESS, Fate.RELAYED, (), False),
    ],
)
def test_notify_says_who_hears_what(kind: Kind, fate: Fate, notify: tuple[str, ...], *, told: bool) -> None:
    people = (Recipient("b@x.example", notify, fate=fate),)
    assert bool(bounce.notify(subject(WaitingEnvelope("a@acme.example", people)), kind, people, NOW)) is told


def test_only_what_a_server_said_is_called_smtp() -> None:
    """RFC 3464 §2.3.6: a diagnostic code of that type begins with a reply code."""
    words = {"550 5.1.1 no such user": b"smtp", "It could not be delivered in time": b"x-gatepost"}
    for reply, kind in words.items():
        people = (failed("b@x.example", reply=reply),)
        (report,) = bounce.notify(
            subject(WaitingEnvelope("a@acme.example", people)), Kind.FAILURE, people, NOW
        )
        assert b"\r\nDiagnostic-Code: %s; %s\r\n" % (kind, reply.encode()) in report


def test_du_35_nobody_is_told_of_mail_from_nobody() -> None:
    people = (failed("b@x.example"),)
    for kind in Kind:
        assert bounce.notify(subject(WaitingEnvelope("", people)), kind, people, NOW) == []


def test_du_35_a_thousand_recipients_make_several_small_reports() -> None:
    people = tuple(
        failed(f"{'x' * 50}{n}@{'y' * 100}.example", reply="550 " + "z" * 400) for n in range(1000)
    )
    raws = bounce.notify(
        subject(WaitingEnvelope("a@acme.example", people), HEAD[:16] * 9000), Kind.FAILURE, people, NOW
    )
    assert len(raws) == 25
    assert all(len(raw) <= 50_000 for raw in raws)
    assert sum(raw.count(b"Final-Recipient:") for raw in raws) == 1000
    assert len({parse(raw)["Message-ID"] for raw in raws}) == 25


def test_international_addresses_are_written_as_rfc_6533_says() -> None:
    people = (failed("tést@x.example"),)
    (raw,) = bounce.notify(subject(WaitingEnvelope("a@acme.example", people)), Kind.FAILURE, people, NOW)
    assert b"Final-Recipient: utf-8; t\\x{E9}st@x.example\r\n" in raw


HOSTILE = st.text(alphabet=st.sampled_from("a\r\n\0\x1b\u2028é.:@ -"), max_size=60)


@given(HOSTILE, HOSTILE, HOSTILE, st.binary(max_size=200))
def test_hostile_words_stay_on_their_lines(address: str, reply: str, envid: str, head: bytes) -> None:
    people = (Recipient(address, orcpt=f"rfc822;{address}", fate=Fate.FAILED, status="5.0.0", reply=reply),)
    envelope = WaitingEnvelope("a@acme.example", people, envid=envid or None)
    (raw,) = bounce.notify(subject(envelope, head), Kind.FAILURE, people, NOW)
    names = {line.split(b":")[0] for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")}
    assert names == {
        b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", b"MIME-Version",
        b"Content-Type", b"Content-Transfer-Encoding",
    }  # fmt: skip
    assert raw.count(b"\r\nFinal-Recipient: ") == 1
    assert b"\0" not in raw
    parse(raw)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"A: b\r\n\r\nbody", b"A: b\r\n"),
        (b"A: b\r\n", b"A: b\r\n"),
        (b"", b""),
        (b"A: \xe9\r\n\r\n", b"A: ?\r\n"),
        (b"A: \0\r\n\tb\rc\nd\r\n\r\n", b"A: ?\r\n b?c?d\r\n"),
    ],
)
def test_pr_09_only_the_header_comes_back(head: bytes, kept: bytes) -> None:
    assert bounce.header(head) == kept


WHOLE = b"Subject: hello\r\n\r\n\xc3\xa9 secret body\r\n"


@pytest.mark.parametrize(
    ("kind", "envelope", "head", "whole"),
    [
        (Kind.FAILURE, {"ret": "FULL"}, WHOLE, True),
        (Kind.FAILURE, {"ret": "full"}, WHOLE, True),
        (Kind.FAILURE, {"ret": "HDRS"}, WHOLE, False),
        (Kind.FAILURE, {}, WHOLE, False),
        (Kind.DELAY, {"ret": "FULL"}, WHOLE, False),
        (Kind.FAILURE, {"ret": "FULL", "smtputf8": True}, WHOLE, False),
        (Kind.FAILURE, {"ret": "FULL"}, WHOLE + b"x" * 40_000, False),
    ],
)
def test_the_message_comes_back_where_the_sender_asked_for_it_and_it_fits(
    kind: Kind, envelope: dict[str, Any], head: bytes, *, whole: bool
) -> None:
    people = (failed("gone@x.example"),)
    if kind is Kind.DELAY:
        people = (Recipient("gone@x.example"),)
    asked = WaitingEnvelope("a@acme.example", people, **envelope)
    (raw,) = bounce.notify(subject(asked, head), kind, people, NOW)
    last = [*parse(raw).iter_parts()][-1]
    assert last.get_content_type() == ("message/rfc822" if whole else "text/rfc822-headers")
    assert (WHOLE in raw) == whole


def test_a_message_whose_eight_bits_failed_comes_back_as_its_header() -> None:
    people = (Recipient("a@x.example", fate=Fate.FAILED, status="5.6.3", reply="554 5.6.3 7 bits only"),)
    asked = WaitingEnvelope("a@acme.example", people, ret="FULL")
    (raw,) = bounce.notify(subject(asked, WHOLE), Kind.FAILURE, people, NOW)
    assert WHOLE not in raw
    (raw,) = bounce.notify(subject(asked, b"A: b\r\n\r\nplain\r\n"), Kind.FAILURE, people, NOW)
    assert b"plain" in raw


def test_what_is_said_of_many_recipients_leaves_no_room_for_the_message() -> None:
    people = tuple(failed(f"{'x' * 60}{n}@{'y' * 60}.example", reply="550 " + "z" * 190) for n in range(100))
    asked = WaitingEnvelope("a@acme.example", people, ret="FULL")
    made = bounce.notify(subject(asked, b"A: b\r\n\r\n" + b"body\r\n" * 5000), Kind.FAILURE, people, NOW)
    assert all(len(raw) <= 50_000 for raw in made)


def test_what_was_not_let_through_does_not_come_back() -> None:
    people = (failed("gone@x.example"),)
    asked = WaitingEnvelope("a@acme.example", people, ret="FULL")
    (raw,) = bounce.notify(replace(subject(asked, WHOLE), harmless=False), Kind.FAILURE, people, NOW)
    assert WHOLE not in raw


def test_long_addresses_stay_whole() -> None:
    """What comes back must be what was given (RFC 3461 §6.3), or nobody knows whom it is about."""
    address = f"{'b' * 64}@{'.'.join(['x' * 60] * 3)}.example"
    person = Recipient(
        address, orcpt=f"rfc822;{'o' * 400}@x", fate=Fate.FAILED, status="5.1.1", reply="r" * 900
    )
    (raw,) = bounce.notify(subject(WaitingEnvelope(address, (person,))), Kind.FAILURE, (person,), NOW)
    assert f"Final-Recipient: rfc822; {address}\r\n".encode() in raw
    assert f"Original-Recipient: rfc822; {'o' * 400}@x\r\n".encode() in raw
    assert f"To: <{address}>\r\n".encode() in raw
    assert raw.count(b"r" * 201) == 0
