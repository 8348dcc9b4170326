"""DNS lists: domains of links and senders, looked up in zones that answer 127.0.0.x for what they list.

The resolver is handed in; answers are cached (good and empty ones), the same question is asked once at a
time, and one mail causes at most 20 queries (RE-28). Each name that is looked up leaves the machine: off
by default.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from screening.plain import shown
from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.mail import Mail

MAX_QUERIES = 20
MAX_CACHED = 50_000

#: Returns the IPv4 addresses of a name, () if there is none; raises on failure.
Resolve = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Zone:
    """One list: `answers` maps listed answers to words for the evidence; others than these mean nothing."""

    name: str
    score: float
    answers: Mapping[str, str] = field(default_factory=lambda: {"127.0.0.2": "listed"})


class DnsLists:
    """A scanner that looks the mail's domains up in zones."""

    name = "dnsbl"

    def __init__(
        self,
        zones: Sequence[Zone],
        resolve: Resolve,
        clock: Callable[[], float],
        *,
        cache_seconds: float = 900,
    ) -> None:
        self._zones = tuple(zones)
        self._resolve = resolve
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return one hit for each zone that lists one of the mail's domains.

        A question that failed is raised if nothing was listed: silence must not look like a clean answer.
        """
        names = domains_of(mail)
        pairs = [(zone, name) for name in names for zone in self._zones][:MAX_QUERIES]
        questions = (self._look_up(f"{name}.{zone.name}") for zone, name in pairs)
        answers = await asyncio.gather(*questions, return_exceptions=True)
        hits: dict[str, Hit] = {}
        for (zone, name), found in zip(pairs, answers, strict=True):
            if isinstance(found, BaseException):
                continue
            words = next((zone.answers[answer] for answer in found if answer in zone.answers), "")
            if words:
                rule = f"dnsbl_{zone.name.replace('.', '_').replace('-', '_')}"
                hits.setdefault(rule, Hit(rule, zone.score, shown(f"{name}: {words} ({zone.name})")))
        failed = next((answer for answer in answers if isinstance(answer, BaseException)), None)
        if failed is not None and not hits:
            raise failed
        return tuple(hits.values())

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
        self._cache[name] = (self._clock() + self._cache_seconds, found)
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
