"""What delivery knows of time: a clock that does not jump, and servers left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from policies import retry

if TYPE_CHECKING:
    from collections.abc import Callable

#: A wall clock that moved by more than this against the monotonic one has jumped.
JUMP = timedelta(minutes=5)
#: After so long the new time is believed: somebody has corrected the clock on purpose.
BELIEVED_SECONDS = 3600.0
HOUR_SECONDS = 3600.0
#: Accounts that notes are counted of.
MOST_ACCOUNTS = 10_000


class Steady:
    """Wall time that follows small corrections at once and jumps only after an hour.

    A clock set a day forward must not expire the queue or try all of it at once (DU-32).
    """

    def __init__(self, wall: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._base = wall()
        self._base_seconds = monotonic()
        self._jumped_at: float | None = None
        self._ahead: timedelta | None = None

    def wall(self) -> datetime:
        """Return the wall clock, as wrong as it may be."""
        return self._wall()

    def follow(self, ahead: timedelta) -> None:
        """Go by a clock that is ahead of ours by so much; at first, whatever that makes of the time."""
        begins, self._ahead = self._ahead is None, ahead
        if begins:
            self._base, self._base_seconds = self._wall() + ahead, self._monotonic()

    def now(self) -> datetime:
        """Return the moment to schedule by."""
        wall, seconds = self._wall() + (self._ahead or timedelta()), self._monotonic()
        expected = self._base + timedelta(seconds=seconds - self._base_seconds)
        if abs(wall - expected) <= JUMP:
            self._jumped_at = None
            self._base, self._base_seconds = wall, seconds
            return wall
        if self._jumped_at is None:
            self._jumped_at = seconds
        if seconds - self._jumped_at < BELIEVED_SECONDS:
            return expected
        self._jumped_at = None
        self._base, self._base_seconds = wall, seconds
        return wall


@dataclass(slots=True)
class _Server:
    running: int = 0
    failures: int = 0
    until: float = 0.0


@dataclass(slots=True)
class Servers:
    """Deliveries at once to one server, and servers left alone after failures; `now` is monotonic seconds."""

    at_once: int
    _servers: dict[int, _Server] = field(default_factory=dict)

    def room(self, server_id: int, now: float) -> int:
        """Return how many more deliveries may start: one to a server that failed last time."""
        server = self._servers.get(server_id)
        if server is None:
            return self.at_once
        if now < server.until:
            return 0
        return max((1 if server.failures else self.at_once) - server.running, 0)

    def urgent_room(self, server_id: int) -> int:
        """Return how many more may start when staff asked for it."""
        server = self._servers.get(server_id)
        return self.at_once - server.running if server else self.at_once

    def running(self, server_id: int) -> int:
        """Return how many are under way."""
        server = self._servers.get(server_id)
        return server.running if server else 0

    def started(self, server_id: int) -> None:
        """Count one delivery."""
        self._servers.setdefault(server_id, _Server()).running += 1

    def ended(self, server_id: int) -> None:
        """Count it off."""
        server = self._servers[server_id]
        server.running -= 1
        if not server.running and not server.failures:
            del self._servers[server_id]

    def answered(self, server_id: int) -> None:
        """Note that the server was reached."""
        server = self._servers.setdefault(server_id, _Server())
        server.failures, server.until = 0, 0.0

    def failed(self, server_id: int, now: float, chance: float) -> None:
        """Leave a server alone that could not be reached; failures of one moment count once."""
        server = self._servers.setdefault(server_id, _Server())
        if now < server.until:
            return
        server.failures += 1
        server.until = now + retry.destination_pause(server.failures, chance).total_seconds()

    def left_alone(self, now: float) -> int:
        """Return how many servers are left alone at the moment."""
        return sum(server.until > now for server in self._servers.values())


@dataclass(slots=True)
class Sparing:
    """So many notes an hour to one account, so that a campaign in its name does not bury its mailbox."""

    an_hour: int
    _since: dict[int, tuple[float, int]] = field(default_factory=dict)

    def allows(self, account_id: int, now: float) -> bool:
        """Count a note and return whether it may be sent; `now` is monotonic seconds."""
        begun, sent = self._since.get(account_id, (now, 0))
        if now - begun >= HOUR_SECONDS:
            begun, sent = now, 0
        if len(self._since) >= MOST_ACCOUNTS:
            self._since.clear()
        self._since[account_id] = (begun, sent + 1)
        return sent < self.an_hour
