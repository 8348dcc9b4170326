"""The feedback token: which account sent which message, readable by nobody but us."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from relay.clock import EPOCH
from relay.ids import message_id_bytes, message_id_text
from relay.keyring import HASH_BYTES

if TYPE_CHECKING:
    from relay.keyring import Keyring

FEEDBACK, UNSUBSCRIBE = "feedback tokens", "unsubscribe links"
_HEAD_BYTES = 1 + 12
_TAG_BYTES = 16
#: account, message id, seconds since 1970, recipients
_FIXED_BYTES = 5 + 10 + 4 + 2
_SIZES = frozenset(_HEAD_BYTES + _FIXED_BYTES + extra + _TAG_BYTES for extra in (0, HASH_BYTES))
#: lengths that the text form can have; anything else is refused before any arithmetic
LENGTHS = frozenset((size * 8 + 4) // 5 for size in _SIZES)
_MOST_RECIPIENTS = 0xFFFF
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = tuple(high + low for high in _LETTERS for low in _LETTERS)


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says; `sent_at` in whole seconds, the hash only where there was one recipient."""

    account_id: int
    message_id: str
    sent_at: datetime
    recipients: int
    recipient_hash: bytes | None = None


def seal(keyring: Keyring, token: Token, purpose: str = FEEDBACK) -> str:
    """Return the token as 80 or 106 characters of lower-case base 32 (atext, RFC 9477 §5.2).

    One that is sealed for one purpose opens for no other.
    """
    plain = b"".join(
        (
            token.account_id.to_bytes(5, "big"),
            message_id_bytes(token.message_id),
            ((token.sent_at - EPOCH) // timedelta(seconds=1)).to_bytes(4, "big"),
            min(token.recipients, _MOST_RECIPIENTS).to_bytes(2, "big"),
            token.recipient_hash or b"",
        )
    )
    return base32(keyring.seal(purpose, plain))


def base32(data: bytes) -> str:
    """Return bytes as base 32 (RFC 4648 §6) in lower case without padding."""
    bits = 8 * len(data)
    rest = -bits % 10
    number = int.from_bytes(data, "big") << rest
    text = "".join([_PAIRS[number >> place & 1023] for place in range(bits + rest - 10, -1, -10)])
    return text[: (bits + 4) // 5]


def open(  # noqa: A001 - the counterpart of seal
    keyring: Keyring, text: str, purpose: str = FEEDBACK
) -> Token | None:
    """Return what `seal` sealed, None for anything else; folding, blanks and case on the way do not hurt."""
    if len(text) > 400:
        return None
    letters = "".join(text.split()).upper()
    if len(letters) not in LENGTHS:
        return None
    try:
        sealed = base64.b32decode(letters + "=" * (-len(letters) % 8))
        plain = keyring.open(purpose, sealed)
    except (binascii.Error, ValueError, KeyError, InvalidTag):
        return None
    return Token(
        account_id=int.from_bytes(plain[:5], "big"),
        message_id=message_id_text(plain[5:15]),
        sent_at=EPOCH + timedelta(seconds=int.from_bytes(plain[15:19], "big")),
        recipients=int.from_bytes(plain[19:21], "big"),
        recipient_hash=plain[_FIXED_BYTES:] or None,
    )
