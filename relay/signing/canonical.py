"""DKIM's canonical forms (RFC 6376 §3.4) in linear time, whatever the text."""

from __future__ import annotations


def _single_spaces(text: bytes) -> bytes:
    """Make every run of blanks one space: each pass halves the runs, so a run of n costs log2(n) passes."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        # 16 first: a megabyte of blanks is gone in five passes
        text = text.replace(b" " * 16, b" ").replace(b"  ", b" ")
    return text


def _one_line_end(body: bytes) -> bytes:
    """Drop the empty lines at the end and end the last line; nothing at all stays nothing."""
    text = body.rstrip(b"\r\n")
    tail = body[len(text) :]
    if text and tail == b"\r\n":
        return body
    # The tail may hold bare CR or LF; only whole CRLF pairs at its very end are empty lines.
    backwards = tail[::-1]
    pairs = min(
        len(backwards[place::2]) - len(backwards[place::2].lstrip(octet))
        for place, octet in ((0, b"\n"), (1, b"\r"))
    )
    kept = body[: len(body) - 2 * pairs]
    return kept + b"\r\n" if kept else b""


def relaxed_body(body: bytes) -> bytes:
    """Return the body's relaxed form (§3.4.4)."""
    if b"  " in body or b"\t" in body:
        body = _single_spaces(body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    return _one_line_end(body)


def simple_body(body: bytes) -> bytes:
    """Return the body's simple form (§3.4.3); an empty body is one CRLF."""
    return _one_line_end(body) or b"\r\n"


def relaxed_field(name: bytes, value: bytes) -> bytes:
    """Return one header field's relaxed form (§3.4.2) without its CRLF; `value` is what follows the colon."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"")
    if b"  " in value or b"\t" in value:
        value = _single_spaces(value)
    return name.strip().lower() + b":" + value.strip(b" \r\n")
