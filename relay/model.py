"""The nouns of the relay: who pays, which server, who sends, and in what standing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from policies.standing import State as State  # one of our nouns, too
from policies.standing import stricter


class Level(StrEnum):
    """What a standing belongs to."""

    ACCOUNT = "account"
    SERVER = "server"
    CUSTOMER = "customer"


class AccountClass(StrEnum):
    """What kind of sender an account is; sets caps and budgets."""

    PERSON = "person"
    APP = "app"
    BULK = "bulk"
    LIST = "list"


class Mode(StrEnum):
    """Whether decisions bite."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Tls(StrEnum):
    """How a customer's server is reached."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class UpstreamAuth(StrEnum):
    """How Gatepost logs in at a customer's server."""

    NONE = "none"
    PASSTHROUGH = "passthrough"
    RELAY = "relay"


class Forward(StrEnum):
    """Who answers the client: the customer's server while it waits, or our outbox at once."""

    PROXY = "proxy"
    QUEUE = "queue"


#: what a sender reads whose owner switched it off
PAUSED = "paused by its owner"


@dataclass(frozen=True, slots=True)
class Standing:
    """One level's standing and why; `version` is what a compare-and-set compares.

    `until` of an active one: it came back by itself, and sends little until then.
    """

    state: State
    since: datetime
    until: datetime | None = None
    reason: str = ""
    case_id: str | None = None
    set_by: str = "staff"
    version: int = 0
    #: the owner's own switch beside the provider's: active or suspended
    own: State = State.ACTIVE
    own_since: datetime | None = None
    own_by: str = ""

    @property
    def binding(self) -> Standing:
        """Return what holds: the provider's switch or the owner's, whichever is stricter."""
        if self.own is State.ACTIVE or State(stricter(self.state, self.own)) is self.state:
            return self
        since = self.own_since or self.since
        return Standing(self.own, since, None, PAUSED, None, self.own_by or "owner", self.version)

    def half_open(self, now: datetime) -> bool:
        """Return whether it came back by itself so lately that it sends little."""
        return self.state is State.ACTIVE and self.until is not None and now < self.until


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays."""

    id: int
    name: str
    standing: Standing
    mode: Mode = Mode.ENFORCE
    contact: str = ""
    brand: str = ""
    phone: str = ""
    language: str = "en"
    parent_id: int | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server set up for a customer; `hosts` are HOST:PORT, tried in order."""

    id: int
    customer_id: int
    name: str
    hosts: tuple[str, ...]
    standing: Standing
    tls: Tls = Tls.NONE
    auth: UpstreamAuth = UpstreamAuth.NONE
    relay_login: str = ""
    relay_secret_file: str = ""
    #: Logins at these domains may be created at their first good pass-through login.
    provision_domains: tuple[str, ...] = ()
    #: False: the customer named the hosts, so private addresses are refused at connect.
    trusted_hosts: bool = True
    forward: Forward = Forward.PROXY

    @property
    def takes_later(self) -> bool:
        """Return whether mail can be delivered later: not with a password that dies with the session."""
        return self.auth is not UpstreamAuth.PASSTHROUGH or bool(self.relay_login)


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret of an account; `hash` is argon2id, empty where only a fingerprint is known."""

    id: int
    hash: str = field(repr=False)
    #: keyed hash of the password (Keyring.fingerprint); recognises a blocked one, proves nothing.
    fingerprint: bytes = field(repr=False)
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """A login that sends, with the customer and server it belongs to."""

    id: int
    login: str
    customer: Customer
    server: Server
    standing: Standing
    senders: tuple[str, ...] = ()
    klass: AccountClass = AccountClass.APP
    credentials: tuple[Credential, ...] = ()
    created_at: datetime | None = None
    #: the strictest of the account's, its server's and its customer's standing
    effective: Standing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Weigh the standings once; every recipient asks for the strictest."""
        levels = [one.standing.binding for one in (self, self.server, self.customer)]
        active = all(standing.state is State.ACTIVE for standing in levels)
        strictest = levels[0] if active else max(levels, key=lambda standing: standing.state.severity)
        object.__setattr__(self, "effective", strictest)


class Grade(StrEnum):
    """How much a report proves (DESIGN.md, invariant 5)."""

    A = "A"  #: our token and an authenticated, listed reporter: votes in rates
    B = "B"  #: our token alone: absolute counts and staff
    C = "C"  #: no token: the server's tally and staff


@dataclass(frozen=True, slots=True)
class Complaint:
    """What one report said, how it was authenticated, and which message and recipient it means."""

    id: str
    received_at: datetime
    feedback_type: str
    grade: Grade
    reporter: str
    account_id: int | None
    message_id: str | None
    recipient_hash: bytes | None
    counted: bool
    why: str


@dataclass(frozen=True, slots=True)
class Bounce:
    """What one delivery report said of one recipient."""

    recipient: str
    status: str
    diagnostic: str
    permanent: bool
    message_id: str | None = None
    account_id: int | None = None
