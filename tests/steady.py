"""A clock for time limits in tests that stands still while the machine gives nobody time."""

from __future__ import annotations

import threading
import time

_STEP_SECONDS = 0.02
#: Timers are this late on a machine that has nothing to do.
_ORDINARY_SECONDS = 0.01


class _Steady(threading.Thread):
    """Sleeps in short steps; by what a step takes longer, every other process was late as well."""

    def __init__(self) -> None:
        super().__init__(name="steady", daemon=True)
        self._lost = 0.0
        self._woke = time.monotonic()

    def run(self) -> None:
        while True:
            time.sleep(_STEP_SECONDS)
            self._lost += self._late()
            self._woke = time.monotonic()

    def _late(self) -> float:
        late = time.monotonic() - self._woke - _STEP_SECONDS
        return late if late > _ORDINARY_SECONDS else 0.0

    def now(self) -> float:
        return time.monotonic() - self._lost - self._late()


_clock = _Steady()
_clock.start()


def steady() -> float:
    """Return seconds since some moment, without those in which the machine stood still."""
    return _clock.now()
