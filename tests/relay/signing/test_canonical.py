"""The canonical forms are dkimpy's, without its quadratic time."""

from __future__ import annotations

import time

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st

from relay.signing.canonical import relaxed_body, relaxed_field, simple_body

lines = st.lists(
    st.text(alphabet="ab \t.:\x0b\xa0", max_size=12).map(lambda line: line.encode("latin-1")), max_size=8
)


@given(lines)
def test_bodies_equal_dkimpys_forms(parts: list[bytes]) -> None:
    body = b"".join(part + b"\r\n" for part in parts)
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)
    assert simple_body(body) == Simple.canonicalize_body(body)


@pytest.mark.parametrize(
    ("body", "relaxed", "simple"),
    [
        (b"", b"", b"\r\n"),
        (b"\r\n\r\n", b"", b"\r\n"),
        (b" \t \r\n", b"", b" \t \r\n"),
        (b"a", b"a\r\n", b"a\r\n"),
        (b"a \r\n b\t\tc\r\n\r\n\r\n", b"a\r\n b c\r\n", b"a \r\n b\t\tc\r\n"),
        (b"a\n\r\n\r\n", b"a\n\r\n", b"a\n\r\n"),
        (b"a\r\r\n", b"a\r\r\n", b"a\r\r\n"),
    ],
)
def test_bodies_at_the_edges(body: bytes, relaxed: bytes, simple: bytes) -> None:
    assert relaxed_body(body) == relaxed
    assert simple_body(body) == simple


@given(st.text(alphabet="aB \t", max_size=30))
def test_a_field_equals_dkimpys_form(text: str) -> None:
    value = text.replace("B", "\r\n B").encode()
    name, canonical = Relaxed.canonicalize_headers([[b"SubJect", value + b"\r\n"]])[0]
    assert relaxed_field(b"SubJect", value) + b"\r\n" == name + b":" + canonical


@pytest.mark.parametrize(
    "body",
    [
        (b" " * 998 + b"\r\n") * 4000,
        b" " * 4_000_000,
        b"\t x" * 1_300_000,
        b"\r\n" * 2_000_000,
        b" \r\n" * 1_300_000,
        b"\r" * 4_000_000,
    ],
    ids=["lines of blanks", "one run", "tabs", "empty lines", "blank lines", "bare CR"],
)
def test_four_hostile_megabytes_take_linear_time(body: bytes) -> None:
    start = time.process_time()
    relaxed_body(body)
    simple_body(body)
    assert time.process_time() - start < 1.0
