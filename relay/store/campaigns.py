"""Fingerprints of mail that people or staff called spam: what comes again, from whomever, is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from relay.clock import micros, moment
from relay.store import changes
from relay.store.schema import account, campaign, message

if TYPE_CHECKING:
    from sqlalchemy import Connection, Update

#: So many are in force at most, the newest.
MOST = 10_000
#: So many people must complain about one text before it counts: newsletters always annoy somebody.
ENOUGH_REPORTS = 3
STAFF, COMPLAINTS = "staff", "complaints"


@dataclass(frozen=True, slots=True)
class Campaign:
    """A known text: who called it spam, how many people complained, and the message it was first seen in."""

    fingerprint: int
    source: str
    reports: int
    message_id: str
    account_id: int
    login: str
    first: datetime
    last: datetime

    @property
    def in_force(self) -> bool:
        """Return whether mail like it is marked."""
        return _counts(self.source, self.reports)


def _counts(source: str, reports: int) -> bool:
    return source == STAFF or reports >= ENOUGH_REPORTS


def complained(tx: Connection, now: datetime, message_id: str, votes: int) -> None:
    """Count votes of authenticated reporters about a message; negative ones were taken back."""
    found = _sent(tx, message_id)
    if found is None or not votes:
        return
    value, account_id = found
    before = _get(tx, value)
    source, reports = before or (COMPLAINTS, 0)
    reports = max(0, reports + votes)
    if before is None:
        _add(tx, now, value, source=source, reports=reports, message_id=message_id, account_id=account_id)
    else:
        tx.execute(_row(value, reports=reports, last_us=micros(now)))
    if _counts(source, reports) != (before is not None and _counts(*before)):
        changes.note(tx, now, changes.CAMPAIGN, value)


def condemn(tx: Connection, now: datetime, message_id: str) -> None:
    """Keep that staff called a message spam."""
    found = _sent(tx, message_id)
    if found is None:
        return
    value, account_id = found
    if _get(tx, value) is None:
        _add(tx, now, value, source=STAFF, reports=0, message_id=message_id, account_id=account_id)
    else:
        tx.execute(_row(value, source=STAFF, last_us=micros(now)))
    changes.note(tx, now, changes.CAMPAIGN, value)


def acquit(tx: Connection, now: datetime, message_id: str) -> None:
    """Forget a text that staff let go."""
    found = _sent(tx, message_id)
    if found is not None:
        forget(tx, now, found[0])


def forget(tx: Connection, now: datetime, fingerprint: int) -> bool:
    """Forget one text; return whether it was known."""
    gone = tx.execute(delete(campaign).where(campaign.c.fingerprint == signed(fingerprint))).rowcount
    if gone:
        changes.note(tx, now, changes.CAMPAIGN, fingerprint)
    return bool(gone)


def known(tx: Connection, limit: int = MOST) -> list[Campaign]:
    """Return the newest known texts, the newest first."""
    rows = tx.execute(
        select(campaign, account.c.login)
        .outerjoin(account, account.c.id == campaign.c.account_id)
        .order_by(campaign.c.last_us.desc(), campaign.c.fingerprint)
        .limit(limit)
    )
    return [
        Campaign(
            unsigned(row.fingerprint), row.source, row.reports, row.message_id, row.account_id,
            row.login or "", moment(row.first_us), moment(row.last_us),
        )
        for row in rows
    ]  # fmt: skip


def signed(value: int) -> int:
    """Return a fingerprint as the database keeps it."""
    return value - (1 << 64) if value >> 63 else value


def unsigned(value: int) -> int:
    """Return a fingerprint as it is compared."""
    return value & (1 << 64) - 1


def _sent(tx: Connection, message_id: str) -> tuple[int, int] | None:
    """Return fingerprint and account of a message; None if it is unknown or says too little."""
    columns = select(message.c.fingerprint, message.c.account_id).where(message.c.id == message_id)
    row = tx.execute(columns).first()
    return (unsigned(row.fingerprint), row.account_id) if row is not None and row.fingerprint else None


def _get(tx: Connection, value: int) -> tuple[str, int] | None:
    """Return source and reports of a known text."""
    columns = select(campaign.c.source, campaign.c.reports)
    row = tx.execute(columns.where(campaign.c.fingerprint == signed(value))).first()
    return None if row is None else (row.source, row.reports)


def _row(value: int, **values: str | int) -> Update:
    return update(campaign).where(campaign.c.fingerprint == signed(value)).values(**values)


def _add(tx: Connection, now: datetime, value: int, **values: str | int) -> None:
    at_us = micros(now)
    tx.execute(insert(campaign).values(fingerprint=signed(value), first_us=at_us, last_us=at_us, **values))
