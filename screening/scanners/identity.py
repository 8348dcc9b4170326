"""Whether receivers will believe a message's sender: SPF, DKIM and DMARC as they will look them up.

We see mail before the customer's server sends it, so nothing is refused here: what will fail is flagged, for
the customer to mend DNS. The answer depends on the domains, not on the message, unless the client signed it
itself; it is found once and kept for 15 minutes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from screening.plain import shown
from screening.scanners import dmarc, spf
from screening.scanners.guard import Unavailable
from screening.verdict import Hit

if TYPE_CHECKING:
    from screening.mail import Mail, SignedAs
    from screening.scanners.dmarc import Lookup, Policy, Records

CACHE_SECONDS = 900
MAX_CACHED = 10_000
#: All that one message may ask of DNS.
MAX_QUERIES = 40
_MOST_ADDRESSES = 4

#: Returns the domains whose signatures in the message itself pass, keys looked up.
Signatures = Callable[["Mail", "Lookup"], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a receiver will find: SPF by address that mail leaves from, domains whose signature passes."""

    author: str
    policy: str  #: what the author's domain asks for: none, quarantine, reject; "" without a DMARC record
    passes: bool  #: an authenticated domain stands for the author's
    spf: tuple[tuple[str, str], ...]
    signed: tuple[str, ...]
    #: the sender's domain, that SPF speaks of
    sender: str = ""

    @property
    def fault(self) -> str:
        """Return why receivers will refuse or distrust such mail, "" where they have no reason."""
        results = ", ".join(f"SPF {result} for {address}" for address, result in self.spf) or "SPF unknown"
        if self.policy in ("quarantine", "reject") and not self.passes and self.spf:
            signers = f"signed by {', '.join(self.signed)}" if self.signed else "no signature passes"
            return f"{self.author} asks receivers to {self.policy} this (DMARC): {results}; {signers}"
        if any(result == "fail" for _, result in self.spf) and not self.passes:
            return f"{self.sender} says that others send this (SPF -all): {results}"
        return ""


class Identity:
    """A scanner that flags mail which will fail at receivers."""

    def __init__(
        self,
        lookup: Lookup,
        signatures: Signatures,
        clock: Callable[[], float],
        *,
        name: str = "identity",
        score: float = 0.0,
        leaves_from: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._lookup = lookup
        self._signatures = signatures
        self._clock = clock
        self._score = score
        self._leaves_from = tuple(leaves_from)
        self._cache: OrderedDict[tuple[object, ...], tuple[float, Outlook]] = OrderedDict()
        self._asking: dict[tuple[object, ...], asyncio.Task[Outlook]] = {}

    async def ask(self, mail: Mail) -> Sequence[Hit]:
        """Return a hit for a sender that receivers will not believe; Unavailable if DNS does not answer."""
        if len(mail.from_) != 1 or "." not in mail.author.domain:
            return ()
        fault = (await self.outlook(mail)).fault
        return (Hit(self.name, self._score, shown(fault)),) if fault else ()

    async def outlook(self, mail: Mail) -> Outlook:
        """Return what a receiver will find of this message."""
        if mail.has("dkim-signature"):
            return await self._look(mail)
        envelope = mail.envelope
        sender = _domain(envelope.sender)
        key = (mail.author.domain, sender, envelope.leaves_from, envelope.signed_as(mail.author.domain))
        known = self._cache.get(key)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._keep(key, mail))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: tuple[object, ...], task: asyncio.Task[Outlook]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # whoever waited was told

    async def _keep(self, key: tuple[object, ...], mail: Mail) -> Outlook:
        outlook = await self._look(mail)
        self._cache[key] = (self._clock() + CACHE_SECONDS, outlook)
        while len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return outlook

    async def _look(self, mail: Mail) -> Outlook:
        lookup = _bounded(self._lookup)
        author, sender = mail.author.domain, _domain(mail.envelope.sender)
        policy = await dmarc.discover(author, lookup)
        results = await self._spf(mail, sender, lookup) if sender else ()
        signed = [one.domain for one in mail.envelope.signed_as(author) if await _published(one, lookup)]
        signed += await self._signatures(mail, lookup) if mail.has("dkim-signature") else ()
        proven = [(domain, "dkim") for domain in signed]
        proven += [(sender, "spf")] if results and all(result == "pass" for _, result in results) else []
        return Outlook(
            author=author,
            policy=await _asked(policy, author, lookup),
            passes=await _passes(policy, author, proven, lookup),
            spf=tuple(results),
            signed=tuple(dict.fromkeys(signed)),
            sender=sender,
        )

    async def _spf(self, mail: Mail, sender: str, lookup: Lookup) -> list[tuple[str, str]]:
        """Return SPF's word for each public address that the message may leave from."""
        addresses = [str(ip_network(one).network_address) for one in self._leaves_from]
        if not addresses:
            addresses = [
                found for host in mail.envelope.leaves_from for found in await _resolve(host, lookup)
            ]
        public = [one for one in dict.fromkeys(addresses) if self._leaves_from or ip_address(one).is_global]
        return [
            (address, await spf.check(address, mail.envelope.sender, sender, lookup))
            for address in public[:_MOST_ADDRESSES]
        ]


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower().rstrip(".")


def _bounded(lookup: Lookup) -> Lookup:
    """Let one message ask so much and no more."""
    left = MAX_QUERIES

    async def asked(name: str, kind: str) -> Records:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("DNS would have to be asked too often about one message")
        return await lookup(name, kind)

    return asked


async def _resolve(host: str, lookup: Lookup) -> list[str]:
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    return [text for kind in ("A", "AAAA") for text in (await lookup(host, kind)).texts]


async def _published(signed: SignedAs, lookup: Lookup) -> bool:
    """Return whether DNS has the key that we sign with."""
    answer = await lookup(f"{signed.selector}._domainkey.{signed.domain}", "TXT")
    return any("".join(text.split()).rstrip(";").endswith(signed.key) for text in answer.texts)


async def _asked(policy: Policy | None, author: str, lookup: Lookup) -> str:
    if policy is None:
        return ""
    exists = author == policy.domain or any(
        [(await lookup(author, kind)).exists for kind in ("A", "AAAA", "MX")]
    )
    return policy.asks(author=author, exists=exists)


async def _passes(
    policy: Policy | None, author: str, proven: Sequence[tuple[str, str]], lookup: Lookup
) -> bool:
    for domain, kind in proven:
        strict = policy is not None and policy.strict(kind)
        if await dmarc.aligned(domain, author, lookup, strict=strict):
            return True
    return False
