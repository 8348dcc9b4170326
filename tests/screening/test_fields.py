from __future__ import annotations

import pytest

from screening.fields import MAX_FIELDS, read


def test_fields_know_their_place_in_the_raw_message() -> None:
    raw = b"From: a@b.example\r\nSubject: one\r\n two\r\n\r\nbody"
    block = read(raw)
    assert [(f.name, f.value) for f in block.fields] == [("From", b"a@b.example"), ("Subject", b"one two")]
    assert raw[block.fields[1].start : block.fields[1].end] == b"Subject: one\r\n two\r\n"
    assert raw[block.body_start :] == b"body"
    assert block.fault == ""


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\nbody", b"body"),
        (b"\nbody", b"body"),
        (b"A: b", b""),
        (b"A: b\r\n", b""),
        (b"A: b\n\nbody", b"body"),
        (b"A: b\r\n\nbody", b"body"),
    ],
)
def test_the_body_starts_after_the_first_empty_line(raw: bytes, body: bytes) -> None:
    assert raw[read(raw).body_start :] == body


@pytest.mark.parametrize(
    ("case", "raw", "fault"),
    [
        ("PD-01", b"From: a@b.example\r\nfrom: a@b.example\r\n\r\n", "two from fields"),
        ("PD-04", b"From : a@b.example\r\n\r\n", "blank before the colon"),
        ("PD-05", b"From\0: a@b.example\r\n\r\n", "characters that are not allowed"),
        ("PD-05", b"\0From: a@b.example\r\n\r\n", "characters that are not allowed"),
        ("PD-07", b"From: a@b.example\r\nno colon here\r\nTo: c@d.example\r\n\r\n", "not a header field"),
        ("PD-08", b"Subject: a\r\n \r\n b\r\n\r\n", "empty-looking line"),
        ("PD-16", b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n", "two Content-Type fields"),
        (
            "PD-17",
            b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            "two Content",
        ),
        ("FR-20", b"X-A: one\rX-Injected: y\r\n\r\n", "bare carriage return"),
        ("FR-22", b"X-A: a\0b\r\n\r\n", "NUL"),
        ("FR-48", b" X-Glued: y\r\nFrom: a@b.example\r\n\r\n", "starts with a blank"),
    ],
)
def test_what_programs_read_differently_is_a_fault(case: str, raw: bytes, fault: str) -> None:
    assert fault in read(raw).fault, case


@pytest.mark.parametrize(
    "raw",
    [
        b"X-Spam : maybe\r\nFrom: a@b.example\r\n\r\n",
        b"Received: a\r\nReceived: b\r\n\r\n",
        b"Content-Type: text/plain\r\nContent-Type: text/plain\r\n\r\n",
        b"From MAILER Mon Jan 1 2026\r\nFrom: a@b.example\r\n\r\n",
    ],
)
def test_harmless_oddities_are_no_faults(raw: bytes) -> None:
    assert read(raw).fault == ""


def test_limits_hold_before_anything_is_decoded() -> None:
    many = read(b"A: b\r\n" * 20_000 + b"\r\n")
    assert len(many.fields) == MAX_FIELDS
    assert "more than 1000" in many.fault
    long = read(b"A: " + b"aaaa\r\n " * 400_000 + b"\r\n\r\nbody")
    assert "256 KiB" in long.fault
