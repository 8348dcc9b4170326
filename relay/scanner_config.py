"""`[[scanner]]`: who else is asked about each message; none unless the configuration names it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from relay.section import Section
from relay.values import Duration, Hostname, Network, Score, parse_duration, split_address

UNIX = "unix:"


def _peer(value: object) -> str:
    try:
        if isinstance(value, str) and (value.startswith(UNIX) or split_address(value)[1]):
            return value
    except ValueError:
        pass
    raise PydanticCustomError("peer", 'must be "HOST:PORT" or "unix:/PATH"')


Peer = Annotated[str, BeforeValidator(_peer)]

#: Settings that only some kinds have; those in the first place must be given.
_OWN = {
    "clamd": (("address",), ()),
    "rspamd": (("address",), ()),
    "dnsbl": (("zones",), ("answers", "asks")),
    "identity": ((), ("leaves_from",)),
}
_SPECIAL = frozenset(name for required, optional in _OWN.values() for name in (*required, *optional))
_SCORES = {"clamd": 20.0, "rspamd": 6.0, "dnsbl": 3.0, "identity": 0.0}


class ScannerConfig(Section):
    """One scanner; write `[[scanner]]` once for each. Names and content then leave for whom it names."""

    kind: Literal["clamd", "rspamd", "dnsbl", "identity"] = Field(
        description="identity: SPF, DKIM and DMARC of the sender as receivers will see them"
    )
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] | Literal[""] = Field(
        "", description="in hits, metrics and log; empty: the kind"
    )
    address: Peer | Literal[""] = Field("", description='of clamd or rspamd: "HOST:PORT" or "unix:/PATH"')
    zones: tuple[Hostname, ...] = Field((), description="DNS zones of a dnsbl")
    asks: Literal["domains", "client"] = Field(
        "domains", description="what a dnsbl is asked about: author's and links' domains, or the client"
    )
    answers: dict[str, str] = Field(
        default_factory=lambda: {"127.0.0.0/8": "listed"},
        description="of a dnsbl: address or network = what it says",
    )
    leaves_from: tuple[Network, ...] = Field(
        (), description="of identity: where customers' servers send from; empty: their own addresses"
    )
    score: Score | None = Field(None, description="points of a hit; of rspamd: the most it can give")
    deadline: Duration = Field(parse_duration("5s"), description="then it has no answer")
    failure: Literal["skip", "defer", "hold"] = Field(
        "skip", description="what its silence means: nothing, try the message later, staff look first"
    )

    @property
    def label(self) -> str:
        """The scanner's name, by default its kind."""
        return self.name or self.kind

    @property
    def points(self) -> float:
        """The points of a hit."""
        return _SCORES[self.kind] if self.score is None else self.score

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        required, optional = _OWN[self.kind]
        for name in required:
            if not getattr(self, name):
                raise PydanticCustomError("scanner", f"of kind {self.kind} needs {name}")
        given = self.model_fields_set & _SPECIAL
        for name in sorted(given - {*required, *optional}):
            raise PydanticCustomError("scanner", f"of kind {self.kind} has no {name}")
        for network in self.answers:
            try:
                listed = ipaddress.ip_network(network)
            except ValueError:
                listed = None
            if listed is None or listed.version != 4 or not listed.is_loopback:
                raise PydanticCustomError("scanner", f"answers are addresses in 127.0.0.0/8, not {network}")
        return self
