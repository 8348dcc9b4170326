"""The numbers of a server or a customer: what its accounts did together, for staff.

They are sums, and judge nobody: an account is judged by its own numbers, a server by how many of its accounts
fall (`relay.feedback.judge`). Complaints without our token (grade C) are counted here alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from relay.clock import micros
from relay.model import Grade, Level
from relay.store import judging, schema
from relay.store.journal import BUCKET_US, DAY_US

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, Select

#: counters of ten minutes, and the windows of arrival that they are summed over
_COUNTED = (
    "messages", "attempts", "relayed", "unknown_recipients", "first_time_recipients", "refusals",
    "auth_failures",
)  # fmt: skip
_WINDOWS = {"10m": timedelta(minutes=10), "1h": timedelta(hours=1), "24h": timedelta(hours=24)}
_COHORTS = {"7d": timedelta(days=7), "30d": timedelta(days=30)}


def of(tx: Connection, level: Level, subject: int, now: datetime) -> dict[str, int]:
    """Return the numbers of a server's or a customer's accounts together, by name and window."""
    column = schema.account.c.server_id if level is Level.SERVER else schema.account.c.customer_id
    mine = select(schema.account.c.id).where(column == subject)
    found: dict[str, int] = {"accounts": _one(tx, select(func.count()).where(column == subject))}
    for name, span in _WINDOWS.items():
        found |= _arrived(tx, mine, name, now - span)
    for name, span in _COHORTS.items():
        found |= _by_send_date(tx, mine, name, micros(now - span) // DAY_US)
    spam = schema.message.c.score >= schema.SPAM_SCORE
    bodies = select(func.count(func.distinct(schema.message.c.body_hash))).where(
        schema.message.c.account_id.in_(mine), schema.message.c.at_us >= micros(now - _WINDOWS["24h"]), spam
    )
    found["spam_bodies_24h"] = _one(tx, bodies)
    owner = schema.complaint.c.server_id if level is Level.SERVER else schema.complaint.c.customer_id
    found["grade_c_30d"] = _one(
        tx,
        select(func.count()).where(
            owner == subject,
            schema.complaint.c.grade == str(Grade.C),
            schema.complaint.c.at_us >= micros(now - _COHORTS["30d"]),
        ),
    )
    if level is Level.SERVER:
        found["fallen_24h"] = judging.fallen(tx, subject, now - _WINDOWS["24h"])[0]
    return found


def _one(tx: Connection, statement: Select[Any]) -> int:
    return int(tx.execute(statement).scalar_one() or 0)


def _arrived(tx: Connection, mine: Select[Any], window: str, since: datetime) -> dict[str, int]:
    """Return the counters of everything that came since a moment."""
    table = schema.tally
    sums = (
        select(table.c.name, func.sum(table.c.value))
        .where(
            table.c.account_id.in_(mine),
            table.c.bucket_us > micros(since) - BUCKET_US,
            table.c.name.in_(_COUNTED),
        )
        .group_by(table.c.name)
    )
    counted = {name: int(total) for name, total in tx.execute(sums)}
    return {f"{name}_{window}": counted.get(name, 0) for name in _COUNTED}


def _by_send_date(tx: Connection, mine: Select[Any], window: str, first_day: int) -> dict[str, int]:
    """Return what came back of what was sent from a day on, and how much that was."""
    cohort, vote, bounce = schema.cohort, schema.vote, schema.bounce
    since_us = first_day * DAY_US
    relayed = select(func.sum(cohort.c.relayed)).where(
        cohort.c.account_id.in_(mine), cohort.c.day >= first_day
    )

    def votes(grade: Grade) -> ColumnElement[bool]:
        return vote.c.account_id.in_(mine) & (vote.c.sent_us >= since_us) & (vote.c.grade == str(grade))

    hard = bounce.c.account_id.in_(mine) & (bounce.c.sent_us >= since_us) & bounce.c.permanent.is_(True)
    standing = vote.c.withdrawn.is_(False)
    return {
        f"relayed_{window}": _one(tx, relayed),
        f"votes_{window}": _one(tx, select(func.count()).where(votes(Grade.A), standing)),
        f"grade_b_{window}": _one(tx, select(func.count()).where(votes(Grade.B), standing)),
        f"hard_bounces_{window}": _one(tx, select(func.count()).where(hard)),
    }
