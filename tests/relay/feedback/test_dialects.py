"""Notices of many mail servers in many languages are read alike; broken, cut and mixed ones too."""

from __future__ import annotations

import base64
import random
import time

import pytest

from relay.feedback import dsn
from relay.feedback.reading import read
from relay.feedback.report import Kind, Report
from tests.relay.feedback.dialects import NOTICES, USER, Notice


def _told(report: Report) -> tuple[object, ...]:
    first = report.statuses[0] if report.statuses else None
    return report.kind, report.recipients, first and first.action, first and first.reason


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: notice.maker)
def test_who_could_not_be_reached_and_why(notice: Notice) -> None:
    wanted = (Kind.BOUNCE, notice.recipients, notice.action, notice.reason)
    assert _told(read(notice.raw)) == wanted
    assert _told(read(notice.raw.replace(b"\n", b"\r\n"))) == wanted


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: notice.maker)
def test_our_own_reader_needs_no_makers_patterns(notice: Notice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsn, "all_failures", lambda _: (set(), set()))
    assert read(notice.raw).recipients == notice.recipients


def _texts(subject: str, *, encoding: str, body: bytes, charset: str = "utf-8") -> bytes:
    return (
        f"From: MAILER-DAEMON@there.example\r\nTo: sender@ours.example\r\nSubject: {subject}\r\n"
        f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body


WORDS = "Diese Adresse wurde nicht gefunden (Empfänger unbekannt):\r\n\r\n  user@there.example\r\n"


@pytest.mark.parametrize(
    ("encoding", "body", "charset"),
    [
        ("base64", base64.encodebytes(WORDS.encode()), "utf-8"),
        ("base64", base64.encodebytes(WORDS.encode("utf-16-le")), "utf-16le"),
        ("8bit", WORDS.encode("iso-8859-1"), "iso-8859-1"),
        ("8bit", WORDS.encode("iso-8859-1"), "no-such-charset"),
        ("quoted-printable", WORDS.replace("ä", "=E4").replace("@", "=40").encode(), "iso-8859-1"),
        ("quoted-printable", WORDS.replace("@there", "@the=\r\nre").encode(), "utf-8"),
    ],
)
def test_encoded_notices(encoding: str, body: bytes, charset: str) -> None:
    report = read(
        _texts("=?utf-8?q?Unzustellbar=3A_Angebot?=", encoding=encoding, body=body, charset=charset)
    )
    assert _told(report) == (Kind.BOUNCE, (USER,), "failed", "invalid recipient")


PERSON = b"From: person@ours.example\r\nSubject: Fwd: what is this\r\n"
FIELDS = (
    "Reporting-MTA: dns; mx.there.example\r\n\r\nOriginal-Recipient: rfc822; user@there.example\r\n"
    "Final-Recipient: rfc822; box7@store.there.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
)


def _report(
    fields: str, *, media: str = "message/delivery-status", coding: str = "7bit", end: str = "--x--\r\n"
) -> bytes:
    return (
        "From: MAILER-DAEMON@there.example\r\nTo: sender@ours.example\r\nSubject: Undelivered\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n"
        "--x\r\n\r\nIt failed.\r\n"
        f"--x\r\nContent-Type: {media}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n{fields}\r\n{end}"
    ).encode()


def test_both_the_address_written_to_and_the_one_that_failed_are_named() -> None:
    report = read(_report(FIELDS))
    assert report.recipients == (USER, "box7@store.there.example")
    assert [(one.recipient, one.final, one.reason) for one in report.statuses] == [
        (USER, "box7@store.there.example", "invalid recipient")
    ]


@pytest.mark.parametrize(
    "raw",
    [
        _report(FIELDS, end=""),
        _report(FIELDS, media="text/plain"),
        _report(FIELDS, media="message/xdelivery-status"),
        _report(base64.encodebytes(FIELDS.encode()).decode(), coding="base64"),
        _report(FIELDS.replace("\r\n", "\n")),
        _report(FIELDS.replace("\r\n", "\n")).replace(b"\r\n", b"\n"),
        _report(FIELDS.replace("rfc822; ", "")),
        _report(FIELDS.replace("rfc822; ", "RFC822;<").replace(".example\r\nFinal", ".example>\r\nFinal")),
        b"From ann Mon Nov  2\r\n" + _report(FIELDS),
        b"\r\n" + _report(FIELDS),
        PERSON + b"Content-Type: message/rfc822\r\n\r\n" + _report(FIELDS),
        PERSON + b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nlook\r\n--y\r\n"
        b"Content-Type: message/rfc822\r\n\r\n" + _report(FIELDS) + b"\r\n--y--\r\n",
    ],
)  # fmt: skip
def test_broken_and_wrapped_status_reports_still_tell(raw: bytes) -> None:
    report = read(raw)
    assert (report.kind, report.recipients[0], report.feedback_type) == (Kind.BOUNCE, USER, "failed")


@pytest.mark.parametrize(
    "text",
    [
        "Subject: Out of Office: Offer\r\n\r\nI am away. Ask user@there.example\r\n",
        "Subject: Re: Offer\r\nAuto-Submitted: auto-replied\r\n\r\nuser@there.example got it.\r\n",
        "Subject: Abwesenheitsnotiz\r\n\r\nBitte an user@there.example schreiben.\r\n",
        "Subject: Re: Offer\r\n\r\nPlease click here to have your address user@ours.example allowed.\r\n",
        "Subject: Fwd: failed payment\r\n\r\nThey wrote this to user@there.example.\r\n",
        "Subject: Lunch\r\n\r\nAsk user@there.example.\r\n",
    ],
)
def test_automatic_replies_challenges_and_people_are_no_bounces(text: str) -> None:
    assert (
        read(("From: ann@there.example\r\nTo: sender@ours.example\r\n" + text).encode()).kind is Kind.UNKNOWN
    )


def test_never_raises_on_damaged_notices_and_stays_linear() -> None:
    chance = random.Random(7)  # noqa: S311 - the same damage in every run
    started = time.process_time()
    for notice in NOTICES:
        for _ in range(12):
            raw = bytearray(notice.raw)
            for _ in range(chance.randrange(1, 6)):
                start = chance.randrange(len(raw))
                raw[start : start + chance.randrange(40)] = chance.randbytes(chance.randrange(6))
            read(bytes(raw))
            read(bytes(raw[: chance.randrange(len(raw) + 1)]))
            lines = notice.raw.split(b"\n")
            chance.shuffle(lines)
            read(b"\n".join(lines + lines[:4]))
    assert time.process_time() - started < 60
