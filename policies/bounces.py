"""Bounces: when a recipient is not worth another try."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from policies.decision import Decision

#: two verified hard bounces at least so far apart: one alone may be a server's bad hour
APART = timedelta(hours=24)
SUPPRESSED_FOR = timedelta(days=30)


class Suppress(StrEnum):
    """Whether a recipient is refused at RCPT."""

    NO = "no"
    YES = "yes"


def suppress(verified_at: Iterable[datetime], now: datetime) -> Decision[Suppress]:
    """Decide from the times of a recipient's verified hard bounces, in any order.

    A recipient is suppressed for 30 days after the last of two that are at least a day apart.
    """
    fresh = sorted(one for one in verified_at if now - SUPPRESSED_FOR < one <= now)
    numbers = {"hard_bounces_30d": len(fresh)}
    if not fresh or fresh[-1] - fresh[0] < APART:
        return Decision(Suppress.NO, "", numbers)
    until = fresh[-1] + SUPPRESSED_FOR
    reason = f"this address bounced {len(fresh)} times within 30 days; tried again after {until:%Y-%m-%d}"
    return Decision(Suppress.YES, reason, numbers)
