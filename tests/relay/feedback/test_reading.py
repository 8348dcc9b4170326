"""Every dialect of the samples is read as its makers say; nothing raises, nothing takes long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.feedback.reading import read
from relay.feedback.report import Kind

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "feedback"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not here")


def _expected(folder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((SAMPLES / folder / "expected.json").read_text())
    return [one for one in found if (SAMPLES / folder / one["file"]).is_file()]


@needs_samples
def test_xarf_samples_are_valid_or_not_as_their_makers_say() -> None:
    wrong = [
        one["file"]
        for one in _expected("arf")
        if one["file"].startswith("xarf/")
        and (read((SAMPLES / "arf" / one["file"]).read_bytes()).kind is Kind.COMPLAINT)
        != (one["expected"] == "valid")
    ]
    assert wrong == []


@needs_samples
@pytest.mark.parametrize(
    ("file", "kind", "recipients", "reporter"),
    [
        ("kumomta/1.eml", "abuse", (), "example.com"),
        ("kumomta/2.eml", "abuse", ("user@example.com",), "example.com"),
        ("kumomta/3.eml", "abuse", ("user@example.com",), ""),
        ("kumomta/4.eml", "abuse", ("cb4a01a48251d4765f489076aa81e2a4@comcast.net",), ""),
        ("email-arf/messages/example0.msg", "abuse", (), "example.com"),
        ("email-arf/messages/example1.msg", "opt-out", ("user@example.com",), "example.com"),
        ("email-arf/messages/example2.msg", "abuse", ("user@example.com",), "example.com"),
    ],
)
def test_arf_samples(file: str, kind: str, recipients: tuple[str, ...], reporter: str) -> None:
    report = read((SAMPLES / "arf" / file).read_bytes())
    assert (report.kind, report.feedback_type) == (Kind.COMPLAINT, kind)
    assert (report.recipients, report.reporter) == (recipients, reporter)


@needs_samples
def test_dmarc_tls_and_authentication_reports_are_no_complaints() -> None:
    for folder in ("mox-dmarc", "mox-tlsrpt", "parsedmarc"):
        for file in sorted((SAMPLES / "arf" / folder).rglob("*")):
            if file.is_file():
                report = read(file.read_bytes())
                assert report.kind is Kind.UNKNOWN, file
                assert report.faults, file


@needs_samples
def test_more_than_95_of_100_bounced_recipients_are_found() -> None:
    wanted = found = 0
    for one in _expected("bounces"):
        expected = one["expected"]
        if isinstance(expected, list):
            want = {row["recipient"].lower() for row in expected if "@" in row["recipient"]}
        elif isinstance(expected, dict) and expected.get("addresses"):
            want = {address.lower() for address in expected["addresses"]}
        else:
            continue
        report = read((SAMPLES / "bounces" / one["file"]).read_bytes())
        wanted += len(want)
        found += len(want & {address.lower() for address in report.recipients})
    assert wanted > 130
    assert found / wanted >= 0.98


@needs_samples
def test_temporary_and_permanent_failures_are_told_apart() -> None:
    wrong = []
    for one in _expected("bounces"):
        if not isinstance(one["expected"], list):
            continue
        statuses = read((SAMPLES / "bounces" / one["file"]).read_bytes()).statuses
        by_recipient = {status.recipient.lower(): status for status in statuses}
        for row in one["expected"]:
            status = by_recipient.get(row["recipient"].lower())
            if status is not None and (status.action != "failed") != row["temporary"]:
                wrong.append(one["file"])
    assert wrong == []


@needs_samples
def test_automatic_replies_and_ordinary_mail_are_no_bounces() -> None:
    for one in _expected("bounces"):
        if one["file"].startswith("baunsu/"):
            report = read((SAMPLES / "bounces" / one["file"]).read_bytes())
            assert (report.kind is Kind.BOUNCE) == one["expected"]["is_bounce"], one["file"]


def _mail(*lines: str) -> bytes:
    return "\r\n".join(lines).encode()


JMRP = _mail(
    "From: staff@hotmail.com", "Subject: complaint about message from 192.0.2.1", "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="x"', "", "--x", "Content-Type: message/rfc822", "",
    "X-HmXmr-OriginalRecipient: <ann@hotmail.com>", "From: shop@acme.example", "CFBL-Feedback-ID: abc",
    "Message-ID: <1@acme.example>", "", "buy", "--x--", "",
)  # fmt: skip
JMRP_ARF = _mail(
    "From: staff@hotmail.com", "MIME-Version: 1.0",
    'Content-Type: multipart/report; report-type="feedback-report"; boundary="x"', "", "--x",
    "Content-Type: message/feedback-report", "", "Feedback-Type: abuse", "User-Agent: Hotmail FBL",
    "Version: 1",
    "", "--x", "Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "",
    "UmVjZWl2ZWQ6IGJ5IHggZm9yIDxhbm5Ab3V0bG9vay5jb20+OyBub3cNCkNGQkwtRmVlZGJhY2stSUQ6IGFiYw0KDQp4DQo=",
    "--x--", "",
)  # fmt: skip
REDACTED = _mail(
    "From: scomp@aol.net", 'Content-Type: multipart/report; boundary="x"', "", "--x",
    "Content-Type: message/feedback-report", "", "Feedback-Type: abuse", "User-Agent: AOL SComp",
    "Original-Rcpt-To: redacted", "Redacted-Address: redacted@", "Incidents: 3", "", "--x",
    "Content-Type: text/rfc822-headers", "", "From: shop@acme.example", "To: redacted@redacted",
    "CFBL-Feedback-ID: abc", "", "--x--", "",
)  # fmt: skip
XARF_4 = json.dumps({
    "xarf_version": "4.0.0", "report_id": "1", "timestamp": "2026-11-22T12:00:00Z", "category": "messaging",
    "type": "spam", "source_identifier": "192.0.2.1", "smtp_to": "ann@there.example",
    "smtp_from": "s@acme.example",
    "reporter": {"org": "There", "contact": "a@there.example", "domain": "there.example"},
    "evidence": [{"content_type": "message/rfc822", "payload": "Q0ZCTC1GZWVkYmFjay1JRDogYWJjDQoNCng="}],
}).encode()  # fmt: skip
X_ARF = _mail(
    "From: abuse@there.example", "X-XARF: PLAIN", 'Content-Type: multipart/mixed; boundary="x"', "", "--x",
    "Content-Type: text/plain", "", "A person complains.", "--x",
    "Content-Type: text/plain; name=report.txt", "",
    "---", "Reported-From: abuse@there.example", "Category: abuse", "Report-Type: spam", "Source: 192.0.2.1",
    "--x", "Content-Type: message/rfc822", "", "CFBL-Feedback-ID: abc", "", "x", "--x--", "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "dialect", "kind", "recipients"),
    [
        (JMRP, "jmrp", "abuse", ("ann@hotmail.com",)),
        (JMRP_ARF, "arf/jmrp", "abuse", ("ann@outlook.com",)),
        (REDACTED, "arf/aol", "abuse", ()),
        (XARF_4, "xarf 4", "abuse", ("ann@there.example",)),
        (X_ARF, "x-arf plain", "abuse", ()),
    ],
    ids=["Microsoft", "Microsoft in ARF", "AOL", "XARF 4", "X-ARF"],
)
def test_relatives_of_arf(raw: bytes, dialect: str, kind: str, recipients: tuple[str, ...]) -> None:
    report = read(raw)
    assert (report.kind, report.dialect, report.feedback_type) == (Kind.COMPLAINT, dialect, kind)
    assert report.recipients == recipients
    assert report.tokens == ("abc",)


def test_what_the_embedded_message_said_is_marked_as_such() -> None:
    assert read(JMRP).original.recipient_from == "message"
    assert read(REDACTED).original.recipient_from == ""
    assert read(REDACTED).incidents == 3


def test_a_delivery_report_gives_status_reason_and_permanence() -> None:
    report = read(
        _mail(
            "From: MAILER-DAEMON@mx.example",
            "Content-Type: multipart/report; report-type=delivery-status; boundary=x", "", "--x",
            "Content-Type: message/delivery-status", "", "Reporting-MTA: dns; mx.example", "",
            "Final-Recipient: rfc822; ann@there.example", "Action: failed", "Status: 5.1.1",
            "Diagnostic-Code: smtp; 550 5.1.1 no such user", "",
            "Final-Recipient: rfc822; bea@there.example", "Action: failed", "Status: 5.2.2", "",
            "Final-Recipient: rfc822; cid@there.example", "Action: delayed", "Status: 4.4.1", "",
            "Final-Recipient: rfc822; dan@there.example", "Action: failed", "Status: 5.7.1",
            "Diagnostic-Code: smtp; 554 5.7.1 blocked using zen.spamhaus.org DNSBL", "--x--", "",
        )
    )  # fmt: skip
    assert report.kind is Kind.BOUNCE
    assert [(one.recipient[:3], one.reason, one.permanent) for one in report.statuses] == [
        ("ann", "invalid recipient", True),
        ("bea", "mailbox full", False),
        ("cid", "network", False),
        ("dan", "reputation", True),
    ]


_DAEMON = "From: Mail Delivery System <mailer-daemon@mx.example>\r\nTo: sender@ours.example\r\n"
FREE_TEXT = {
    "Exchange 2003": (
        "Subject: Undeliverable: test\r\n\r\nYour message\r\n\r\n  To:      user@there.example\r\n\r\n"
        "did not reach the following recipient(s):\r\n\r\nuser@there.example on Thu, 29 Apr 2010\r\n"
        "    The recipient name is not recognized\r\n",
        "invalid recipient",
    ),
    "qmail": (
        "Subject: failure notice\r\n\r\nHi. This is the qmail-send program at mx.example.\r\n\r\n"
        "<user@there.example>:\r\nRemote host said: 552 5.2.2 over quota\r\n\r\n"
        "--- Below this line is a copy of the message.\r\n\r\nTo: wrong@there.example\r\n",
        "mailbox full",
    ),
    "Domino": (
        "Subject: User unknown\r\n\r\n------- Failure Reasons  --------\r\n\r\n"
        "User not listed in public Name & Address Book\r\nuser@there.example\r\n",
        "invalid recipient",
    ),
    "German": (
        "Subject: Unzustellbar: Angebot\r\n\r\nDiese E-Mail konnte nicht zugestellt werden:\r\n\r\n"
        "user@there.example\r\nUrsache: Der Empfaenger existiert nicht\r\n",
        "invalid recipient",
    ),
    "X-Failed-Recipients": (
        "Subject: Mail failure.\r\nX-Failed-Recipients: user@there.example\r\n\r\nIt failed.\r\n",
        "unknown",
    ),
    "fields without a domain": (
        "Subject: Returned mail\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\n"
        "----- The following addresses had permanent fatal errors -----\r\n<user@there.example>\r\n\r\n"
        "--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a\r\n\r\n"
        "Final-Recipient: rfc822; user\r\nAction: failed\r\n\r\n--x--\r\n",
        "unknown",
    ),
}


@pytest.mark.parametrize("name", FREE_TEXT)
def test_bounces_in_free_text(name: str) -> None:
    text, reason = FREE_TEXT[name]
    report = read((_DAEMON + text).encode())
    assert report.recipients == ("user@there.example",)
    assert [one.reason for one in report.statuses] == [reason]


def test_makers_that_call_the_fields_text_or_name_several_recipients_are_read() -> None:
    report = read(
        _report(b"Feedback-Type: abuse\r\nOriginal-Rcpt-To: a@there.example, b@there.example\r\n")
        .replace(b"multipart/report", b"multipart/report; report-type=feedback-report")
        .replace(b"message/feedback-report", b"text/plain")
    )
    assert report.recipients == ("a@there.example", "b@there.example")
    brief = b"From: 1@reports.spamcop.net\r\nX-SpamCop-sourceip: 192.0.2.1\r\n\r\n[ SpamCop V5 ]\r\n"
    assert (read(brief).kind, read(brief).original.source_ip) == (Kind.COMPLAINT, "192.0.2.1")


@given(st.binary(max_size=2000))
@settings(deadline=None, max_examples=200)
def test_never_raises_on_junk(junk: bytes) -> None:
    read(junk)


@given(st.sampled_from([JMRP, JMRP_ARF, REDACTED, XARF_4, X_ARF]), st.data())
@settings(deadline=None, max_examples=300)
def test_never_raises_on_damaged_reports(raw: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(raw)))
    length = data.draw(st.integers(0, 60))
    read(raw[:start] + data.draw(st.binary(max_size=20)) + raw[start + length :])


def _report(feedback: bytes, original: bytes = b"From: a@b\r\n\r\nx") -> bytes:
    return (
        b"From: a@b.example\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: message/feedback-report\r\n\r\n" + feedback + b"\r\n--x\r\n"
        b"Content-Type: message/rfc822\r\n\r\n" + original + b"\r\n--x--\r\n"
    )


@pytest.mark.parametrize(
    "poison", ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", "\x1b[31mred", "a\u202eb", "{{7*7}}"]
)
def test_cf_17_nothing_dangerous_reaches_names_that_people_are_shown(poison: str) -> None:
    fields = f"Feedback-Type: {poison}\r\nUser-Agent: {poison}\r\nOriginal-Rcpt-To: {poison}@b.example\r\n"
    arf = _report(fields.encode() + f"Reported-Domain: {poison}\r\n".encode())
    named = (
        f"From: {poison}@{poison}\r\nSubject: failed\r\n\r\n{poison}@b.example does not exist\r\n".encode()
    )
    claim = {**json.loads(XARF_4), "type": poison, "reporter": {"org": poison, "domain": poison}}
    other = {
        "Version": "3",
        "ReporterInfo": {poison: 1, "ReporterOrg": "x"},
        "Disclosure": True,
        "Report": {},
    }
    for raw in (arf, named, json.dumps(claim).encode(), json.dumps(other).encode()):
        report = read(raw)
        said = " ".join((report.reporter, report.feedback_type, report.dialect, *report.faults))
        shown = " ".join((said, *report.recipients))
        assert shown.isprintable()
        assert not set(shown) & set("<>\x1b\u202e")
        assert not set(said) & set("{}=|'")
        assert not report.feedback_type.startswith(("+", "-", "@"))


# CASES CF-12: RE-08 to 19 against the intake
HOSTILE = {
    "a folded header of 2 MB": b"Subject: a" + b"\r\n b" * 500_000 + b"\r\n\r\nx",
    "100,000 header fields": b"X-A: b\r\n" * 100_000 + b"\r\nx",
    "100,000 parts": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\na\r\n" * 100_000,
    "2,000 nested multiparts": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000)
    ),
    "almost boundaries": b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"\r\n--xx" * 400_000,
    "a field of blanks": _report(b"Feedback-Type: abuse\r\nOriginal-Rcpt-To: " + b" " * 1_000_000),
    "a million brackets": _report(b"Feedback-Type: abuse\r\nOriginal-Rcpt-To: " + b"<" * 1_000_000),
    "addresses": _report(b"Feedback-Type: abuse\r\n" + b"Original-Rcpt-To: a@b.example\r\n" * 30_000),
    "Received": _report(b"Feedback-Type: abuse", b"Received: for <" * 200_000),
    "100,000 tokens": b"From: a@b\r\n\r\n" + (b"CFBL-Feedback-ID: " + b"a" * 106 + b"\r\n") * 20_000,
    "deep JSON": b"{" + b'"Report":[' * 100_000,
    "a report of blanks": b"From: mailer-daemon@x\r\nSubject: failed\r\n\r\n" + b" \t" * 1_000_000,
    "a report of addresses": b"From: mailer-daemon@x\r\nSubject: failed\r\n\r\n" + b"a@b.example " * 100_000,
    "user user user": b"From: mailer-daemon@x\r\nSubject: failed\r\n\r\na@b.example\r\n" + b"user " * 200_000,
    "groups": b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n"
    b"Content-Type: message/delivery-status\r\n\r\n"
    + b"Final-Recipient: rfc822; a@b.example\r\n\r\n"
    * 50_000,
    "comments": b"From: "
    + b"(" * 100_000
    + b"\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse",
    "base64 of nothing": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + b"=" * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_cf_12_hostile_reports_take_bounded_time(name: str) -> None:
    start = time.process_time()
    read(HOSTILE[name])
    assert time.process_time() - start < 1.5
