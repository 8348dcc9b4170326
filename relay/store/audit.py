"""What staff did: append-only, each entry chained by hash to the one before."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from relay.clock import micros, moment
from relay.store import changes
from relay.store.schema import audit as _audit
from relay.store.schema import clean, counter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

_FIRST = bytes(32)
_PAGE = 1000
#: Somebody looked at content.
LOOK = "mail.look"


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed: who did what to which object, why, and what was before and after (never a secret)."""

    seq: int
    at: datetime
    who: str
    action: str
    object: str
    reason: str
    details: Mapping[str, Any]


def append(  # noqa: PLR0913, PLR0917 - one argument a column
    tx: Connection,
    now: datetime,
    who: str,
    action: str,
    object: str,  # noqa: A002 - the column's name
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry in the transaction of the deed itself; return its number."""
    seq = changes.next_number(tx, "audit")
    before = tx.execute(select(_audit.c.hash).where(_audit.c.seq == seq - 1)).scalar() or _FIRST
    # as the database will give it back, so that its hash is the same then
    who, action, object, reason = (clean(text) for text in (who, action, object, reason))  # noqa: A001
    text = json.dumps(details or {}, sort_keys=True, default=str)
    values: dict[str, Any] = {
        "seq": seq,
        "at_us": micros(now),
        "who": who,
        "action": action,
        "object": object,
        "reason": reason,
        "details": text,
        "previous": before,
    }
    tx.execute(insert(_audit).values(**values, hash=_digest(before, list(values.values())[:-1])))
    return seq


def _digest(previous: bytes, values: list[Any]) -> bytes:
    return hashlib.sha256(previous + json.dumps(values, ensure_ascii=True).encode()).digest()


def append_look(tx: Connection, now: datetime, who: str, thing: str, reason: str, customer_id: int) -> int:
    """Add that somebody looked at content or people of a customer's mail."""
    return append(tx, now, who, LOOK, thing, reason, {"customer": customer_id})


def looks(tx: Connection, customer_id: int, *, limit: int = 50, before: int | None = None) -> list[Entry]:
    """Return who looked at a customer's mail, and why, newest first: for that customer."""
    theirs = _audit.c.details == json.dumps({"customer": customer_id}, sort_keys=True)
    statement = select(_audit).where(_audit.c.action == LOOK, theirs)
    if before is not None:
        statement = statement.where(_audit.c.seq < before)
    return [_entry(row) for row in tx.execute(statement.order_by(_audit.c.seq.desc()).limit(limit))]


def messages(tx: Connection, actions: Sequence[str], since: datetime) -> frozenset[str]:
    """Return the messages that staff did one of these to; of a deed on very many, those it names."""
    query = select(_audit.c.object, _audit.c.details).where(
        _audit.c.action.in_(actions), _audit.c.at_us >= micros(since)
    )
    found: set[str] = set()
    for thing, details in tx.execute(query):
        found.update(json.loads(details or "{}").get("messages") or [thing.removeprefix("message ")])
    return frozenset(found)


def entries(
    tx: Connection,
    *,
    limit: int = 50,
    before: int | None = None,
    object: str | None = None,  # noqa: A002
) -> list[Entry]:
    """Return the newest entries, newest first; older than number `before`, about one object."""
    statement = select(_audit).order_by(_audit.c.seq.desc()).limit(limit)
    if before is not None:
        statement = statement.where(_audit.c.seq < before)
    if object is not None:
        statement = statement.where(_audit.c.object == object)
    return [_entry(row) for row in tx.execute(statement)]


def _entry(row: Row[Any]) -> Entry:
    details = json.loads(row.details)
    return Entry(row.seq, moment(row.at_us), row.who, row.action, row.object, row.reason, details)


def verify(tx: Connection) -> int | None:
    """Return the number of the first entry that was altered, removed or put in; None if all is as written."""
    before, expected = _FIRST, 1
    for row in _in_order(tx):
        values = [row.seq, row.at_us, row.who, row.action, row.object, row.reason, row.details]
        good = row.seq == expected and hmac.compare_digest(bytes(row.previous), before)
        if not good or not hmac.compare_digest(bytes(row.hash), _digest(before, values)):
            return min(expected, int(row.seq))
        before, expected = bytes(row.hash), expected + 1
    # the counter remembers how many there were: a cut tail shows
    written = int(tx.execute(select(counter.c.value).where(counter.c.name == "audit")).scalar() or 0)
    return None if written == expected - 1 else min(expected, written + 1)


def _in_order(tx: Connection) -> Iterator[Row[Any]]:
    """Read the log in pages, so that its length does not matter."""
    last = -1
    while page := tx.execute(
        select(_audit).where(_audit.c.seq > last).order_by(_audit.c.seq).limit(_PAGE)
    ).all():
        yield from page
        last = page[-1].seq
