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


class Unavailable(Exception):
    """The scanner could not be asked, or its answer makes no sense."""


class Silence(StrEnum):
    """What a scanner's silence means for the mail."""

    SKIP = "skip"  #: nothing: it is a second opinion
    DEFER = "defer"  #: the mail is tried again later
    HOLD = "hold"  #: the mail is held for staff


class Silent(Exception):
    """A guarded scanner gave no answer; `means` is what its operator said of that."""

    def __init__(self, name: str, means: Silence, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.means = means


class Outcome(StrEnum):
    """How asking a scanner went."""

    CLEAN = "clean"
    HIT = "hit"
    FAILED = "failed"
    #: not asked: it failed too often just now
    PAUSED = "paused"


#: Hears of every question: the scanner's name, how it went, seconds, and why it failed.
Heard = Callable[[str, Outcome, float, str], None]


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


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a scanner may take (seconds), what its silence means, and who hears of each question."""

    deadline_seconds: float = 5.0
    silence: Silence = Silence.SKIP
    heard: Heard = lambda _name, _outcome, _seconds, _why: None


class Guarded:
    """A scanner with its own deadline, breaker and policy; itself a scanner."""

    def __init__(self, scanner: Scanner, breaker: Breaker, terms: Terms | None = None) -> None:
        self.name = scanner.name
        self._scanner = scanner
        self._breaker = breaker
        self._terms = terms or Terms()

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return the scanner's hits; raise Silent where it has no answer."""
        clock = self._breaker.clock
        if not self._breaker.closed():
            self._terms.heard(self.name, Outcome.PAUSED, 0.0, "")
            raise Silent(self.name, self._terms.silence, "not asked, it failed too often just now")
        started = clock()
        try:
            async with asyncio.timeout(self._terms.deadline_seconds):
                hits = await self._scanner.ask(mail)
        except Exception as error:  # the scanner edge: whatever failed, the policy decides
            self._breaker.note(good=False)
            why = str(error) if isinstance(error, Unavailable) else type(error).__name__
            self._terms.heard(self.name, Outcome.FAILED, clock() - started, why)
            raise Silent(self.name, self._terms.silence, why) from error
        self._breaker.note(good=True)
        self._terms.heard(self.name, Outcome.HIT if hits else Outcome.CLEAN, clock() - started, "")
        return hits
