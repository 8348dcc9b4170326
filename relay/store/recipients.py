"""What the doors ask and tell about single recipients: is mail to it suppressed, and did its server know it.

Answers come from memory; what is told is counted with one commit for many.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from relay.clock import micros
from relay.model import AccountClass
from relay.store import batch, changes, complaints, journal, suppression
from relay.store.journal import BUCKET_US

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from relay.keyring import Keyring
    from relay.model import Account
    from relay.store.changes import Change
    from relay.store.engine import Store

MOST_CUSTOMERS = 10_000
#: what servers say of an address that is not there, where they give no enhanced status (RFC 3463 §3.2)
_UNKNOWN_STATUS = frozenset(("5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"))
_UNKNOWN_WORDS = re.compile(
    r"unknown|no such|not? (?:found|exist|valid)|invalid|no mailbox|undeliverable", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Tried:
    """One recipient that a client named, and whether its server says that it does not exist."""

    account_id: int
    customer_id: int
    recipient_hash: bytes
    at: datetime
    unknown: bool
    #: it was counted as tried before: at RCPT, where its server took it
    again: bool = False


def is_unknown(code: int, status: str, text: str) -> bool:
    """Return whether a server's answer to RCPT says that the address does not exist."""
    if not 500 <= code < 600:
        return False
    if status and status != "5.0.0":
        return status in _UNKNOWN_STATUS
    return code in (550, 551, 553) and _UNKNOWN_WORDS.search(text[:500]) is not None


@dataclass(frozen=True, slots=True)
class Gone:
    """Recipients of one message, counted as relayed, that its customer's server later said do not exist."""

    account_id: int
    customer_id: int
    message_id: str
    sent_us: int
    #: recipient's hash, its domain's, enhanced status
    people: tuple[tuple[bytes, bytes, str], ...]


def gone(tx: Connection, now: datetime, said: Gone) -> None:
    """Count them as hard bounces and unknown recipients, each once a message."""
    new = [
        recipient
        for recipient, domain, status in said.people
        if complaints.add_bounce(
            tx, now, message_id=said.message_id, recipient_hash=recipient, account_id=said.account_id,
            customer_id=said.customer_id, domain_hash=domain, sent_us=said.sent_us, status=status,
            kind="invalid recipient", permanent=True,
        )
    ]  # fmt: skip
    for recipient in new:
        suppression.note_bounce(tx, now, said.customer_id, recipient)
    if new:
        journal.bump(tx, said.account_id, now, "unknown_recipients", len(new))
        changes.note(tx, now, changes.JUDGE, said.account_id)


class Recipients:
    """One for a process; `heard` is given every batch of changes."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring
        self._held: dict[int, dict[bytes, dict[str, datetime | None]]] = {}
        #: how often lists changed: one that was read meanwhile may be older than what was heard
        self._changed = 0
        self._tried = batch.Batch[Tried](store, _write, _write)

    async def suppressed(self, account: Account, address: str, now: datetime) -> str:
        """Return why mail to an address is refused (a kind of suppression), "" if it is not.

        Recipients' wishes hold for bulk and list mail alone. A customer's list is read at first use;
        StoreError.
        """
        customer_id = account.customer.id
        held = self._held.get(customer_id)
        if held is None:
            before = self._changed
            held = await self._store.query(lambda tx: suppression.in_force(tx, now, customer_id), urgent=True)
            if self._changed == before:
                if len(self._held) >= MOST_CUSTOMERS:
                    self._held.pop(next(iter(self._held)))
                self._held[customer_id] = held
        if not held:
            return ""
        listed = account.klass in (AccountClass.BULK, AccountClass.LIST)
        for kind, until in held.get(self._keyring.recipient_hash(customer_id, address), {}).items():
            if (listed or kind not in suppression.WISHES) and (until is None or now < until):
                return kind
        return ""

    def tried(
        self, account: Account, address: str, now: datetime, *, unknown: bool, again: bool = False
    ) -> None:
        """Count one recipient, taken or refused by its server; committed within about 100 ms."""
        customer_id = account.customer.id
        hashed = self._keyring.recipient_hash(customer_id, address) if unknown else b""
        self._tried.add(Tried(account.id, customer_id, hashed, now, unknown, again))

    def heard(self, news: Iterable[Change]) -> None:
        """Forget the lists that changed."""
        for one in news:
            if one.kind == changes.SUPPRESSION:
                self._held.pop(int(one.key), None)
                self._changed += 1
            elif not one.key:
                self._held.clear()
                self._changed += 1


def _write(tx: Connection, rows: Sequence[Tried]) -> None:
    counts: Counter[tuple[int, int, str]] = Counter()
    for row in rows:
        bucket = micros(row.at) // BUCKET_US * BUCKET_US
        counts[row.account_id, bucket, "attempts"] += not row.again
        if row.unknown:
            counts[row.account_id, bucket, "unknown_recipients"] += 1
            suppression.note_bounce(tx, row.at, row.customer_id, row.recipient_hash)
    journal.add_to_tally(tx, counts)
