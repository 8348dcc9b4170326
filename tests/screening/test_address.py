from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening.address import normal_domain, parse


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"anna@acme.example", [("", "anna@acme.example")]),
        (b"Anna Weber <anna@ACME.example>", [("Anna Weber", "anna@acme.example")]),
        (b'"Weber, Anna" <anna@acme.example>', [("Weber, Anna", "anna@acme.example")]),
        (b"Weber, Anna <anna@acme.example>", [("Weber, Anna", "anna@acme.example")]),
        (b"anna@acme.example (Anna (the) Weber)", [("", "anna@acme.example")]),
        (b"=?utf-8?Q?ceo=40victim?= <x@acct.example>", [("ceo@victim", "x@acct.example")]),
        (b"a@b.example <a@b.example>", [("a@b.example", "a@b.example")]),
        (b"ceo@victim.example, <x@acct.example>", [("", "ceo@victim.example"), ("", "x@acct.example")]),
        ("a@b\u00fccher.example".encode(), [("", "a@xn--bcher-kva.example")]),
        (b"x@[192.0.2.1]", [("", "x@[192.0.2.1]")]),
        (b'"Anna \\"W\\"" <a@b.example>', [('Anna "W"', "a@b.example")]),
        (b"\r\n <x@acct.example>", [("", "x@acct.example")]),
    ],
)
def test_mailboxes_are_read_strictly(value: bytes, expected: list[tuple[str, str]]) -> None:
    boxes, fault = parse(value)
    assert [(box.display, box.address) for box in boxes] == expected
    assert fault == ""


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ("PD-02", b"ceo@victim.example <x@evil.example>"),
        ("PD-11", b"g:;"),
        ("PD-11", b"<>"),
        ("PD-12", b"(" * 2000 + b"a@b.example"),
        ("PD-13", b'"a@victim"@acct.example'),
        ("PD-13", b"a\\@victim@acct.example"),
        ("PD-14", "a@b\u200b.example".encode()),
        ("PD-14", b"a@b.example."),
        ("PD-14", "a@\uff42.example".encode()),
        ("", b"x <a@b.example> y"),
        ("", b"<a@b.example> <c@d.example>"),
        ("", b"a <b@c.example"),
        ("", b"Anna"),
        ("FR-31", b"a..b@c.example"),
        ("FR-31", b"a@b@c.example"),
        ("RE-16", b"(" * 49_000),
    ],
)
def test_what_can_be_read_in_two_ways_is_a_fault(case: str, value: bytes) -> None:
    assert parse(value)[1] != "", case


def test_no_reading_ever_yields_the_victim() -> None:
    assert all(box.domain != "victim.example" for box in parse(b"ceo@victim.example <x@evil.example>")[0])


@pytest.mark.parametrize(
    "value",
    [b" " * 200_000 + b"!", b"x" + b" " * 200_000 + b"(", b'"' + b"a" * 200_000, b"a." * 100_000 + b"!"],
    ids=["blanks", "a name and blanks", "an open quote", "atoms"],
)
def test_hostile_fields_are_read_in_linear_time(value: bytes) -> None:
    assert parse(value)[1]


def test_many_addresses_are_cut_off() -> None:
    boxes, fault = parse(b", ".join(b"u%d@x.example" % n for n in range(3000)))
    assert len(boxes) == 1000
    assert fault


@pytest.mark.parametrize(
    ("domain", "normal"),
    [
        ("ACME.Example", "acme.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("a b", ""),
        ("", ""),
        ("-a.example", ""),
        ("[" + "1" * 2000 + "]", ""),
    ],
)
def test_domains_are_normal_or_refused(domain: str, normal: str) -> None:
    assert normal_domain(domain) == normal


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(value: bytes) -> None:
    boxes, _ = parse(value)
    assert all("@" not in box.domain for box in boxes)
