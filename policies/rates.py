"""How much may be sent how fast: GCRA buckets, one integer each.

A bucket is one moment: when everything taken so far will have been paid back at the limit's pace (the generic
cell rate algorithm of ITU-T I.371). What is reserved at RCPT and not sent is refunded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from policies.decision import Decision

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


#: the span of what is called "today"
DAY = timedelta(hours=24)


class Take(StrEnum):
    """Whether a bucket gave what was asked."""

    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Limit:
    """So much in so long; as much may go at once after a rest of that length."""

    amount: int
    per: timedelta
    #: what it is called in reasons: `account messages`, `server recipients`, …
    name: str = "limit"
    #: how long one unit takes to come back, in nanoseconds, rounded up
    interval_ns: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Divide once, not for every message."""
        object.__setattr__(self, "interval_ns", -(-(self.per // _MICROSECOND) * 1000 // self.amount))


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was taken of a limit; 0 is a full bucket."""

    paid_back_at_ns: int = 0


def left(bucket: Bucket, limit: Limit, now: datetime) -> int:
    """Return how much could be taken at once now."""
    debt = max(bucket.paid_back_at_ns - nanoseconds(now), 0)
    return max(limit.amount - -(-debt // limit.interval_ns), 0)


def used(bucket: Bucket, limit: Limit, now: datetime) -> float:
    """Return how much of the limit is taken, from 0 to 1."""
    debt = max(bucket.paid_back_at_ns - nanoseconds(now), 0)
    return min(debt / (limit.amount * limit.interval_ns), 1.0)


def at_most_empty(bucket: Bucket, limit: Limit, now: datetime) -> Bucket:
    """Return a bucket that owes no more than its limit: after the clock, or the limit, was set back."""
    most = nanoseconds(now) + limit.amount * limit.interval_ns
    return bucket if bucket.paid_back_at_ns <= most else Bucket(most)


def after(at_ns: int, cost: int, limit: Limit, now_ns: int) -> int:
    """Return the moment of a bucket once `cost` is taken, 0 where it has too little: `take` says why."""
    most = now_ns + limit.amount * limit.interval_ns
    paid_back = max(min(at_ns, most), now_ns) + cost * limit.interval_ns
    return paid_back if paid_back <= most else 0


def take(bucket: Bucket, cost: int, limit: Limit, now: datetime) -> tuple[Bucket, Decision[Take]]:
    """Take `cost` units, or nothing; a cost beyond the whole limit can never be taken."""
    numbers = {"limit": limit.amount, "per_seconds": limit.per.total_seconds(), "cost": cost}
    start = nanoseconds(now)
    paid_back = max(bucket.paid_back_at_ns, start) + cost * limit.interval_ns
    wait_ns = paid_back - start - limit.amount * limit.interval_ns
    if cost > limit.amount:
        return bucket, Decision(Take.NEVER, f"{cost} at once is more than {_say(limit)}", numbers)
    if wait_ns > 0:
        wait = -(-wait_ns // 10**9)
        return bucket, Decision(Take.LATER, f"{_say(limit)} is used up", {**numbers, "wait_seconds": wait})
    return Bucket(paid_back), Decision(Take.TAKEN, "", numbers)


def take_all(
    buckets: Sequence[Bucket], cost: int, limits: Sequence[Limit], now: datetime
) -> tuple[tuple[Bucket, ...], Decision[Take]]:
    """Take `cost` from every bucket (account, server, customer), or from none when one has too little.

    The decision is that of the level that has longest to wait.
    """
    tried = [take(bucket, cost, limit, now) for bucket, limit in zip(buckets, limits, strict=True)]
    refused = [decision for _, decision in tried if decision.action is not Take.TAKEN]
    if refused:
        return tuple(buckets), max(refused, key=_worse)
    return tuple(bucket for bucket, _ in tried), Decision(Take.TAKEN, "", {"cost": cost})


def refund(bucket: Bucket, cost: int, limit: Limit) -> Bucket:
    """Give back what was reserved and not used; a bucket never holds more than its limit."""
    return Bucket(max(bucket.paid_back_at_ns - cost * limit.interval_ns, 0))


#: automatic answers of one account to one address: more is a loop of two programs
ANSWERS = Limit(10, timedelta(minutes=10), "automatic answers to one address")
#: what a throttled account's waiting mail leaves at, and what an account just back from a switch-off may send
PACE = Limit(60, timedelta(hours=1), "pace while throttled")
HALF_OPEN_PACE = Limit(20, timedelta(hours=1), "pace after a switch-off")


def half_open_cost(recipients_known: int, recipients_new: int) -> int:
    """Return what a message costs of HALF_OPEN_PACE: known recipients first, a new one counts fourfold."""
    return recipients_known + 4 * recipients_new


def nanoseconds(moment: datetime) -> int:
    """Return a moment as buckets count it."""
    return (moment - _EPOCH) // _MICROSECOND * 1000


def _say(limit: Limit) -> str:
    return f"{limit.name}: {limit.amount} in {limit.per}"


def _worse(decision: Decision[Take]) -> tuple[bool, float]:
    return decision.action is Take.NEVER, float(decision.numbers.get("wait_seconds", 0))
