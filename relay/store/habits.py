"""What an account usually does, read from counters that are kept anyway; and erased where asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from policies.habits import Profile
from relay.clock import micros, moment
from relay.store import bulk, changes
from relay.store.journal import BUCKET_US, DAY_US, NETWORK, PROGRAM
from relay.store.schema import habit, message, network, tally

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_LARGEST_OF = 500


def profile(tx: Connection, account_id: int, now: datetime) -> Profile:
    """Return an account's profile, from everything before today (UTC): a flood is no habit."""
    floor = tx.execute(select(habit.c.since_us).where(habit.c.account_id == account_id)).scalar() or 0
    today = micros(now) // DAY_US * DAY_US
    known = {
        kind: {
            row.network: moment(row.first_us)
            for row in tx.execute(
                select(network.c.network, network.c.first_us).where(
                    network.c.account_id == account_id, network.c.kind == kind, network.c.last_us >= floor
                )
            )
        }
        for kind in (NETWORK, PROGRAM)
    }
    hours, days, busiest = _times(tx, account_id, floor, today)
    firsts = [first for names in known.values() for first in names.values()]
    since = max(min(firsts), moment(floor)) if firsts else None
    return Profile(
        since, days, hours, known[NETWORK], known[PROGRAM], busiest, _largest(tx, account_id, floor, today)
    )


def _times(tx: Connection, account_id: int, floor: int, today: int) -> tuple[tuple[int, ...], int, int]:
    """Return messages by hour of the day, the days with any, and the recipients of the busiest."""
    mine = (tally.c.account_id == account_id, tally.c.bucket_us >= floor, tally.c.bucket_us < today)
    rows = tx.execute(
        select(tally.c.bucket_us, tally.c.name, tally.c.value).where(
            *mine, tally.c.name.in_(("messages", "relayed"))
        )
    )
    hours, days = [0] * 24, dict[int, int]()
    for bucket_us, name, value in rows:
        day, rest = divmod(bucket_us, DAY_US)
        if name == "messages":
            hours[rest * 24 // DAY_US] += value
            days.setdefault(day, 0)
        else:
            days[day] = days.get(day, 0) + value
    return tuple(hours), len(days), max(days.values(), default=0)


def _largest(tx: Connection, account_id: int, floor: int, today: int) -> int:
    table = message.c
    newest = (
        select(table.recipient_count)
        .where(table.account_id == account_id, table.at_us >= floor, table.at_us < today)
        .order_by(table.at_us.desc())
        .limit(_LARGEST_OF)
        .subquery()
    )
    return int(tx.execute(select(func.coalesce(func.max(newest.c.recipient_count), 0))).scalar_one())


def today(tx: Connection, account_id: int, now: datetime) -> int:
    """Return the recipients that mail went out to since midnight (UTC)."""
    start = micros(now) // DAY_US * DAY_US // BUCKET_US * BUCKET_US
    where = (tally.c.account_id == account_id, tally.c.bucket_us >= start, tally.c.name == "relayed")
    return int(tx.execute(select(func.coalesce(func.sum(tally.c.value), 0)).where(*where)).scalar_one())


def forget(tx: Connection, now: datetime, account_id: int) -> None:
    """Erase what was learned: networks and programs go, and counters before now are not looked at again."""
    tx.execute(delete(network).where(network.c.account_id == account_id))
    tx.execute(delete(habit).where(habit.c.account_id == account_id))
    bulk.insert(tx, habit, ("account_id", "since_us"), [(account_id, micros(now))])
    changes.note(tx, now, changes.HABITS, account_id)
