"""What every scanner gets: a deadline, a breaker, and a policy for the time when it is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.mail import Mail
    from screening.screen import Scanner

HOLD_SCORE = 7.0


class Unavailable(Exception):
    """The scanner could not be asked, or its answer makes no sense."""


class Silence(StrEnum):
    """What a scanner's silence means for the mail."""

    SKIP = "skip"  #: nothing: it is a second opinion
    DEFER = "defer"  #: the check is unanswered; policy decides (usually: try again later)
    HOLD = "hold"  #: the mail is held for staff


@dataclass(slots=True)
class Breaker:
    """Stops asking after `failures` in a row, and lets one try through each `pause_seconds`."""

    clock: Callable[[], float]
    failures: int = 5
    pause_seconds: float = 30.0
    _failed: int = 0
    _open_until: float = 0.0

    def closed(self) -> bool:
        """Return whether to ask; when the pause is over one caller is let through."""
        if self._failed < self.failures:
            return True
        if self.clock() < self._open_until:
            return False
        self._open_until = self.clock() + self.pause_seconds
        return True

    def note(self, *, good: bool) -> None:
        """Note how asking went."""
        self._failed = 0 if good else self._failed + 1
        if self._failed >= self.failures:
            self._open_until = self.clock() + self.pause_seconds


class Guarded:
    """A scanner with its own deadline, breaker and policy; itself a scanner."""

    def __init__(
        self,
        scanner: Scanner,
        breaker: Breaker,
        *,
        deadline_seconds: float = 5.0,
        silence: Silence = Silence.SKIP,
    ) -> None:
        self.name = scanner.name
        self._scanner = scanner
        self._breaker = breaker
        self._deadline_seconds = deadline_seconds
        self._silence = silence

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return the scanner's hits; when it is silent, what its policy says (`defer`: Unavailable)."""
        if not self._breaker.closed():
            return self._silent("breaker open")
        try:
            async with asyncio.timeout(self._deadline_seconds):
                hits = await self._scanner.ask(mail)
        except Exception as error:  # noqa: BLE001 - the scanner edge: whatever failed, the policy decides
            self._breaker.note(good=False)
            return self._silent(type(error).__name__)
        self._breaker.note(good=True)
        return hits

    def _silent(self, why: str) -> Sequence[Hit]:
        if self._silence is Silence.DEFER:
            raise Unavailable(f"{self.name}: {why}")
        if self._silence is Silence.HOLD:
            return (Hit(f"{self.name}_silent", HOLD_SCORE, f"{self.name} gave no answer"),)
        return ()
