"""Who really reports: the listed reporter whose aligned DKIM signature passes (RFC 6376, RFC 7489 §3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.feedback.parts import author_domain, header_of
from relay.signing import public
from relay.signing.verify import verify, wanted_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from relay.signing.public import PublicKey
    from relay.store.reporters import Reporter


def belongs(domain: str, parent: str) -> bool:
    """Return whether a domain is `parent` or below it."""
    return domain == parent or domain.endswith("." + parent)


def candidate(domain: str, listed: Sequence[Reporter]) -> Reporter | None:
    """Return the listed reporter that a From domain claims to be, the most exact one."""
    found = [one for one in listed if domain and belongs(domain, one.domain)]
    return max(found, key=lambda one: len(one.domain), default=None)


def names_to_ask(raw: bytes, claimed: Reporter) -> list[str]:
    """Return the DNS names of keys that could authenticate the claimed reporter; none with a pinned key."""
    if claimed.dkim_key is not None:
        return []
    wanted = [(selector, domain) for selector, domain in wanted_keys(raw) if belongs(domain, claimed.domain)]
    return [f"{selector}._domainkey.{domain}" for selector, domain in dict.fromkeys(wanted)]


def authentic(raw: bytes, claimed: Reporter, records: Mapping[str, Sequence[str]], now: datetime) -> bool:
    """Return whether a signature of the claimed reporter's own domain passes: pinned key first, else DNS."""

    def keys(selector: str, domain: str) -> Iterable[PublicKey]:
        if not belongs(domain, claimed.domain):
            return
        if claimed.dkim_key is not None:
            texts: Sequence[str] = (claimed.dkim_key,)
        else:
            texts = records.get(f"{selector}._domainkey.{domain}", ())
        for text in texts:
            if (key := public.read(text)) is not None:
                yield key

    author = author_domain(header_of(raw)[0])
    return belongs(author, claimed.domain) and bool(verify(raw, keys, now))
