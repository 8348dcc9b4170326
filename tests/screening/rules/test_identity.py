from __future__ import annotations

import pytest

from screening.mail import Mail
from screening.rules.identity import identity_fault, sender_allowed
from screening.tuning.examples import envelope
from tests.screening.mails import raw

OWN = ("anna@acme.example", "@b\u00fccher.example")


@pytest.mark.parametrize(
    ("address", "patterns", "allowed"),
    [
        ("anna@acme.example", OWN, True),
        ("ANNA@ACME.EXAMPLE", OWN, True),
        ("bob@acme.example", OWN, False),
        ("x@b\u00fccher.example", OWN, True),
        ("x@xn--bcher-kva.example", OWN, True),
        ("x@sub.b\u00fccher.example", OWN, False),
        ("x@acme.example", ("*@acme.example",), True),
        ("x@notacme.example", ("@acme.example",), False),
        ("x@any.example", ("*",), True),
        ("x@OTHER.example", ("*",), False),
        ("x@other.example", ("*", "x@other.example"), True),
        ("", ("*",), True),
        ("", OWN, False),
        ("x@acme.example.", ("@acme.example",), False),
        ("anna", ("anna@acme.example",), False),
    ],
)
def test_sender_patterns(address: str, patterns: tuple[str, ...], allowed: bool) -> None:  # noqa: FBT001 - a table's column
    assert sender_allowed(address, patterns, foreign) is allowed


def mail(header: str, sender: str = "anna@acme.example") -> Mail:
    from dataclasses import replace

    return Mail(replace(envelope(), sender=sender), raw((header + "\r\n\r\nhello").encode()).raw)


def foreign(domain: str) -> bool:
    return domain == "other.example"


@pytest.mark.parametrize(
    ("header", "sender", "fault"),
    [
        ("From: anna@acme.example", "anna@acme.example", ""),
        ("From: anna@acme.example", "bob@acme.example", "sender address <bob@acme.example>"),
        ("From: bob@acme.example", "anna@acme.example", "From address <bob@acme.example>"),
        ("From: anna@acme.example", "", ""),
        ("From: bob@acme.example", "", "From address"),
        ("From: bob@acme.example\r\nSender: anna@acme.example", "anna@acme.example", ""),
        ("From: x@world.example\r\nResent-From: anna@acme.example", "anna@acme.example", ""),
        ("From: x@other.example\r\nSender: anna@acme.example", "anna@acme.example", "another customer"),
        (
            "From: anna@acme.example\r\nSender: x@other.example",
            "anna@acme.example",
            "<x@other.example> in its header",
        ),
        pytest.param(
            "From: anna@acme.example\r\nResent-From: x@other.example",
            "anna@acme.example",
            "in its header",
            id="PD-15",
        ),
        ("From: anna@acme.example, x@b\u00fccher.example", "anna@acme.example", "Sender field"),
        (
            "From: anna@acme.example, x@b\u00fccher.example\r\nSender: anna@acme.example",
            "anna@acme.example",
            "",
        ),
        ("Subject: no From", "anna@acme.example", ""),
        ("Subject: no From", "", "names no sender"),
    ],
)
def test_identity(header: str, sender: str, fault: str) -> None:
    said = identity_fault(mail(header, sender), OWN, foreign)
    assert (fault in said) if fault else said == ""


def test_a_star_stands_for_every_domain_but_other_customers() -> None:
    assert identity_fault(mail("From: x@y.example, z@y.example", "q@r.example"), ("*",), foreign) == ""
    for header, sender in (
        ("From: x@other.example", "q@r.example"),
        ("From: q@r.example", "x@other.example"),
        ("From: q@r.example\r\nResent-Sender: x@other.example", "q@r.example"),
    ):
        assert "does not belong to this account" in identity_fault(mail(header, sender), ("*",), foreign)
