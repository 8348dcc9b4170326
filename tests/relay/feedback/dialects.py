"""Delivery notices in the manner of many mail servers and languages: the table is dialects.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

USER = "user@there.example"
_COPY = (
    "Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\nFrom: sender@ours.example\n"
    "To: {to}\nSubject: Offer\n"
)


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as text, and what a reader should take from it."""

    maker: str
    subject: str
    text: str
    recipients: tuple[str, ...] = (USER,)
    reason: str = "invalid recipient"
    action: str = "failed"
    author: str = "Mail Delivery System <MAILER-DAEMON@mx.there.example>"
    #: further header lines
    header: str = ""
    #: whom the returned message was for; "" if it is not returned
    returned_to: str = ""
    media: str = field(default='text/plain; charset="utf-8"')

    @property
    def raw(self) -> bytes:
        """The notice as it would arrive."""
        head = f"From: {self.author}\nTo: sender@ours.example\nSubject: {self.subject}\n{self.header}"
        head += "Message-ID: <20261102.abc123@mx.there.example>\nMIME-Version: 1.0\n"
        if not self.returned_to:
            return f"{head}Content-Type: {self.media}\n\n{self.text}\n".encode()
        return (
            f"{head}Content-Type: multipart/mixed; boundary=cut\n\n--cut\n"
            f"Content-Type: {self.media}\n\n{self.text}\n"
            f"--cut\nContent-Type: message/rfc822\n\n{_COPY.format(to=self.returned_to)}\nHello\n--cut--\n"
        ).encode()


def _notice(told: dict[str, Any]) -> Notice:
    values: dict[str, Any] = dict(told)
    if "recipients" in values:
        values["recipients"] = tuple(values["recipients"])
    return Notice(**values)


_FILE = Path(__file__).with_suffix(".toml")
NOTICES = tuple(_notice(told) for told in tomllib.loads(_FILE.read_text("utf-8"))["notice"])
