"""DNS look-ups with a cache and one question at a time per name; answers are values, never exceptions."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from dns.nameserver import Do53Nameserver

from relay import clock
from relay.values import split_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CACHED_ANSWERS = 10_000
SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 3600.0
NEGATIVE_SECONDS = 60.0
FAILURE_SECONDS = 2.0


class Found(StrEnum):
    """What a look-up came to."""

    YES = "yes"
    EMPTY = "empty"  #: the name exists, without such records
    NO = "no"  #: NXDOMAIN
    FAILED = "failed"  #: timeout or SERVFAIL: ask again later


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type, as presentation text, and how long they hold (seconds)."""

    found: Found
    records: tuple[str, ...] = ()
    ttl: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where an MX or SRV record points; the lowest preference first."""

    preference: int
    weight: int
    host: str
    port: int


class Resolver:
    """Asks, remembers (time to live, bounded, negative answers too), and never asks twice at once.

    `ask` is the way out to the network (`servers`: "IP:PORT" each, none: those of the system); `monotonic`
    the time it remembers by.
    """

    def __init__(
        self,
        ask: Callable[[str, str], Awaitable[Answer]] | None = None,
        *,
        servers: Sequence[str] = (),
        seconds: float = 5.0,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._ask = ask or _Network(servers, seconds).ask
        self._monotonic = monotonic
        self._cache: OrderedDict[tuple[str, str], tuple[float, Answer]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Answer]] = {}

    async def lookup(self, name: str, kind: str) -> Answer:
        """Return the answer for a name ("acme.example") and type ("MX", "TXT", "A", …)."""
        key = (name.lower().rstrip("."), kind.upper())
        kept = self._cache.get(key)
        if kept is not None and kept[0] > self._monotonic():
            self._cache.move_to_end(key)
            return kept[1]
        task = self._asking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(key))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # shielded: one caller who gives up must not take the answer away from the others
        return await asyncio.shield(task)

    async def _fetch(self, key: tuple[str, str]) -> Answer:
        answer = await self._ask(*key)
        seconds = _lifetime(answer)
        self._cache[key] = (self._monotonic() + seconds, answer)
        self._cache.move_to_end(key)
        while len(self._cache) > CACHED_ANSWERS:
            self._cache.popitem(last=False)
        return answer

    async def mx(self, domain: str) -> tuple[Found, tuple[Target, ...]]:
        """Return the domain's mail servers, best first; a null MX (RFC 7505) is one with host ""."""
        answer = await self.lookup(domain, "MX")
        rows = [record.split() for record in answer.records]
        targets = [
            Target(int(row[0]), 0, row[1].rstrip("."), 25)
            for row in rows
            if len(row) == 2 and row[0].isdigit()
        ]
        return answer.found, tuple(sorted(targets))

    async def srv(self, name: str) -> tuple[Found, tuple[Target, ...]]:
        """Return the service's servers, best first (RFC 2782); "." as target means there is none."""
        answer = await self.lookup(name, "SRV")
        rows = [record.split() for record in answer.records]
        good = [row for row in rows if len(row) == 4 and all(part.isdigit() for part in row[:3])]
        targets = [Target(int(row[0]), -int(row[1]), row[3].rstrip("."), int(row[2])) for row in good]
        return answer.found, tuple(sorted(targets))

    async def close(self) -> None:
        """End what is still being asked."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)


def _lifetime(answer: Answer) -> float:
    if answer.found is Found.FAILED:
        return FAILURE_SECONDS
    if answer.found is Found.YES:
        return min(max(answer.ttl, SHORTEST_SECONDS), LONGEST_SECONDS)
    return min(max(answer.ttl, SHORTEST_SECONDS), NEGATIVE_SECONDS)


class _Network:
    """The named or the system's resolvers, through dnspython; made at the first question."""

    def __init__(self, servers: Sequence[str], seconds: float) -> None:
        self._servers = servers
        self._seconds = seconds
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def ask(self, name: str, kind: str) -> Answer:
        try:
            if self._resolver is None:
                self._resolver = self._made()
            reply = await self._resolver.resolve(name, kind, search=False, lifetime=self._seconds)
        except dns.resolver.NXDOMAIN:
            return Answer(Found.NO, ttl=NEGATIVE_SECONDS)
        except dns.resolver.NoAnswer:
            return Answer(Found.EMPTY, ttl=NEGATIVE_SECONDS)
        except (dns.exception.DNSException, OSError):
            return Answer(Found.FAILED)
        return Answer(
            Found.YES, tuple(_text(record) for record in reply), float(reply.rrset.ttl if reply.rrset else 0)
        )

    def _made(self) -> dns.asyncresolver.Resolver:
        if not self._servers:
            return dns.asyncresolver.Resolver()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [Do53Nameserver(*split_address(server)) for server in self._servers]
        return resolver


def _text(record: Any) -> str:
    strings = getattr(record, "strings", None)
    return b"".join(strings).decode("latin-1") if strings is not None else str(record.to_text())
