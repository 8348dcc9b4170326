"""Argon2 hashes that fit no password."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher


def unmatched(hasher: PasswordHasher) -> str:
    """Return a hash in the encoded form that no password fits and that takes the usual time to find out.

    What a login that nobody has is compared with; made without the work of hashing.
    """
    salt, tag = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode()
        for size in (hasher.salt_len, hasher.hash_len)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${tag}"
