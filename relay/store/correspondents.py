"""To whom an account wrote before: first-time recipients are counted, and budgeted for personal accounts.

What is known is remembered in memory, so that mail to known people costs neither a read nor a write. A
recipient is eight bytes of its keyed hash; it is forgotten when nothing went to it for as long as the journal
is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from relay.clock import micros
from relay.store import batch, bulk, journal
from relay.store.journal import BUCKET_US
from relay.store.schema import correspondent as _correspondent

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.model import Account
    from relay.store.engine import Store

#: So many (account, recipient) pairs are in memory at most, in two halves.
MOST_KNOWN = 200_000
#: What is known is written again after this long, so that its last time stays true.
FRESH = timedelta(hours=20)
_MANY = 500
#: Conditions may count this; the name is a column of `tally`.
FIRST_TIME = "first_time_recipients"


@dataclass(frozen=True, slots=True)
class Written:
    """A message that went out to recipients that this process did not know as written to."""

    account_id: int
    at: datetime
    recipients: tuple[int, ...]


def short(recipient_hash: bytes) -> int:
    """Return the stored form of a recipient's hash."""
    return int.from_bytes(recipient_hash[:8], "big", signed=True)


class Correspondents:
    """One for a process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._young: set[tuple[int, int]] = set()
        self._old: set[tuple[int, int]] = set()
        self._turned: datetime | None = None
        self._batch = batch.Batch[Written](store, write, write)

    async def knows(self, account: Account, recipient_hash: bytes) -> bool:
        """Return whether the account wrote to a recipient before; read once where memory does not tell."""
        key = (account.id, short(recipient_hash))
        if key in self._young or key in self._old:
            return True
        found = await self._store.query(lambda tx: bool(among(tx, account.id, key[1:])), urgent=True)
        if found:
            self._old.add(key)  # known, but not written again yet
        return found

    def wrote(self, account: Account, hashes: Sequence[bytes], now: datetime) -> None:
        """Note that a message went out to these recipients; committed within about 100 ms."""
        if self._turned is None or now - self._turned > FRESH or len(self._young) > MOST_KNOWN // 2:
            self._old, self._young, self._turned = self._young, set(), now
        number, fresh = account.id, []
        for one in hashes:
            key = (number, short(one))
            if key not in self._young:
                self._young.add(key)
                fresh.append(key[1])
        if fresh:
            self._batch.add(Written(number, now, tuple(fresh)))


def among(tx: Connection, account_id: int, recipients: Sequence[int]) -> set[int]:
    """Return those recipients that an account wrote to before."""
    table, found = _correspondent, set()
    for start in range(0, len(recipients), _MANY):
        some = table.c.recipient.in_(recipients[start : start + _MANY])
        found |= set(
            tx.execute(select(table.c.recipient).where(table.c.account_id == account_id, some)).scalars()
        )
    return found


def write(tx: Connection, rows: Sequence[Written]) -> None:
    """Keep who was written to, and count who was for the first time; harmless twice."""
    counts: Counter[tuple[int, int, str]] = Counter()
    latest: dict[tuple[int, int], int] = {}
    met: dict[int, set[int]] = {}
    for row in rows:
        known = met.setdefault(row.account_id, set())
        wanted = [one for one in row.recipients if one not in known]
        new = set(wanted) - among(tx, row.account_id, wanted)
        known.update(wanted)
        at_us = micros(row.at)
        if new:
            counts[row.account_id, at_us // BUCKET_US * BUCKET_US, FIRST_TIME] += len(new)
        latest.update({(row.account_id, one): at_us for one in row.recipients})
    columns = ("account_id", "recipient", "first_us", "last_us")
    values = [(*key, at_us, at_us) for key, at_us in sorted(latest.items())]
    bulk.insert(tx, _correspondent, columns, values, latest="last_us")
    journal.add_to_tally(tx, counts)
