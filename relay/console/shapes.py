"""What goes in and out of /api/v1: OpenAPI is made from these models; unknown fields are refused."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from relay.clock import micros, moment
from relay.store.viewed import MOST_ROWS

Text = Annotated[str, Field(max_length=200)]
StateName = Literal["active", "throttled", "deactivated", "suspended", "closed"]
ClassName = Literal["person", "app", "bulk", "list"]
_CURSOR = re.compile(r"([0-9]{1,17})\.([0-9A-Za-z._:-]{1,64})")


class Answer(BaseModel):
    """Something that goes out; made from the store's rows."""

    model_config = ConfigDict(from_attributes=True)


class Question(BaseModel):
    """Something that comes in: unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Page(Question):
    """How much of a list, and from where: `cursor` is the `next` of the page before."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, description="rows, 500 at most")] = 50
    cursor: Annotated[str, Field(max_length=100, description="the `next` of the page before")] = ""

    def place(self) -> tuple[int, str] | None:
        """Return the cursor as (at_us, id); PydanticCustomError if it is none of ours."""
        if not self.cursor:
            return None
        match = _CURSOR.fullmatch(self.cursor)
        if match is None:
            raise PydanticCustomError("cursor", "is not the `next` of a page")
        return int(match[1]), match[2]


def cursor(at: datetime, identity: str) -> str:
    """Return the cursor behind a row."""
    return f"{micros(at)}.{identity}"


def cursor_moment(text: str) -> datetime:
    """Return the moment inside a cursor."""
    return moment(int(text.partition(".")[0]))


class AccountsQuestion(Page):
    """Which accounts."""

    q: Annotated[str, Field(max_length=200, description="part of a login or of a customer's name")] = ""
    standing: Annotated[
        StateName | Literal["", "stopped"],
        Field(description="its own standing; stopped: every one but active"),
    ] = ""
    klass: Annotated[ClassName | Literal[""], Field(alias="class")] = ""
    customer: Text = ""


class ComplaintsQuestion(Page):
    """Which complaints."""

    login: Text = ""
    grade: Literal["", "A", "B", "C"] = ""
    counted: bool | None = None
    reporter: Text = ""


class CasesQuestion(Page):
    """Which decisions."""

    standing: Annotated[StateName | Literal[""], Field(description="the state decided on")] = ""
    set_by: Literal["", "policy", "staff"] = ""


class MessagesQuestion(Page):
    """Which messages of an account."""

    action: Literal["", "deliver", "tag", "hold", "refuse", "defer"] = ""


class GroupsQuestion(Question):
    """Which customers or servers."""

    q: Text = ""
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 100


class AuditQuestion(Question):
    """Which audit entries; `before` is a number of an entry."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 50
    before: Annotated[int | None, Field(ge=1, le=2**62)] = None
    who: Text = ""
    action: Text = ""
    object: Text = ""


class LooksQuestion(Question):
    """Whose looks; a customer's token needs to name nobody. `before` is a number of an entry."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 50
    before: Annotated[int | None, Field(ge=1, le=2**62)] = None
    customer: Text = ""


class StatsQuestion(Question):
    """Which chart."""

    window: Literal["1h", "24h", "7d"] = "1h"
    account: Annotated[str, Field(max_length=320, description="a login; empty: everything")] = ""


class StandingWish(Question):
    """What the standing shall become, and why."""

    state: Annotated[Literal["active", "deactivated", "suspended"], Field(description="active reinstates")]
    reason: Annotated[str, Field(min_length=3, max_length=500, description="the sender and staff read it")]
    span: Annotated[
        str, Field(alias="for", max_length=20, description="with deactivated: 6h, 2d; 24h if left out")
    ] = ""
    version: Annotated[
        int | None, Field(ge=0, le=2**62, description="refuse with 409 unless the standing has this version")
    ] = None


class PauseWish(Question):
    """Whether the owner wants an account to send, and why."""

    paused: Annotated[bool, Field(strict=True)]
    reason: Annotated[str, Field(min_length=3, max_length=500)] = "by its owner"


class StandingAnswer(Answer):
    """One level's standing; `version` is what a change compares."""

    state: str
    since: datetime
    until: datetime | None
    reason: str
    case_id: str | None
    set_by: str
    version: int


class AccountLine(Answer):
    """An account in a list; `effective` is the strictest state of its own, its server and its customer."""

    login: str
    customer: str
    server: str
    klass: Annotated[str, Field(serialization_alias="class")]
    state: str
    effective: str
    since: datetime
    until: datetime | None
    reason: str
    case_id: str | None
    set_by: str


class Accounts(Answer):
    """A page of accounts."""

    accounts: list[AccountLine]
    next: str | None


class AccountAnswer(Answer):
    """One account with the numbers that decide about it."""

    login: str
    customer: str
    server: str
    klass: Annotated[str, Field(serialization_alias="class")]
    senders: list[str]
    created_at: datetime | None
    standing: StandingAnswer
    effective: StandingAnswer
    server_standing: StandingAnswer
    customer_standing: StandingAnswer
    evidence: Annotated[dict[str, Any], Field(description="of the case that made the effective standing")]
    tally: dict[str, Any]


class MessageLine(Answer):
    """A message of the journal; who received it and what it said are not kept."""

    id: str
    at: datetime
    login: str
    customer: str
    action: str
    outcome: Annotated[str, Field(description="forwarded, queued, held, refused, deferred")]
    score: float
    hits: Annotated[
        list[dict[str, Any]],
        Field(description="rule and score; what the rule quotes for who may see the mail, or whose it is"),
    ]
    malformed: str
    reply_code: int
    reply_text: str
    size_bytes: int
    recipients: int
    client_network: str
    unanswered: list[str]
    ruleset: str
    stages_ms: dict[str, float]


class Messages(Answer):
    """A page of messages."""

    messages: list[MessageLine]
    next: str | None


class GroupLine(Answer):
    """A customer or a server."""

    name: str
    customer: str
    state: str
    since: datetime
    until: datetime | None
    reason: str
    case_id: str | None
    set_by: str
    version: int
    accounts: Annotated[int, Field(description="how many accounts it has")]
    stopped: Annotated[int, Field(description="how many of them are not active")]


class Customers(Answer):
    """Customers by name."""

    customers: list[GroupLine]


class Servers(Answer):
    """Servers by name."""

    servers: list[GroupLine]


class ComplaintLine(Answer):
    """A report, its grade, and whether and why it counted."""

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


class Complaints(Answer):
    """A page of complaints."""

    complaints: list[ComplaintLine]
    next: str | None


class CaseLine(Answer):
    """A decision about a standing, with the numbers it was made from."""

    case_id: str
    at: datetime
    level: str
    subject: str
    step: str
    from_state: str
    to_state: str
    until: datetime | None
    reason: str
    set_by: str
    evidence: dict[str, Any]


class Cases(Answer):
    """A page of decisions."""

    cases: list[CaseLine]
    next: str | None


class AuditLine(Answer):
    """Who did what to which object, and why; `details` is JSON text as it was hashed."""

    seq: int
    at: datetime
    who: str
    action: str
    object: str
    reason: str
    details: str


class AuditEntries(Answer):
    """A page of the audit log; `next` is the `before` of the page behind it."""

    entries: list[AuditLine]
    next: int | None


class Look(Answer):
    """Who looked at content or recipients of a message, and the reason that they gave."""

    seq: int
    at: datetime
    who: str
    object: str
    reason: str


class Looks(Answer):
    """A page of looks; `next` is the `before` of the page behind it."""

    looks: list[Look]
    next: int | None


class Stats(Answer):
    """Messages by decision; `at` are the starts of the steps in whole seconds since 1970 UTC."""

    window: str
    step_seconds: int
    at: list[int]
    series: dict[str, list[int]]
    totals: dict[str, int]


class RecipientQuestion(Question):
    """A recipient of a customer's mail; in the body, so that no log of addresses (URLs) comes to hold it."""

    customer: Annotated[str, Field(max_length=200, description="a customer's token may leave it out")] = ""
    address: Annotated[str, Field(max_length=320, pattern=r"^[^\s@]{1,64}@[^\s@]{1,255}$")]


class SuppressionWish(RecipientQuestion):
    """Whom mail shall no longer be sent to."""

    span: Annotated[
        str, Field(alias="for", max_length=20, description="6h, 30d; left out: until it is cleared")
    ] = ""


class SuppressionLine(Answer):
    """Why mail to a recipient is refused, or what was noted so far; times are RFC 3339 UTC."""

    kind: Annotated[
        str, Field(description="bounce, manual, or wish: the recipient's, which holds for bulk and list mail")
    ]
    events: int
    first_at: datetime
    last_at: datetime
    refused: bool
    from_at: datetime | None
    until: datetime | None


class Suppressions(Answer):
    """Everything that is known of one recipient."""

    suppressions: list[SuppressionLine]


class SuppressionCounts(Answer):
    """How many recipients are refused now, by kind."""

    counts: dict[str, int]


class Fault(Answer):
    """Why a request was not answered; `id` finds it in the log."""

    detail: str
    id: str
