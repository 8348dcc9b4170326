"""The rows that the console and the API show: values, without how they are found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from relay.model import Level, State

#: No list is longer, whatever is asked for.
MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One line of the list of accounts; `effective` is the strictest of the three levels."""

    id: int
    login: str
    customer: str
    server: str
    klass: str
    state: State
    effective: State
    since: datetime
    until: datetime | None
    reason: str
    case_id: str | None
    set_by: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One customer or server with how many accounts it has, and how many of them may not send."""

    id: int
    name: str
    customer: str
    state: State
    since: datetime
    until: datetime | None
    reason: str
    case_id: str | None
    set_by: str
    version: int
    accounts: int
    stopped: int


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message of the journal, without anything about its recipients but their number."""

    id: str
    at: datetime
    login: str
    customer: str
    action: str
    #: forwarded, queued, held, refused, deferred
    outcome: str
    score: float
    hits: tuple[dict[str, Any], ...]
    malformed: str
    reply_code: int
    reply_text: str
    size_bytes: int
    recipients: int
    client_network: str
    unanswered: tuple[str, ...]
    ruleset: str
    stages_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class ComplaintRow:
    """One report, how it was graded, and whether and why it counted."""

    id: str
    at: datetime
    feedback_type: str
    grade: str
    reporter: str
    login: str
    customer: str
    message_id: str
    sent_at: datetime | None
    counted: bool
    why: str


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One decision about a standing; `subject` is a login or a name, by level."""

    case_id: str
    at: datetime
    level: Level
    subject: str
    step: str
    from_state: str
    to_state: str
    until: datetime | None
    reason: str
    set_by: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit log; `details` is JSON text as it was hashed."""

    seq: int
    at: datetime
    who: str
    action: str
    object: str
    reason: str
    details: str


@dataclass(frozen=True, slots=True)
class Sought:
    """What a list is narrowed to; empty fields narrow nothing."""

    q: str = ""
    state: str = ""
    klass: str = ""
    customer: str = ""
    login: str = ""
    grade: str = ""
    counted: bool | None = None
    reporter: str = ""
    set_by: Literal["", "policy", "staff"] = ""
    who: str = ""
    action: str = ""
    object: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """How things stand now: accounts by state, recent complaints by grade, reports that wait for staff."""

    states: dict[str, int]
    complaints: dict[str, int]
    counted: int
    waiting_reports: int
