"""Counts of messages for charts: steps that are over are counted once and remembered."""

from __future__ import annotations

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
_CHARTS = 200


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages by decision; `at` are the starts of the steps, whole seconds since 1970 UTC."""

    at: tuple[int, ...]
    series: dict[str, tuple[int, ...]]

    @property
    def totals(self) -> dict[str, int]:
        """Return the sums of the window."""
        return {action: sum(counts) for action, counts in self.series.items()}


class Series:
    """Charts of the whole relay, of one customer or one account."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, int | None, int | None], dict[tuple[int, str], int]] = {}
        self._until: dict[tuple[str, int | None, int | None], int] = {}

    async def counts(
        self, window: str, now: datetime, *, account_id: int | None = None, only: int | None = None
    ) -> Counts:
        """Return the counts of a window that ends with the step of `now`; reads only what is new."""
        length, step = WINDOWS[window]
        key = (window, account_id, only)
        current = int((now - EPOCH).total_seconds())
        last = current - current % step
        first = last - length + step
        known = {at: count for at, count in self._known.get(key, {}).items() if at[0] >= first}
        start = max(first, self._until.get(key, first))
        fresh = await self._store.query(
            lambda tx: views.series(
                tx,
                EPOCH + timedelta(seconds=start),
                EPOCH + timedelta(seconds=last + step),
                step,
                account_id=account_id,
                only=only,
            )
        )
        known = {at: count for at, count in known.items() if at[0] < start} | fresh
        self._remember(key, known, until=(current - _SETTLED_SECONDS) // step * step)
        steps = range(first, last + step, step)
        series = {action: tuple(known.get((at, action), 0) for at in steps) for action in ACTIONS}
        return Counts(tuple(steps), series)

    def _remember(
        self, key: tuple[str, int | None, int | None], known: dict[tuple[int, str], int], *, until: int
    ) -> None:
        self._known.pop(key, None)
        self._known[key], self._until[key] = known, until
        while len(self._known) > _CHARTS:
            oldest = next(iter(self._known))
            del self._known[oldest], self._until[oldest]
