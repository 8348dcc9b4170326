"""A notice as a mail (RFC 5322), and as the JSON of a webhook. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from relay.notice import Notice

#: the form of the JSON below; raised when a key changes its meaning or goes
VERSION = 1
#: a receiver refuses a signature that is older
SIGNATURE_SECONDS = 300
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,253}")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def address(text: str) -> str:
    """Return a plain address that a notice may go to, or "" for anything else."""
    return text if _ADDRESS.fullmatch(text) else ""


def compose(  # noqa: PLR0913 - a header has fields
    notice: Notice,
    channel: str,
    subject: str,
    text: str,
    *,
    sender: str,
    recipients: Sequence[str],
    now: datetime,
) -> bytes:
    """Return a mail with CRLF line ends; one notice has one Message-ID, so that a second try shows."""
    domain = sender.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP.clone(max_line_length=76))
    brand = _line(notice.brand) or "Mail service"
    mail["From"] = Address(brand, addr_spec=sender)
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _line(subject)[:200]
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{notice.case_id}.{notice.kind}.{channel}@{domain}>"
    # RFC 3834 §5: nobody's autoresponder answers
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(_CONTROLS.sub("\ufffd", text), cte="quoted-printable")
    return mail.as_bytes()


def _line(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())


def payload(notice: Notice) -> bytes:
    """Return a notice as JSON, for a program."""
    facts: dict[str, Any] = {
        "version": VERSION,
        "kind": notice.kind.value,
        "case_id": notice.case_id,
        "at": notice.at.isoformat(),
        "level": notice.level,
        "subject": notice.subject,
        "customer": notice.customer,
        "state": notice.state,
        "until": notice.until.isoformat() if notice.until else None,
        "reason": notice.reason,
        "lifts": notice.lifts,
        "clause": notice.clause,
        "set_by": notice.set_by,
        "numbers": dict(notice.numbers),
    }
    return json.dumps(facts, sort_keys=True).encode()


def sign(secret: bytes, body: bytes, at_seconds: int) -> str:
    """Return the value of Gatepost-Signature: when, and HMAC-SHA256 over `SECONDS.BODY`."""
    digest = hmac.new(secret, b"%d." % at_seconds + body, hashlib.sha256).hexdigest()
    return f"t={at_seconds},v1={digest}"


def signed(secret: bytes, body: bytes, signature: str, now_seconds: int) -> bool:
    """Return whether a signature is ours and fresh; what a receiver does."""
    match = re.fullmatch(r"t=(\d{1,12}),v1=[0-9a-f]{64}", signature)
    if not match or abs(now_seconds - int(match[1])) > SIGNATURE_SECONDS:
        return False
    return hmac.compare_digest(sign(secret, body, int(match[1])), signature)
