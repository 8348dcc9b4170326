"""One-time codes (RFC 6238: HMAC-SHA-1, 30 s, six digits); a code works once."""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from relay.clock import EPOCH

if TYPE_CHECKING:
    from datetime import datetime

STEP_SECONDS = 30
SECRET_BYTES = 20


def new_secret() -> bytes:
    """Return 160 random bits (RFC 4226 §4 R6)."""
    return secrets.token_bytes(SECRET_BYTES)


def code(secret: bytes, step: int) -> str:
    """Return the code of one time step (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def step_of(moment: datetime) -> int:
    """Return the time step of a moment."""
    return int((moment - EPOCH).total_seconds()) // STEP_SECONDS


def accepted(secret: bytes, given: str, now: datetime) -> int | None:
    """Return the step whose code was given, one step early or late included; None if it is none of them."""
    digits = given.replace(" ", "")
    if len(digits) != 6 or not (digits.isascii() and digits.isdigit()):
        return None
    middle = step_of(now)
    for step in (middle, middle - 1, middle + 1):
        if hmac.compare_digest(code(secret, step), digits):
            return step
    return None


def address(secret: bytes, name: str, issuer: str) -> str:
    """Return the otpauth: address that authenticators read."""
    text = base64.b32encode(secret).decode().rstrip("=")
    return f"otpauth://totp/{quote(issuer)}:{quote(name)}?secret={text}&issuer={quote(issuer)}"
