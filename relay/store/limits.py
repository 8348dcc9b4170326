"""Limits that are nearly or wholly used: a case once an hour, from which its owner is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import ids
from relay.clock import micros
from relay.model import Level, State
from relay.store import decisions
from relay.store.notices import HOUR_US

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.store.engine import Store

_MOST = 10_000


class Limits:
    """One for a process: keeps each case from being written more than once an hour."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: set[tuple[int, Level, int, str, int]] = set()

    def reached(self, level: Level, subject: int, fact: Mapping[str, str | int], now: datetime) -> None:
        """Write the case of a limit that is used to 90 or 100 %; nobody waits for it."""
        hour = micros(now) // HOUR_US
        key = (hour, level, subject, str(fact["check"]), int(fact["percent"]))
        if key in self._told:
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told.add(key)
        self._store.write_later(lambda tx: write(tx, now, level, subject, fact))


def write(tx: Connection, now: datetime, level: Level, subject: int, fact: Mapping[str, str | int]) -> None:
    """Write the case unless another process did within this hour."""
    step = f"{fact['check']} {fact['percent']} %"
    hour_us = micros(now) // HOUR_US * HOUR_US
    if decisions.steps_since(tx, level, subject, step, hour_us):
        return
    action = "limit" if fact["percent"] == 100 else "limit_near"
    decisions.add(
        tx, now, case_id=ids.case_id(), level=level, subject_id=subject, step=step,
        from_state=State.ACTIVE, to_state=State.ACTIVE, until=None, reason=str(fact["reason"]),
        evidence={"action": action, "numbers": dict(fact), "clause": fact["clause"]}, set_by=decisions.POLICY,
    )  # fmt: skip
