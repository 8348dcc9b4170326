"""When to try again, when to tell the sender, when to give up; randomness is handed in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from policies.decision import Decision

#: Pauses vary by this share each way, so that what failed together does not come back together.
JITTER = 0.2
#: A destination that fails is left alone, doubling, for this long at least and at most.
DESTINATION_FIRST = timedelta(seconds=10)
DESTINATION_LONGEST = timedelta(minutes=10)
#: A message whose worker died this often while it was handled is set aside.
DEATHS = 3


class Retry(StrEnum):
    """What becomes of a message that could not be delivered now."""

    AGAIN = "again"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Pauses between attempts, and how long in all; see `[outbox]` of the configuration."""

    first: timedelta = timedelta(minutes=5)
    longest: timedelta = timedelta(hours=4)
    lifetime: timedelta = timedelta(days=5)
    delay_notice: timedelta = timedelta(hours=4)
    factor: float = 1.5


def pause(schedule: Schedule, attempts: int, chance: float) -> timedelta:
    """Return the pause after the attempt of this number (1 is the first); `chance` in [0, 1)."""
    grown = schedule.first.total_seconds() * schedule.factor ** min(max(attempts - 1, 0), 60)
    seconds = min(grown, schedule.longest.total_seconds())
    return timedelta(seconds=seconds * (1 + JITTER * (2 * chance - 1)))


def judge(
    schedule: Schedule, accepted_at: datetime, attempts: int, now: datetime, chance: float
) -> tuple[Decision[Retry], datetime]:
    """Decide whether there is another attempt, and when; the last one is at the end of the lifetime."""
    end = accepted_at + schedule.lifetime
    numbers = {"attempts": attempts, "lifetime_seconds": schedule.lifetime.total_seconds()}
    if now >= end:
        return Decision(Retry.EXPIRE, f"undelivered for {schedule.lifetime}", numbers), end
    at = min(now + pause(schedule, attempts, chance), end)
    return Decision(Retry.AGAIN, f"attempt {attempts + 1} follows", numbers), at


def destination_pause(failures: int, chance: float) -> timedelta:
    """Return how long a server is left alone after so many failures in a row."""
    grown = DESTINATION_FIRST.total_seconds() * 2.0 ** min(max(failures - 1, 0), 20)
    seconds = min(grown, DESTINATION_LONGEST.total_seconds())
    return timedelta(seconds=seconds * (1 + JITTER * (2 * chance - 1)))


def is_poison(deaths: int) -> Decision[bool]:
    """Decide whether a message is set aside because handling it seems to kill the worker."""
    return Decision(deaths >= DEATHS, f"{deaths} workers died while they handled it", {"deaths": deaths})
