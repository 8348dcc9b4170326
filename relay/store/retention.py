"""Forgets what has had its time, a little at a time, so that the writer is never held up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Table, bindparam, delete, select

from relay.clock import micros
from relay.store import schema, staff

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from relay.config import Retention
    from relay.store.engine import Store

#: Rows of one table that one transaction deletes.
MOST_ROWS = 2000
#: Counters and cohorts: the longest window is 30 days, a report may be 90 days late.
TALLIES = timedelta(days=40)
COHORTS = timedelta(days=130)
#: Changes: a process that slept for longer reads everything again.
CHANGES = timedelta(days=2)
_DAY_US = 86_400 * 1_000_000


def _overdue(now: datetime, retention: Retention) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Return every table that forgets, and which of its rows are due."""
    journal = micros(now - retention.journal)
    yield schema.message, schema.message.c.at_us < journal
    yield schema.tally, schema.tally.c.bucket_us < micros(now - TALLIES)
    yield schema.network, schema.network.c.last_us < micros(now - TALLIES)
    yield schema.cohort, schema.cohort.c.day < micros(now - max(COHORTS, retention.journal)) // _DAY_US
    yield schema.complaint, schema.complaint.c.at_us < micros(now - max(COHORTS, retention.reports))
    yield schema.vote, schema.vote.c.sent_us < micros(now - max(COHORTS, retention.reports))
    yield schema.bounce, schema.bounce.c.sent_us < micros(now - COHORTS)
    yield schema.waiting_report, schema.waiting_report.c.at_us < micros(now - retention.reports)
    yield schema.login_event, schema.login_event.c.at_us < micros(now - retention.logins)
    yield schema.change, schema.change.c.at_us < micros(now - CHANGES)
    yield schema.suppression, schema.suppression.c.until_us < micros(now)
    yield schema.suppression, schema.suppression.c.last_us < micros(now - COHORTS)


def purge(tx: Connection, now: datetime, retention: Retention) -> int:
    """Delete a bounded number of overdue rows of every table; return how many: 0 when nothing is left."""
    gone = staff.purge(tx, now)
    for table, due in _overdue(now, retention):
        keys = list(table.primary_key.columns)
        some = select(*keys).where(due).limit(MOST_ROWS)
        found = tx.execute(some).all()
        if not found:
            continue
        values = [{f"k{place}": value for place, value in enumerate(row)} for row in found]
        gone += len(values)
        tx.execute(
            delete(table).where(*(key == bindparam(f"k{n}", type_=key.type) for n, key in enumerate(keys))),
            values,
        )
    return gone


async def purge_all(store: Store, now: datetime, retention: Retention) -> int:
    """Delete everything that is overdue, in many small transactions; StoreError."""
    gone = 0
    while some := await store.write(lambda tx: purge(tx, now, retention)):
        gone += some
    return gone
