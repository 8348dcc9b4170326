"""Signed posts of providers: HMAC-SHA256 over time, one-time number and body, with a shared secret. Pure.

`Gatepost-Signature: t=SECONDS,n=NUMBER,v1=HEX`, where HEX is over `SECONDS.NUMBER.BODY`; or the fields of
Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature: `v1,BASE64` over `ID.SECONDS.BODY`). Five
minutes of clock difference are allowed; the number (16 to 64 letters, digits, - or _) is taken once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FRESH = timedelta(minutes=5)
_FIELD = re.compile(r"t=(\d{1,12}),n=([A-Za-z0-9_-]{16,64}),v1=([0-9a-f]{64})")
LEAST_SECRET_BYTES = 16
_ID, _SECONDS = re.compile(r"[A-Za-z0-9_.-]{1,128}"), re.compile(r"\d{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Seal:
    """A signature that is genuine and fresh; its number may still have been taken before."""

    number: str
    #: until when the signature is fresh, so until when its number must be remembered
    expires_at: datetime


def sign(secret: bytes, body: bytes, at_seconds: int, number: str) -> str:
    """Return the value of Gatepost-Signature; what a provider does."""
    return f"t={at_seconds},n={number},v1={_digest(secret, body, at_seconds, number)}"


def check(secret: bytes, body: bytes, field: str, now: datetime) -> Seal | None:
    """Return what a genuine, fresh signature says; None for any other."""
    match = _FIELD.fullmatch(field)
    seconds, number, given = (int(match[1]), match[2], match[3]) if match else (0, "", "0" * 64)
    genuine = hmac.compare_digest(_digest(secret, body, seconds, number), given)
    if match is None or not genuine or abs(now.timestamp() - seconds) > FRESH.total_seconds():
        return None
    return Seal(number, now + 2 * FRESH)


def _digest(secret: bytes, body: bytes, at_seconds: int, number: str) -> str:
    return hmac.new(secret, b"%d.%s." % (at_seconds, number.encode()) + body, hashlib.sha256).hexdigest()


def check_standard(secret: bytes, body: bytes, fields: Mapping[str, str], now: datetime) -> Seal | None:
    """Return what a genuine, fresh signature of Standard Webhooks says; None for any other.

    A secret may be written as `whsec_BASE64`. A provider that tries again keeps the id and signs a new time.
    """
    number, seconds = fields.get("webhook-id", ""), fields.get("webhook-timestamp", "")
    if not _ID.fullmatch(number) or not _SECONDS.fullmatch(seconds):
        return None
    key = _key(secret)
    if len(key) < LEAST_SECRET_BYTES:
        return None
    made = hmac.new(key, f"{number}.{seconds}.".encode() + body, hashlib.sha256).digest()
    genuine = base64.b64encode(made).decode("ascii")
    given = [one.partition(",") for one in fields.get("webhook-signature", "").split()[:10]]
    if not any(
        hmac.compare_digest(genuine.encode(), text.encode()) for name, _, text in given if name == "v1"
    ):
        return None
    if abs(now.timestamp() - int(seconds)) > FRESH.total_seconds():
        return None
    return Seal(f"{number}.{seconds}", now + 2 * FRESH)


def _key(secret: bytes) -> bytes:
    """Return the bytes that a written secret stands for, none where `whsec_` stands before no base 64."""
    if not secret.startswith(b"whsec_"):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except binascii.Error:
        return b""


def unpacked(body: bytes, most: int) -> bytes | None:
    """Return a gzip body unpacked, None if it is larger than `most` or no gzip; reads no more than that."""
    unpacker = zlib.decompressobj(31)
    try:
        data = unpacker.decompress(body, most + 1)
    except zlib.error:
        return None
    return data if len(data) <= most and unpacker.eof and not unpacker.unused_data else None
