"""Names for messages and cases: random, unguessable, easy to read over the telephone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from relay.clock import micros, moment

if TYPE_CHECKING:
    from datetime import datetime

#: Crockford's base 32, lower case: no i, l, o, u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
#: to the digits that `int` knows; what we do not use becomes no digit at all
_TO_INT = str.maketrans(_ALPHABET + "ilou_", "0123456789abcdefghijklmnopqrstuv!!!!!")


def _base32(number: int, digits: int) -> str:
    """Return an even number of digits."""
    return "".join([_PAIRS[number >> place & 1023] for place in range(5 * digits - 10, -1, -10)])


def message_id(now: datetime) -> str:
    """Return a new 16-character id: 40 bits of seconds/64 (they sort by time), 40 random bits."""
    return _base32(((micros(now) // 15625 & (1 << 40) - 1) << 40) | secrets.randbits(40), 16)


def case_id() -> str:
    """Return a new id for a decision or a hold, as `7k3m-9qxd`."""
    digits = _base32(secrets.randbits(40), 8)
    return f"{digits[:4]}-{digits[4:]}"


def sent_at(text: str) -> datetime:
    """Return when a message id was made, to 1/64 s."""
    return moment((int.from_bytes(message_id_bytes(text), "big") >> 40) * 15625)


def message_id_bytes(text: str) -> bytes:
    """Pack a message id into the 10 bytes that a token carries; ValueError if it is not one."""
    if len(text) != 16 or not text.isascii() or not text.isalnum() or text != text.lower():
        raise ValueError(text)
    return int(text.translate(_TO_INT), 32).to_bytes(10, "big")


def message_id_text(packed: bytes) -> str:
    """Unpack what `message_id_bytes` packed."""
    return _base32(int.from_bytes(packed, "big"), 16)
