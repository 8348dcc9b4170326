"""Everything that happens in Gatepost, past tense; each is one log line and its metrics.

No event carries an address, a subject, a body or a secret: ids, logins and closed words only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class MessageHandled:
    """The canonical line of a message: what was decided, what was answered, and how long each stage took."""

    name: ClassVar[str] = "message"
    level: ClassVar[str] = "info"
    id: str
    login: str
    action: str  #: deliver, tag, hold, refuse, defer
    outcome: str  #: forwarded, queued, held, refused, deferred
    score: float
    rules: tuple[str, ...]
    reply: str
    size_bytes: int
    recipients: int
    reason: str = ""
    stages_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecipientRefused:
    """A recipient was refused before any content."""

    name: ClassVar[str] = "recipient_refused"
    level: ClassVar[str] = "info"
    login: str
    why: str  #: standing, upstream, suppressed, limit
    reply: str
    case_id: str = ""


@dataclass(frozen=True, slots=True)
class PolicyBroken:
    """A clause of the transmission policy was broken; `refuse` and `wait` were answered so."""

    name: ClassVar[str] = "policy_broken"
    level: ClassVar[str] = "info"
    login: str
    clause: str  #: "TP 2.5 (2026-11)"
    check: str
    action: str  #: flag, wait, refuse
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SwitchTurned:
    """Staff turned `brake` or `bypass` on or off, or it came to its end."""

    name: ClassVar[str] = "switch"
    level: ClassVar[str] = "warning"
    switch: str
    on: bool
    until: str = ""
    set_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BreakerOpened:
    """So many accounts fell within an hour that automatic switch-offs wait for staff; mail is paced."""

    name: ClassVar[str] = "circuit_breaker"
    level: ClassVar[str] = "error"
    case_id: str
    why: str


@dataclass(frozen=True, slots=True)
class LoginTried:
    """Somebody logged in, or failed to."""

    name: ClassVar[str] = "login"
    level: ClassVar[str] = "info"
    login: str
    ok: bool
    mechanism: str
    peer_ip: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class LoginGuessed:
    """Strangers tried more passwords for one login than one client may; said once in 15 minutes."""

    name: ClassVar[str] = "login_guessed"
    level: ClassVar[str] = "warning"
    login: str  #: empty if nobody has it


@dataclass(frozen=True, slots=True)
class ReportTaken:
    """A complaint, bounce or other report came in."""

    name: ClassVar[str] = "report"
    level: ClassVar[str] = "info"
    id: str
    kind: str  #: complaint, bounce, unknown
    grade: str  #: A, B, C or empty
    counted: bool
    login: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class StandingChanged:
    """An account, server or customer has a new standing."""

    name: ClassVar[str] = "standing"
    level: ClassVar[str] = "warning"
    subject: str
    to_state: str
    set_by: str
    case_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class UpstreamFailed:
    """A customer's server could not be used."""

    name: ClassVar[str] = "upstream_failed"
    level: ClassVar[str] = "warning"
    server: str
    why: str


@dataclass(frozen=True, slots=True)
class DeliveryTried:
    """Waiting mail was tried once at the customer's server."""

    name: ClassVar[str] = "delivery"
    level: ClassVar[str] = "info"
    id: str
    login: str
    outcome: str  #: delivered, failed, deferred, in_doubt
    attempt: int
    delivered: int
    failed: int
    waiting: int
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ScannerFailed:
    """A scanner was asked about a message and gave no answer; after a few in a row it is asked less."""

    name: ClassVar[str] = "scanner_failed"
    level: ClassVar[str] = "warning"
    scanner: str
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LocalProblem:
    """A client was told to come again: the store or a secret's file could not be read."""

    name: ClassVar[str] = "local_problem"
    level: ClassVar[str] = "error"
    error: str
    why: str


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """The configuration was read again; `ok` false means that the old one stays."""

    name: ClassVar[str] = "config_reloaded"
    level: ClassVar[str] = "warning"
    ok: bool
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cautioned:
    """The configuration in force leaves undone what a relay should do."""

    name: ClassVar[str] = "caution"
    level: ClassVar[str] = "warning"
    what: str


@dataclass(frozen=True, slots=True)
class BugFound:
    """An exception that nobody expected; the traceback is for the log only."""

    name: ClassVar[str] = "bug"
    level: ClassVar[str] = "error"
    where: str
    error: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The daemon started, drained or stopped."""

    name: ClassVar[str] = "daemon"
    level: ClassVar[str] = "info"
    what: str


Event = (
    MessageHandled
    | RecipientRefused
    | PolicyBroken
    | SwitchTurned
    | BreakerOpened
    | LoginTried
    | LoginGuessed
    | ReportTaken
    | StandingChanged
    | UpstreamFailed
    | DeliveryTried
    | ScannerFailed
    | LocalProblem
    | ConfigReloaded
    | Cautioned
    | BugFound
    | Lifecycle
)
