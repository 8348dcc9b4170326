"""The few things about header lines that the edge itself refuses; pure, linear, on the first octets only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from relay.smtp import reply as replies

if TYPE_CHECKING:
    from relay.smtp.reply import Reply

HEADER_OCTETS = 256 * 1024
HEADER_FIELDS = 1000
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(rb"^[^ \t\r\n]", re.MULTILINE)


def fault(text: bytes, received: int) -> Reply | None:
    """Return the refusal of a message whose header nobody should pass on, None if it may go on.

    `received`: how many Received fields make a loop (RFC 5321 §6.3).
    """
    if text[:1] in (b" ", b"\t"):
        return replies.GLUED_HEADER
    end = text.find(b"\r\n\r\n", 0, HEADER_OCTETS + 4)
    if end < 0 and len(text) > HEADER_OCTETS:
        return replies.HEADERS_TOO_BIG
    header = text[: end + 2] if end >= 0 else text
    if header.startswith(b"\r\n"):
        return None
    if header.count(b"\n") > received and len(_RECEIVED.findall(header)) > received:
        return replies.LOOP
    if header.count(b"\n") > HEADER_FIELDS and len(_FIELD.findall(header)) > HEADER_FIELDS:
        return replies.HEADERS_TOO_BIG
    return None
