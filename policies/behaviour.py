"""What an account did in the last 10 minutes, hour and day, counted as it happens: the fast numbers.

Refusals for syntax, size, structure or limits are not spam; a body that repeats is one body, however often a
stuck outbox sends it; what it costs then is its recipients. Each event is added once and taken away once, so
that a flood costs no more per message than ordinary mail.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that an account submitted, relayed or not."""

    at: datetime
    account: int
    #: recipients asked for, of these relayed, of these at the reporters' domains
    recipients: int = 1
    relayed: int = 0
    to_reporters: int = 0
    #: recipients that the customer's server called unknown, and that this account never wrote to before
    unknown: int = 0
    first_time: int = 0
    #: the body's hash when the score reached the tag threshold, else empty
    spam_body: bytes = b""
    #: refused for what it said or whom it named
    refused: bool = False
    network: str = ""
    country: str = ""
    new_network: bool = False


@dataclass(slots=True)
class Window:
    """The sums of one sliding window; events come in the order of their time."""

    span: timedelta
    #: what it counts apart: different bodies, different networks and countries
    of_bodies: bool
    of_networks: bool
    messages: int = 0
    attempts: int = 0
    relayed: int = 0
    unknown: int = 0
    first_time: int = 0
    refusals: int = 0
    spam: int = 0
    bodies: Counter[bytes] = field(default_factory=Counter)
    networks: Counter[str] = field(default_factory=Counter)
    countries: Counter[str] = field(default_factory=Counter)
    new_networks: Counter[str] = field(default_factory=Counter)
    _events: deque[Sent] = field(default_factory=deque)
    #: recipients of each body, largest first, with entries that are no longer true left in
    _largest: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, sent: Sent) -> None:
        """Count one message."""
        self._events.append(sent)
        self._count(sent, 1)
        if self.of_bodies and sent.spam_body:
            heappush(self._largest, (-self.bodies[sent.spam_body], sent.spam_body))

    def expire(self, now: datetime) -> None:
        """Forget what is as old as the window, or older."""
        oldest = now - self.span
        while self._events and self._events[0].at <= oldest:
            gone = self._events.popleft()
            self._count(gone, -1)
            if gone.spam_body and self.bodies[gone.spam_body] > 0:
                heappush(self._largest, (-self.bodies[gone.spam_body], gone.spam_body))

    def most_recipients(self) -> int:
        """Return the recipients of the spam-scored body that had most."""
        while self._largest and self.bodies[self._largest[0][1]] != -self._largest[0][0]:
            heappop(self._largest)
        return -self._largest[0][0] if self._largest else 0

    def _count(self, sent: Sent, sign: int) -> None:
        self.messages += sign
        self.attempts += sign * sent.recipients
        self.relayed += sign * sent.relayed
        self.unknown += sign * sent.unknown
        self.first_time += sign * sent.first_time
        self.refusals += sign * sent.refused
        if self.of_bodies and sent.spam_body:
            self.spam += sign
            _tell(self.bodies, sent.spam_body, sign * max(sent.recipients, 1))
        if not self.of_networks:
            return
        if sent.network:
            _tell(self.networks, sent.network, sign)
            if sent.new_network:
                _tell(self.new_networks, sent.network, sign)
        if sent.country:
            _tell(self.countries, sent.country, sign)


def _tell(counter: Counter[Any], key: str | bytes, amount: int) -> None:
    """Change a distinct count; a key that is not there any more is not kept."""
    if left := counter[key] + amount:
        counter[key] = left
    else:
        del counter[key]


class Behaviour:
    """One account's fast numbers."""

    __slots__ = ("_day", "_hour", "_ten")

    def __init__(self) -> None:
        self._ten = Window(timedelta(minutes=10), of_bodies=True, of_networks=False)
        self._hour = Window(timedelta(hours=1), of_bodies=True, of_networks=False)
        self._day = Window(timedelta(hours=24), of_bodies=False, of_networks=True)

    def add(self, sent: Sent) -> None:
        """Count one message; times never run backwards."""
        for window in (self._ten, self._hour, self._day):
            window.add(sent)

    def numbers(self, now: datetime) -> dict[str, int]:
        """Return the fast numbers of a tally."""
        ten, hour, day = self._ten, self._hour, self._day
        for window in (ten, hour, day):
            window.expire(now)
        return {
            "messages_10m": ten.messages,
            "messages_1h": hour.messages,
            "attempts_10m": ten.attempts,
            "attempts_1h": hour.attempts,
            "attempts_24h": day.attempts,
            "relayed_1h": hour.relayed,
            "relayed_24h": day.relayed,
            "spam_bodies_10m": len(ten.bodies),
            "spam_bodies_1h": len(hour.bodies),
            "spam_messages_10m": ten.spam,
            "spam_recipients_10m": ten.most_recipients(),
            "unknown_recipients_1h": hour.unknown,
            "first_time_recipients_1h": hour.first_time,
            "first_time_recipients_24h": day.first_time,
            "refusals_1h": hour.refusals,
            "networks_24h": len(day.networks),
            "countries_24h": len(day.countries),
            "new_networks_24h": len(day.new_networks),
        }
