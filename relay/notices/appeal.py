"""The signed link by which whoever got a notice appeals against its case."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.keyring import Keyring

#: the purpose under which an appeal's words are sealed; the case id is its context
SEALED = "appeals"


def signature(keyring: Keyring, case_id: str) -> str:
    """Return what proves that a link to this case is ours: 128 bits, for the oldest key's lifetime."""
    key = keyring.derive("appeal links", min(keyring.ids))
    return hmac.new(key, case_id.encode(), sha256).hexdigest()[:32]


def signed(keyring: Keyring, case_id: str, given: str) -> bool:
    """Return whether a link is ours."""
    return hmac.compare_digest(signature(keyring, case_id).encode(), given.encode("utf-8", "surrogatepass"))


def link(base: str, keyring: Keyring, case_id: str) -> str:
    """Return the link, or "" where it is not known under which address customers reach us."""
    return f"{base}/appeal/{case_id}/{signature(keyring, case_id)}" if base else ""
