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
#: a line that is neither a field nor the rest of one: the header is over, blank line or not
_NO_FIELD = re.compile(rb"^(?![ \t]|[!-9;-~]{1,998}[ \t]*:)", re.MULTILINE)


def fault(text: bytes, received: int) -> Reply | None:
    """Return the refusal of a message whose header nobody should pass on, None if it may go on.

    `text`: at least the first HEADER_OCTETS + 4 octets. `received`: more Received fields are a loop
    (RFC 5321 §6.3).
    """
    if text[:1] in (b" ", b"\t"):
        return replies.GLUED_HEADER
    end = text.find(b"\r\n\r\n", 0, HEADER_OCTETS + 4)
    if end >= 0 and text.count(b"\n", 0, end) < min(received, HEADER_FIELDS):
        return None
    header = text[: end + 2] if end >= 0 else text[: HEADER_OCTETS + 4]
    over = _NO_FIELD.search(header)
    if over is not None:
        header = header[: over.start()]
    if len(header) > HEADER_OCTETS or len(_FIELD.findall(header)) > HEADER_FIELDS:
        return replies.HEADERS_TOO_BIG
    return replies.LOOP if len(_RECEIVED.findall(header)) > received else None
