"""Return paths of our own (VERP): MAIL FROM names the message, so that whatever comes back says which it is.

    bounce+TOKEN@return.example        TOKEN: 52 letters and digits; the local part has 59 of 64 octets

The token is the account and the message's id, sealed (AES-SIV, RFC 5297): nobody else can make or read one,
and the store is asked only when something comes back.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from relay.ids import message_id_bytes, message_id_text, sent_at
from relay.signing.token import base32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from relay.config import Config
    from relay.keyring import Keyring
    from relay.model import Account

#: A queue tries for five days; a slow gateway behind it may do the same, and people are away for two weeks.
LASTS = timedelta(days=21)
_AHEAD = timedelta(hours=1)
_PREFIX = "bounce+"
_PURPOSE, _SENDERS = "return paths", "senders of return paths"
_LOCAL = re.compile(r"bounce\+([a-z2-7]{52})", re.ASCII | re.IGNORECASE)
_BYTES = 32


@dataclass(frozen=True, slots=True)
class Returned:
    """What a return path of ours says: which message of which account; `sent_at` to 1/64 s."""

    account_id: int
    message_id: str
    sent_at: datetime


class Returns:
    """Makes and opens return paths; off while the configuration names no domain."""

    def __init__(self, config: Config, keyring: Keyring) -> None:
        self._keyring = keyring
        self._ciphers: dict[int, AESSIV] = {}
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take a reloaded configuration."""
        self._domain = config.returns.domain.lower()
        self._customers = frozenset(config.returns.customers)
        self._anywhere = re.compile(_LOCAL.pattern + "@" + re.escape(self._domain), _LOCAL.flags)

    def wanted(self, account: Account, sender: str) -> bool:
        """Return whether a sender is rewritten: never the null sender, nor what was rewritten before."""
        if not self._domain or not sender:
            return False
        if self._customers and account.customer.name not in self._customers:
            return False
        return sender.rpartition("@")[2].lower() != self._domain

    def of(self, account: Account, message_id: str, sender: str) -> str:
        """Return what MAIL FROM says when a message is handed on: the sender itself where this is off."""
        if not self.wanted(account, sender):
            return sender
        plain = account.id.to_bytes(5, "big") + message_id_bytes(message_id)
        number = self._keyring.newest
        sealed = bytes([number]) + self._cipher(number).encrypt(plain, None)
        return f"{_PREFIX}{base32(sealed)}@{self._domain}"

    def _cipher(self, number: int) -> AESSIV:
        if number not in self._ciphers:
            self._ciphers[number] = AESSIV(self._keyring.derive(_PURPOSE, number))
        return self._ciphers[number]

    def is_ours(self, address: str) -> bool:
        """Return whether an address is at the domain of return paths, genuine or not."""
        return bool(self._domain) and address.rpartition("@")[2].lower() == self._domain

    def open(self, address: str, now: datetime) -> Returned | None:
        """Return what a genuine return path of the last 21 days says, None for anything else."""
        local, _, domain = address.rpartition("@")
        match = _LOCAL.fullmatch(local)
        if match is None or not self._domain or domain.lower() != self._domain:
            return None
        try:
            sealed = base64.b32decode(match[1].upper() + "=" * 4)
            plain = self._cipher(sealed[0]).decrypt(sealed[1:], None)
        except (binascii.Error, ValueError, KeyError, InvalidTag):
            return None
        number = message_id_text(plain[5:])
        at = sent_at(number)
        if not now - LASTS <= at <= now + _AHEAD:
            return None
        return Returned(int.from_bytes(plain[:5], "big"), number, at)

    def find(self, texts: Iterator[str], now: datetime) -> Returned | None:
        """Return what the first genuine return path in some header fields says."""
        if not self._domain:
            return None
        found = (match[0] for text in texts for match in self._anywhere.finditer(text[:4000]))
        return next((said for one in found if (said := self.open(one, now)) is not None), None)

    def seal_sender(self, account: Account, message_id: str, sender: str) -> bytes | None:
        """Return whom to tell, for the journal's row of a rewritten message; None where this is off."""
        if not self.wanted(account, sender):
            return None
        return self._keyring.seal(_SENDERS, sender.encode("utf-8", "surrogateescape"), message_id.encode())

    def sender(self, message_id: str, sealed: bytes | None) -> str:
        """Return the sender that `seal_sender` sealed; empty if there is none, or its key is gone."""
        if not sealed:
            return ""
        try:
            plain = self._keyring.open(_SENDERS, sealed, message_id.encode())
        except (InvalidTag, KeyError):
            return ""
        return plain.decode("utf-8", "surrogateescape")
