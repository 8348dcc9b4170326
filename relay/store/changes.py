"""What changed, numbered in the order of commits, so that every process hears of everything once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from relay.clock import micros
from relay.errors import StoreError
from relay.store import hint
from relay.store.schema import change, counter

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

#: The closed list of kinds; the key is an id (account, server, customer) or a name.
ACCOUNT, SERVER, CUSTOMER = "account", "server", "customer"
#: what a standing hangs on
STANDINGS = (ACCOUNT, SERVER, CUSTOMER)
#: so many are read at once
PAGE = 1000
DOMAIN, REPORTER, DKIM, SWITCH, STAFF = "domain", "reporter", "dkim", "switch", "staff"
#: a customer's suppressed recipients changed; an account has reports to judge (the keys are ids)
SUPPRESSION, JUDGE = "suppression", "judge"
#: a text became known as spam, or is forgotten; what was learned of an account was erased (the key is its id)
CAMPAIGN, HABITS = "campaign", "habits"


@dataclass(frozen=True, slots=True)
class Change:
    """Something of this kind, with this key, is no longer as it was."""

    seq: int
    kind: str
    key: str
    at_us: int = 0


def next_number(tx: Connection, name: str) -> int:
    """Count a one-row counter up; its lock is held to the commit, so numbers follow the order of commits."""
    row = update(counter).where(counter.c.name == name).values(value=counter.c.value + 1)
    number = tx.execute(row.returning(counter.c.value)).scalar()
    if number is None:
        raise StoreError(f"the counter {name!r} is missing: the database was not migrated")
    return int(number)


def note(tx: Connection, now: datetime, kind: str, key: str | int) -> int:
    """Write that `kind` `key` changed, in the transaction that changes it; return its number."""
    seq = next_number(tx, "change")
    tx.execute(insert(change).values(seq=seq, kind=kind, key=str(key), at_us=micros(now)))
    hint.tell(tx)
    return seq


def since(tx: Connection, seq: int, limit: int = PAGE) -> list[Change]:
    """Return the changes after `seq`, oldest first."""
    columns = (change.c.seq, change.c.kind, change.c.key, change.c.at_us)
    rows = tx.execute(select(*columns).where(change.c.seq > seq).order_by(change.c.seq).limit(limit))
    return [Change(*row) for row in rows]


def latest(tx: Connection) -> int:
    """Return the number of the newest change, 0 before the first."""
    return tx.execute(select(counter.c.value).where(counter.c.name == "change")).scalar() or 0
