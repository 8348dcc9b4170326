"""Forgets what has had its time, a little at a time, so that the writer is never held up."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, bindparam, delete, func, select

from relay.clock import micros
from relay.store import schema, staff, suppression

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection

    from relay.config import Retention
    from relay.store.engine import Store

#: Rows that one transaction deletes.
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
    yield schema.campaign, schema.campaign.c.last_us < journal
    yield schema.correspondent, schema.correspondent.c.last_us < journal
    # what changed no standing: a warning, a limit; evidence of a change stays as long as its account
    reports = micros(now - max(COHORTS, retention.reports))
    case = schema.decision.c
    said = (case.at_us < reports) & (case.from_state == case.to_state)
    yield schema.decision, said & case.case_id.not_in(select(schema.appeal.c.case_id))
    # whatever became of it: what nobody took within hours, nobody waits for any more
    yield schema.notice, schema.notice.c.at_us < journal
    yield schema.appeal, schema.appeal.c.closed_us < micros(now - retention.reports)
    yield schema.cohort, schema.cohort.c.day < micros(now - max(COHORTS, retention.journal)) // _DAY_US
    yield schema.complaint, schema.complaint.c.at_us < reports
    yield schema.vote, schema.vote.c.sent_us < reports
    yield schema.bounce, schema.bounce.c.sent_us < micros(now - COHORTS)
    yield schema.waiting_report, schema.waiting_report.c.at_us < micros(now - retention.reports)
    yield schema.login_event, schema.login_event.c.at_us < micros(now - retention.logins)
    # but the newest: a process that slept for longer finds the gap before it, and forgets what it knew
    newest = select(func.max(schema.change.c.seq)).scalar_subquery()
    yield schema.change, (schema.change.c.at_us < micros(now - CHANGES)) & (schema.change.c.seq < newest)
    yield schema.suppression, schema.suppression.c.until_us < micros(now)
    # what recipients wished and customers added stays until it is cleared
    counted = (schema.suppression.c.kind == suppression.BOUNCE) & schema.suppression.c.until_us.is_(None)
    yield schema.suppression, counted & (schema.suppression.c.last_us < micros(now - COHORTS))
    yield schema.nonce, schema.nonce.c.expires_us < micros(now)


async def purge_all(store: Store, now: datetime, retention: Retention) -> int:
    """Delete everything that is overdue and return how many rows; StoreError.

    Rows are sought by a reader and deleted a few at a time, so that the writer is never held up.
    """
    gone = await store.write(lambda tx: staff.purge(tx, now))
    for table, due in _overdue(now, retention):
        while keys := await store.query(partial(some_keys, table=table, due=due)):
            await store.write(partial(delete_rows, table=table, keys=keys))
            gone += len(keys)
    return gone


def some_keys(tx: Connection, table: Table, due: ColumnElement[bool]) -> list[tuple[Any, ...]]:
    """Return the keys of some rows that are due, none when none are left."""
    found = tx.execute(select(*table.primary_key.columns).where(due).limit(MOST_ROWS))
    return [tuple(row) for row in found]


def delete_rows(tx: Connection, table: Table, keys: list[tuple[Any, ...]]) -> None:
    """Delete rows by their keys."""
    columns = list(table.primary_key.columns)
    same = [column == bindparam(f"k{place}", type_=column.type) for place, column in enumerate(columns)]
    values = [{f"k{place}": value for place, value in enumerate(key)} for key in keys]
    tx.execute(delete(table).where(*same), values)
