"""Mails for the tests of screening."""

from __future__ import annotations

from screening.mail import Mail
from screening.tuning.examples import envelope, mail_of

HEAD = b"From: Anna <anna@acme.example>\r\nTo: bob@shop.example\r\nSubject: Hello\r\n"


def raw(text: bytes) -> Mail:
    """Return the mail of these bytes, in an ordinary envelope."""
    return Mail(envelope(), text)


def body(content: bytes, kind: bytes = b"text/plain; charset=utf-8", extra: bytes = b"") -> Mail:
    """Return an ordinary mail with this body."""
    return raw(HEAD + b"Content-Type: " + kind + b"\r\n" + extra + b"\r\n" + content)


__all__ = ["HEAD", "body", "mail_of", "raw"]
