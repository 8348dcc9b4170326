"""DNS lists: domains of links and authors, or the client, looked up in zones that answer 127.0.0.x.

The resolver is handed in; answers are cached (good and empty ones), the same question is asked once at a
time, and one mail causes at most 20 queries (RE-28). Each name that is looked up leaves the machine: off
by default.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from screening.plain import shown
from screening.scanners.guard import Unavailable
from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.mail import Mail

MAX_QUERIES = 20
MAX_CACHED = 50_000
CACHE_SECONDS = 900

#: Returns the IPv4 addresses of a name, () if there is none; raises on failure.
Resolve = Callable[[str], Awaitable[Sequence[str]]]


#: What lists answer instead of an answer: the resolver is not welcome, or asked too much (RFC 5782 §5).
_REFUSALS = ip_network("127.255.255.0/24")
_LISTS = ip_network("127.0.0.0/8")


class Asks(StrEnum):
    """What lists are asked about."""

    DOMAINS = "domains"  #: of the author and the links
    CLIENT = "client"  #: the address that the message comes from


@dataclass(frozen=True, slots=True)
class Zone:
    """One list: `answers` maps addresses and networks to words for the evidence; others mean nothing."""

    name: str
    score: float
    answers: Mapping[str, str] = field(default_factory=lambda: {"127.0.0.0/8": "listed"})

    def words(self, found: Sequence[str]) -> str:
        """Return what the list says, "" for nothing; Unavailable where it does not want to be asked."""
        addresses = [ip_address(answer) for answer in found]
        for address in addresses:
            if address in _REFUSALS or address not in _LISTS:
                raise Unavailable(f"{self.name} answered {address}, which is no answer of a list")
        networks = ((ip_network(network), words) for network, words in self.answers.items())
        said = (words for network, words in networks for address in addresses if address in network)
        return next(said, "")


class DnsLists:
    """A scanner that looks the mail's domains, or its client, up in zones."""

    def __init__(
        self,
        zones: Sequence[Zone],
        resolve: Resolve,
        clock: Callable[[], float],
        *,
        name: str = "dnsbl",
        asks: Asks = Asks.DOMAINS,
        queries: int = MAX_QUERIES,
    ) -> None:
        self.name = name
        self._zones = tuple(zones)
        self._resolve = resolve
        self._clock = clock
        self._asks = asks
        self._queries = queries
        self._cache: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return one hit for each zone that lists one of the mail's domains, or its client.

        A question that failed is raised if nothing was listed: silence must not look like a clean answer.
        """
        names = domains_of(mail) if self._asks is Asks.DOMAINS else reversed_address(mail.envelope.peer_ip)
        pairs = [(zone, name) for name in names for zone in self._zones][: self._queries]
        questions = (self._say(zone, name) for zone, name in pairs)
        answers = await asyncio.gather(*questions, return_exceptions=True)
        hits: dict[str, Hit] = {}
        for (zone, name), words in zip(pairs, answers, strict=True):
            if isinstance(words, str) and words:
                about = name if self._asks is Asks.DOMAINS else "the client"
                rule = f"{self.name}_{zone.name.replace('.', '_').replace('-', '_')}"
                hits.setdefault(rule, Hit(rule, zone.score, shown(f"{about}: {words} ({zone.name})")))
        failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
        if failed is not None and not hits:
            raise failed
        return tuple(hits.values())

    async def _say(self, zone: Zone, name: str) -> str:
        return zone.words(await self._look_up(f"{name}.{zone.name}"))

    async def _look_up(self, name: str) -> tuple[str, ...]:
        known = self._cache.get(name)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.ensure_future(self._fetch(name))
            task.add_done_callback(lambda done: self._done(name, done))
        return await asyncio.shield(task)

    def _done(self, name: str, task: asyncio.Task[tuple[str, ...]]) -> None:
        self._asking.pop(name, None)
        if not task.cancelled():
            task.exception()  # whoever waited was told; nobody left waiting is no fault

    async def _fetch(self, name: str) -> tuple[str, ...]:
        found = tuple(await self._resolve(name))
        self._cache[name] = (self._clock() + CACHE_SECONDS, found)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return found


def domains_of(mail: Mail) -> list[str]:
    """Return the domains worth asking about: of the author, then of the links, each once; no addresses."""
    found = [mail.author_domain, *(link.domain for link in mail.clickable)]
    return [
        name
        for name in dict.fromkeys(found)
        if "." in name and not name.replace(".", "").isdigit() and name[0] != "["
    ]


def reversed_address(address: str) -> list[str]:
    """Return how lists are asked about a client's address (RFC 5782 §2), [] for one that is not public."""
    try:
        client = ip_address(address)
    except ValueError:
        return []
    return [client.reverse_pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")] * client.is_global
