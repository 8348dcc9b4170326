"""When to leave a server alone that has failed again and again; pure, `now` handed in."""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(slots=True)
class Breaker:
    """Closed until FAILURES in a row, then open for a pause that doubles; one trial ends each pause.

    `now` is monotonic seconds: a jump of the wall clock neither opens nor closes anything.
    """

    failures: int = 0
    open_until: float = 0.0
    _trial: bool = False

    def allows(self, now: float) -> bool:
        """Return whether a connection may be tried; past the pause one caller gets to try."""
        if self.failures < FAILURES:
            return True
        if now < self.open_until or self._trial:
            return False
        self._trial = True
        return True

    def succeeded(self) -> None:
        """Close it."""
        self.failures = 0
        self._trial = False

    def failed(self, now: float) -> None:
        """Count one failure; from FAILURES on, open."""
        self._trial = False
        self.failures += 1
        if self.failures >= FAILURES:
            doublings = min(self.failures - FAILURES, 10)
            self.open_until = now + min(FIRST_PAUSE_SECONDS * 2.0**doublings, LONGEST_PAUSE_SECONDS)

    def gave_up(self) -> None:
        """Free the trial whose caller was cancelled before anything was learnt."""
        self._trial = False
