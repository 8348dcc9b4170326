"""What a domain asks receivers to do with mail that is not its own (DMARC, RFC 9989); DNS handed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

#: RFC 9989 §4.10: longer names are cut to seven labels after the first question.
_LABELS = 7
_POLICIES = ("none", "quarantine", "reject")
_WEAKER = {"reject": "quarantine", "quarantine": "none", "none": "none"}


@dataclass(frozen=True, slots=True)
class Records:
    """What DNS says of a name and type: whether the name exists, and its records as text."""

    exists: bool
    texts: tuple[str, ...] = ()


#: Looks up (name, type); raises screening.scanners.guard.Unavailable where DNS has no answer.
Lookup = Callable[[str, str], Awaitable[Records]]


@dataclass(frozen=True, slots=True)
class Policy:
    """One DMARC record, and the domain that publishes it."""

    domain: str
    tags: Mapping[str, str]

    def asks(self, *, author: str, exists: bool) -> str:
        """Return "none", "quarantine" or "reject" for failing mail of an author domain (§4.7)."""
        asked = self.tags.get("p", "")
        if author != self.domain:
            asked = self.tags.get("sp", asked)
            if not exists:
                asked = self.tags.get("np", asked)
        if asked not in _POLICIES:
            asked = "none"
        return _WEAKER[asked] if self.tags.get("t") == "y" else asked

    def strict(self, kind: str) -> bool:
        """Return whether "dkim" or "spf" identifiers must be the author's domain itself."""
        return self.tags.get(f"a{kind}", "r") == "s"


def read(text: str, domain: str) -> Policy | None:
    """Return the record in a TXT text, None if it is none (§4.8); unknown tags do no harm."""
    pairs = [part.partition("=") for part in text.split(";")]
    if (pairs[0][0].strip(), pairs[0][2].strip()) != ("v", "DMARC1"):
        return None
    return Policy(domain, {name.strip().lower(): value.strip().lower() for name, _, value in pairs})


def walk(domain: str) -> list[str]:
    """Return the names at which a tree walk asks, the domain itself first (§4.10); at most eight."""
    labels = domain.lower().rstrip(".").split(".")
    cut = labels[1:] if len(labels) <= _LABELS else labels[-_LABELS:]
    return [".".join(labels), *(".".join(cut[start:]) for start in range(len(cut)))]


async def _at(domain: str, lookup: Lookup) -> Policy | None:
    """Return the one record at a name; several are none (§4.10 step 3)."""
    answer = await lookup(f"_dmarc.{domain}", "TXT")
    found = [policy for text in answer.texts if (policy := read(text, domain)) is not None]
    return found[0] if len(found) == 1 else None


async def _tree(domain: str, lookup: Lookup) -> tuple[str, Policy | None]:
    """Return the organizational domain and the policy that a walk from `domain` finds there (§4.10.2)."""
    names = walk(domain)
    best: Policy | None = None
    for place, name in enumerate(names):
        policy = await _at(name, lookup)
        if policy is None:
            continue
        suffix = policy.tags.get("psd")
        if suffix == "n":
            return name, policy
        if suffix == "y" and place:
            below = names[place - 1]
            return below, best if best is not None and best.domain == below else policy
        best = policy
    return (best.domain if best else domain), best


async def organization(domain: str, lookup: Lookup) -> str:
    """Return the organizational domain of a domain."""
    return (await _tree(domain, lookup))[0]


async def discover(author: str, lookup: Lookup) -> Policy | None:
    """Return the policy that holds for an author domain: its own, else its organization's (§4.10.1)."""
    return await _at(author, lookup) or (await _tree(author, lookup))[1]


async def aligned(identifier: str, author: str, lookup: Lookup, *, strict: bool) -> bool:
    """Return whether an authenticated domain stands for the author's (§4.4)."""
    identifier, author = identifier.lower().rstrip("."), author.lower().rstrip(".")
    if identifier == author or strict:
        return identifier == author
    return await organization(identifier, lookup) == await organization(author, lookup)
