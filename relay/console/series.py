"""Counts of messages for charts: steps that are over are counted once and remembered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from relay.clock import EPOCH
from relay.metrics import ACTIONS
from relay.store import views

if TYPE_CHECKING:
    from relay.store.engine import Store

#: window: its length and the length of one step, in seconds
WINDOWS = {"1h": (3600, 60), "24h": (86400, 900), "7d": (7 * 86400, 7200)}
#: Journal rows are committed at most this long after their moment; younger steps are counted again.
_SETTLED_SECONDS = 120
#: Charts kept; the one that was looked at longest ago goes first.
_CHARTS = 200
#: So much is read at once, seconds; a multiple of every step.
_PIECE = 86400
_SAME = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages by decision; `at` are the starts of the steps, whole seconds since 1970 UTC."""

    at: tuple[int, ...]
    series: dict[str, tuple[int, ...]]

    @property
    def totals(self) -> dict[str, int]:
        """Return the sums of the window."""
        return {action: sum(counts) for action, counts in self.series.items()}


_Key = tuple[str, int | None, int | None]
_Steps = dict[tuple[int, str], int]


class Series:
    """Charts of the whole relay, of one customer or one account."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[_Key, _Steps] = {}
        self._until: dict[_Key, int] = {}
        self._fresh: dict[_Key, tuple[datetime, Counts]] = {}
        self._counting = asyncio.Lock()

    async def counts(
        self, window: str, now: datetime, *, account_id: int | None = None, only: int | None = None
    ) -> Counts:
        """Return the counts of a window that ends with the step of `now`; reads only what is new.

        Everyone who looks within two seconds sees the same, counted once.
        """
        key = (window, account_id, only)
        async with self._counting:
            seen = self._fresh.get(key)
            if seen is not None and timedelta(0) <= now - seen[0] < _SAME:
                return seen[1]
            counted = await self._count(key, now)
            self._fresh[key] = now, counted
            return counted

    async def _count(self, key: _Key, now: datetime) -> Counts:
        length, step = WINDOWS[key[0]]
        current = int((now - EPOCH).total_seconds())
        last = current - current % step
        first = last - length + step
        start = max(first, self._until.get(key, first))
        known = {at: count for at, count in self._known.get(key, {}).items() if first <= at[0] < start}
        # a day at a time: each piece is well within the time that the store allows, however long the window
        for begin in range(start, last + step, _PIECE):
            known |= await self._read(key, begin, min(begin + _PIECE, last + step), step)
        self._remember(key, known, until=(current - _SETTLED_SECONDS) // step * step)
        steps = range(first, last + step, step)
        series = {action: tuple(known.get((at, action), 0) for at in steps) for action in ACTIONS}
        return Counts(tuple(steps), series)

    async def _read(self, key: _Key, begin: int, end: int, step: int) -> _Steps:
        _, account_id, only = key
        span = (EPOCH + timedelta(seconds=begin), EPOCH + timedelta(seconds=end))
        return await self._store.query(
            lambda tx: views.series(tx, *span, step, account_id=account_id, only=only)
        )

    def _remember(self, key: _Key, known: _Steps, *, until: int) -> None:
        self._known.pop(key, None)
        self._known[key], self._until[key] = known, until
        while len(self._known) > _CHARTS:
            oldest = next(iter(self._known))
            del self._known[oldest], self._until[oldest]
            self._fresh.pop(oldest, None)
