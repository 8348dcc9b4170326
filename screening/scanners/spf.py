"""SPF (RFC 7208) by spftrace, with DNS handed in and bounded: at most 20 questions for one check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spftrace import BaseResolver, Evaluator, Limits

from screening.scanners.guard import Unavailable

if TYPE_CHECKING:
    from screening.scanners.dmarc import Lookup

MAX_QUERIES = 20
SECONDS = 5.0


class _Transport(BaseResolver):
    """Our look-ups in the form that spftrace asks for."""

    def __init__(self, lookup: Lookup) -> None:
        self._look_up = lookup

    async def _lookup(self, name: str, rtype: str) -> tuple[str, list[str]]:
        try:
            answer = await self._look_up(name, rtype)
        except Unavailable:
            return "SERVFAIL", []
        if not answer.exists:
            return "NXDOMAIN", []
        if rtype == "MX":
            return "NOERROR", [text.split()[-1].rstrip(".") for text in answer.texts]
        return "NOERROR", [text.rstrip(".") if rtype == "PTR" else text for text in answer.texts]


async def check(address: str, sender: str, helo: str, lookup: Lookup, *, queries: int = MAX_QUERIES) -> str:
    """Return pass, fail, softfail, neutral, none, permerror or temperror for mail of `sender`."""
    limits = Limits(time_limit=SECONDS, max_queries=queries)
    result = await Evaluator(_Transport(lookup), limits).evaluate(address, sender, helo)
    return str(result.verdict)
