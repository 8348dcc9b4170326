"""Recipients that mail is no longer sent to: keyed hashes, counts and dates, never an address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from policies import bounces
from relay.clock import micros, moment
from relay.store import changes
from relay.store.rows import micros_or_none, moment_or_none
from relay.store.schema import suppression as _table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, RowMapping

BOUNCE, COMPLAINT, UNSUBSCRIBE, MANUAL = "bounce", "complaint", "unsubscribe", "manual"
#: what the recipients themselves wished: it holds for bulk and list mail alone
WISHES = frozenset((COMPLAINT, UNSUBSCRIBE))


@dataclass(frozen=True, slots=True)
class Suppression:
    """What is known of one recipient of one customer, of one kind; refused from `from_at` to `until`."""

    kind: str
    events: int
    first_at: datetime
    last_at: datetime
    from_at: datetime | None
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        """Return whether mail is refused now."""
        return self.from_at is not None and self.from_at <= now and (self.until is None or now < self.until)


def _value(row: RowMapping) -> Suppression:
    return Suppression(
        row["kind"],
        row["events"],
        moment(row["first_us"]),
        moment(row["last_us"]),
        moment_or_none(row["from_us"]),
        moment_or_none(row["until_us"]),
    )


def about(tx: Connection, customer_id: int, recipient_hash: bytes) -> list[Suppression]:
    """Return everything kept about a recipient, in force or not."""
    mine = (_table.c.customer_id == customer_id) & (_table.c.recipient_hash == recipient_hash)
    return [_value(row) for row in tx.execute(select(_table).where(mine).order_by(_table.c.kind)).mappings()]


def held(
    tx: Connection, now: datetime, customer_id: int, recipient_hashes: Sequence[bytes], *, listed: bool
) -> dict[bytes, str]:
    """Return which of these recipients are refused now, and for which kind of reason.

    `listed`: the mail is a bulk or list account's; the wishes of recipients hold for no other.
    """
    statement = select(_table).where(
        _table.c.customer_id == customer_id,
        _table.c.recipient_hash.in_(recipient_hashes),
        _table.c.from_us <= micros(now),
    )
    rows = tx.execute(statement).mappings().all()
    return {
        bytes(row["recipient_hash"]): row["kind"]
        for row in rows
        if _value(row).holds(now) and (listed or row["kind"] not in WISHES)
    }


def note_bounce(tx: Connection, now: datetime, customer_id: int, recipient_hash: bytes) -> Suppression:
    """Count a verified hard bounce; the second, a day or more after the first, begins a suppression."""
    known = _known(tx, customer_id, recipient_hash, BOUNCE)
    if known is None or now - known.last_at > bounces.SUPPRESSED_FOR:
        return _put(tx, now, customer_id, recipient_hash, Suppression(BOUNCE, 1, now, now, None, None))
    decision = bounces.suppress((known.first_at, known.last_at, now), now)
    enough = decision.action is bounces.Suppress.YES
    begin, end = (now, now + bounces.SUPPRESSED_FOR) if enough else (known.from_at, known.until)
    fresh = Suppression(BOUNCE, known.events + 1, known.first_at, now, begin, end)
    return _put(tx, now, customer_id, recipient_hash, fresh)


def add(
    tx: Connection,
    now: datetime,
    customer_id: int,
    recipient_hash: bytes,
    kind: str = MANUAL,
    until: datetime | None = None,
) -> Suppression:
    """Refuse a recipient from now on, until `until` or until cleared."""
    known = _known(tx, customer_id, recipient_hash, kind)
    first, events = (known.first_at, known.events + 1) if known else (now, 1)
    return _put(tx, now, customer_id, recipient_hash, Suppression(kind, events, first, now, now, until))


def clear(
    tx: Connection, now: datetime, customer_id: int, recipient_hash: bytes, kind: str | None = None
) -> int:
    """Forget a recipient, or one kind of reason, counts too; return how many entries there were."""
    mine = (_table.c.customer_id == customer_id) & (_table.c.recipient_hash == recipient_hash)
    if kind is not None:
        mine &= _table.c.kind == kind
    gone = tx.execute(delete(_table).where(mine)).rowcount
    if gone:
        changes.note(tx, now, changes.SUPPRESSION, customer_id)
    return gone


def counts(tx: Connection, now: datetime, customer_id: int) -> dict[str, int]:
    """Return how many recipients of a customer are refused now, by kind of reason."""
    statement = (
        select(_table.c.kind, func.count())
        .where(
            _table.c.customer_id == customer_id,
            _table.c.from_us <= micros(now),
            _table.c.until_us.is_(None) | (_table.c.until_us > micros(now)),
        )
        .group_by(_table.c.kind)
        .order_by(_table.c.kind)
    )
    return {row[0]: int(row[1]) for row in tx.execute(statement)}


def in_force(tx: Connection, now: datetime, customer_id: int) -> dict[bytes, dict[str, datetime | None]]:
    """Return a customer's suppressed recipients: by hash, each kind of reason and its end."""
    statement = select(_table).where(_table.c.customer_id == customer_id, _table.c.from_us.is_not(None))
    found: dict[bytes, dict[str, datetime | None]] = {}
    for row in tx.execute(statement).mappings():
        value = _value(row)
        if value.holds(now):
            found.setdefault(bytes(row["recipient_hash"]), {})[value.kind] = value.until
    return found


def _known(tx: Connection, customer_id: int, recipient_hash: bytes, kind: str) -> Suppression | None:
    return next((found for found in about(tx, customer_id, recipient_hash) if found.kind == kind), None)


def _put(
    tx: Connection, now: datetime, customer_id: int, recipient_hash: bytes, value: Suppression
) -> Suppression:
    values = {
        "events": value.events,
        "first_us": micros(value.first_at),
        "last_us": micros(now),
        "from_us": micros_or_none(value.from_at),
        "until_us": micros_or_none(value.until),
    }
    key = {"customer_id": customer_id, "recipient_hash": recipient_hash, "kind": value.kind}
    same = [_table.c[name] == given for name, given in key.items()]
    if not tx.execute(update(_table).where(*same).values(**values)).rowcount:
        tx.execute(insert(_table).values(**key, **values))
    if value.from_at is not None:
        changes.note(tx, now, changes.SUPPRESSION, customer_id)
    return value
