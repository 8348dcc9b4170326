"""Who a waiting message is from and for, and what became of each recipient; sealed at rest."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from relay.outbox.spool import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.keyring import Keyring

PURPOSE = "outbox envelope"


class Fate(StrEnum):
    """What became of one recipient."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    RELAYED = "relayed"  #: delivered to a server that cannot report success itself
    FAILED = "failed"
    CANCELLED = "cancelled"  #: by staff, without a report


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient, what the client asked to be told (RFC 3461), and the last answer about it."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str | None = None
    fate: Fate = Fate.WAITING
    #: enhanced status and reply of the customer's server, sanitised
    status: str = ""
    reply: str = ""

    @property
    def waits(self) -> bool:
        """Return whether it is still to be delivered."""
        return self.fate is Fate.WAITING

    def wants(self, what: str) -> bool:
        """Return whether the sender is told of `what`: FAILURE and DELAY unless asked otherwise."""
        return what in self.notify if self.notify else what in ("FAILURE", "DELAY")

    def became(self, fate: Fate, status: str = "", reply: str = "") -> Recipient:
        """Return it with what happened."""
        return replace(self, fate=fate, status=status, reply=reply)


@dataclass(frozen=True, slots=True)
class WaitingEnvelope:
    """The SMTP envelope of a waiting message; `sender` is empty for `<>`."""

    sender: str
    recipients: tuple[Recipient, ...]
    smtputf8: bool = False
    eight_bit: bool = False
    ret: str | None = None
    envid: str | None = None
    #: the body is as the client sent it: it is screened and stamped before each attempt, never sent as it is
    unscreened: bool = False
    #: of what is unscreened: the client's address, what it called itself, and its TLS version
    client: tuple[str, str, str] = ("", "", "")

    @property
    def waiting(self) -> tuple[Recipient, ...]:
        """Return the recipients still to be delivered."""
        return tuple(one for one in self.recipients if one.waits)

    def with_fates(self, fates: Sequence[Recipient]) -> WaitingEnvelope:
        """Return it with these recipients in the places of those that waited, in order."""
        rest = iter(fates)
        return replace(self, recipients=tuple(next(rest) if one.waits else one for one in self.recipients))

    def seal(self, keyring: Keyring, number: str) -> bytes:
        """Return it encrypted for the row of this id, and for no other."""
        people = [
            [one.address, list(one.notify), one.orcpt, str(one.fate), one.status, one.reply]
            for one in self.recipients
        ]
        values: dict[str, Any] = {
            "sender": self.sender,
            "recipients": people,
            "smtputf8": self.smtputf8,
            "eight_bit": self.eight_bit,
            "ret": self.ret,
            "envid": self.envid,
            "unscreened": self.unscreened,
            "client": self.client,
        }
        return keyring.seal(PURPOSE, json.dumps(values, separators=(",", ":")).encode(), number.encode())

    @classmethod
    def unseal(cls, keyring: Keyring, number: str, sealed: bytes) -> WaitingEnvelope:
        """Return what `seal` made; BodyLost if it was altered, StoreError if its key is not here yet."""
        values = json.loads(opened(keyring, PURPOSE, number, sealed))
        people = tuple(
            Recipient(address, tuple(notify), orcpt, Fate(fate), status, reply)
            for address, notify, orcpt, fate, status, reply in values.pop("recipients")
        )
        client = tuple(values.pop("client", ("", "", "")))
        return cls(recipients=people, client=client, **values)
