"""What the judge of standings asks the store: who has news, how many fell, what came back and what counts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, literal_column, or_, select

from relay.clock import micros, moment
from relay.model import Level, State
from relay.notice import Kind
from relay.store import decisions
from relay.store.schema import account, decision, message, tally

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

_OFF = (str(State.DEACTIVATED), str(State.SUSPENDED))
#: Counters that a step may look at, and how much one must grow before its account is judged again.
_GROWTH = {
    "unknown_recipients": 1,
    "first_time_recipients": 1,
    "refusals": 1,
    "auth_failures": 1,
    "attempts": 20,
}
#: Buckets are of ten minutes; one may have begun just before.
_BUCKETS = timedelta(minutes=20)


def with_spam(tx: Connection, after_us: int, score: float) -> set[int]:
    """Return accounts with a spam-scored message since a moment (microseconds)."""
    # no DISTINCT: SQLite would rather walk the whole journal in the order of its accounts
    statement = select(message.c.account_id).where(message.c.at_us > after_us, message.c.score >= score)
    return set(tx.execute(statement).scalars())


def recent_counts(tx: Connection, now: datetime) -> dict[tuple[int, str], int]:
    """Return the sums of the last minutes' counters by account and name."""
    # + 0: SQLite would rather walk all counters in the order of their accounts
    number = tally.c.account_id + literal_column("0")
    statement = (
        select(number, tally.c.name, func.sum(tally.c.value))
        .where(tally.c.bucket_us > micros(now - _BUCKETS), tally.c.name.in_(_GROWTH))
        .group_by(number, tally.c.name)
    )
    return {(int(number), str(name)): int(value) for number, name, value in tx.execute(statement)}


def grown(before: dict[tuple[int, str], int], after: dict[tuple[int, str], int]) -> set[int]:
    """Return the accounts whose counters grew so much that they are worth a judgement."""
    return {
        key[0] for key, value in after.items() if value - min(before.get(key, 0), value) >= _GROWTH[key[1]]
    }


def active_accounts(tx: Connection) -> int:
    """Return how many accounts may send without any restraint."""
    statement = select(func.count()).select_from(account).where(account.c.state == str(State.ACTIVE))
    return int(tx.execute(statement).scalar_one())


def fallen(tx: Connection, server_id: int, since: datetime) -> tuple[int, int]:
    """Return how many of a server's accounts were switched off since a moment, and how many it has."""
    mine = select(account.c.id).where(account.c.server_id == server_id)
    statement = select(func.count(func.distinct(decision.c.subject_id))).where(
        decision.c.at_us > micros(since),
        decision.c.level == str(Level.ACCOUNT),
        decision.c.to_state.in_(_OFF),
        decision.c.from_state.not_in(_OFF),
        decision.c.subject_id.in_(mine),
    )
    total = select(func.count()).select_from(mine.subquery())
    return int(tx.execute(statement).scalar_one()), int(tx.execute(total).scalar_one())


def automatic_returns(tx: Connection, account_id: int, since: datetime) -> list[datetime]:
    """Return when an account came back by itself after policy had switched it off."""
    statement = select(decision.c.at_us, decision.c.evidence).where(
        decision.c.level == str(Level.ACCOUNT),
        decision.c.subject_id == account_id,
        decision.c.at_us >= micros(since),
        decision.c.step == decisions.RETURN,
        decision.c.from_state == str(State.DEACTIVATED),
    )
    return [
        moment(row.at_us)
        for row in tx.execute(statement)
        if row.evidence.get("was_set_by") == decisions.POLICY
    ]


def started_anew(tx: Connection, account_id: int, since: datetime) -> datetime | None:
    """Return when an account's numbers last began anew, None if they did not since a moment.

    They do at a reinstatement (also of an account that was on: staff took its side), at an automatic return
    from a switch-off and where a credential was blocked; not at the end of a throttle.
    """
    active = decision.c.to_state == str(State.ACTIVE)
    came_back = or_(
        decision.c.step == decisions.REINSTATED,
        and_(active, decision.c.from_state.in_(_OFF)),
        and_(active, decision.c.from_state == str(State.THROTTLED), decision.c.step != decisions.RETURN),
    )
    statement = (
        select(decision.c.at_us, decision.c.to_state, decision.c.evidence)
        .where(
            decision.c.level == str(Level.ACCOUNT),
            decision.c.subject_id == account_id,
            decision.c.at_us >= micros(since),
            or_(came_back, and_(decision.c.set_by == decisions.POLICY, ~active)),
        )
        .order_by(decision.c.at_us.desc())
    )
    for row in tx.execute(statement):
        if row.to_state == State.ACTIVE or row.evidence.get("action") == Kind.BLOCK_CREDENTIAL:
            return moment(row.at_us)
    return None
