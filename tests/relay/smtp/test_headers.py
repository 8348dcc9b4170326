from __future__ import annotations

import pytest

from relay.smtp import headers
from relay.smtp import reply as replies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", None),
        (b"\r\nbody\r\n", None),
        (b"Subject: a\r\n\r\n" + b"Received: x\r\n" * 60, None),
        (b"just text\r\n" * 5000, None),
        (b"x" * 900 + b"\r\n" + b"y\r\n" * 200_000, None),
        (b" Subject: a\r\n\r\n", replies.GLUED_HEADER),
        (b"\tx\r\n\r\n", replies.GLUED_HEADER),
        (b"Received: x\r\n" * 50 + b"\r\n", None),
        (b"Received: x\r\n" * 51 + b"\r\n", replies.LOOP),
        (b"received : x\r\n y\r\n" * 51, replies.LOOP),
        (b"A: b\r\n" * 1000 + b"\r\n", None),
        (b"A: b\r\n" * 1001 + b"\r\n", replies.HEADERS_TOO_BIG),
        (b"A: b\r\n" + b" c\r\n" * 2000 + b"\r\n", None),
        (b"A: b\r\n" + (b" " + b"c" * 900 + b"\r\n") * 300 + b"\r\n", replies.HEADERS_TOO_BIG),
        (b"A: b\r\n" + (b" " + b"c" * 900 + b"\r\n") * 270 + b"\r\n", None),
    ],
)
def test_header_faults(text: bytes, expected: object) -> None:
    assert headers.fault(text, 50) is expected
