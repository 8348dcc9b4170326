"""Events that mail providers post as JSON: bounces, complaints, unsubscriptions; a table of paths for each.

Four shapes are common: one object with a nested notification (also as text inside an envelope), one with an
`event-data` object, flat objects that come in arrays, flat objects with a record type. A path names keys from
the outside in; `[]` takes each item of a list. Our token is looked for where the provider repeats headers or
values of ours. What is in no table is no report, and waits for staff.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay.feedback import reasons
from relay.feedback.parts import address_in
from relay.feedback.report import Kind, Original, RecipientStatus, Report
from relay.feedback.xarf_format import is_ip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 1024 * 1024
#: of one post
MOST_EVENTS = 1000
_MOST_RECIPIENTS = 200
_TOKEN = "cfbl-feedback-id"  # noqa: S105 - the name of a header field
_GONE, _LATER = "failed", "delayed"
_UNSAFE = re.compile(r"[^a-z0-9_-]|^[-_]+")


@dataclass(frozen=True, slots=True)
class Event:
    """What one value of a dialect's event field means: a feedback type, or (bounces) an action."""

    kind: Kind
    what: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where a provider's event says what; of several paths the first that is there counts."""

    name: str
    #: the field that makes it this dialect, and what its values mean, in lower case
    event: tuple[str, ...]
    events: Mapping[str, Event]
    recipient: tuple[str, ...]
    status: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    #: a complaint's own type (RFC 5965), where it has one
    type: tuple[str, ...] = ()
    #: how hard a bounce is, where the event leaves it open: value in lower case -> action
    hardness: tuple[str, ...] = ()
    actions: Mapping[str, str] = field(default_factory=dict)
    message_id: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    #: {name: value} or [{name, value}] with headers or values of ours
    headers: tuple[str, ...] = ()


_BOUNCE, _COMPLAINT = Event(Kind.BOUNCE, ""), Event(Kind.COMPLAINT, "abuse")
_LEFT, _DELAY = Event(Kind.COMPLAINT, "unsubscribe"), Event(Kind.BOUNCE, _LATER)
DIALECTS = (
    Dialect(
        name="notification",
        event=("notificationType", "eventType"),
        events={"bounce": _BOUNCE, "complaint": _COMPLAINT, "deliverydelay": _DELAY},
        recipient=(
            "bounce.bouncedRecipients[].emailAddress", "complaint.complainedRecipients[].emailAddress",
            "deliveryDelay.delayedRecipients[].emailAddress",
        ),
        status=("bounce.bouncedRecipients[].status", "deliveryDelay.delayedRecipients[].status"),
        words=(
            "bounce.bouncedRecipients[].diagnosticCode", "deliveryDelay.delayedRecipients[].diagnosticCode",
        ),
        type=("complaint.complaintFeedbackType",),
        hardness=("bounce.bounceType",),
        actions={"permanent": _GONE, "transient": _LATER, "undetermined": _LATER},
        message_id=("mail.commonHeaders.messageId", "mail.messageId"),
        sender=("mail.source",),
        date=("mail.timestamp",),
        source=("mail.sourceIp",),
        headers=("mail.headers",),
    ),
    Dialect(
        name="event-data",
        event=("event-data.event",),
        events={"failed": _BOUNCE, "complained": _COMPLAINT, "unsubscribed": _LEFT},
        recipient=("event-data.recipient",),
        status=("event-data.delivery-status.enhanced-code", "event-data.delivery-status.code"),
        words=("event-data.delivery-status.message", "event-data.delivery-status.description"),
        hardness=("event-data.severity",),
        actions={"permanent": _GONE, "temporary": _LATER},
        message_id=("event-data.message.headers.message-id",),
        sender=("event-data.envelope.sender",),
        date=("event-data.timestamp",),
        source=("event-data.envelope.sending-ip",),
        headers=("event-data.message.headers", "event-data.user-variables"),
    ),
    Dialect(
        name="flat",
        event=("event",),
        events={
            "bounce": Event(Kind.BOUNCE, _GONE), "dropped": Event(Kind.BOUNCE, _GONE), "deferred": _DELAY,
            "spamreport": _COMPLAINT, "unsubscribe": _LEFT, "group_unsubscribe": _LEFT,
        },
        recipient=("email",),
        status=("status",),
        words=("reason", "response"),
        hardness=("type",),
        actions={"bounce": _GONE, "blocked": _LATER},
        message_id=("smtp-id",),
        date=("timestamp",),
        source=("ip",),
        headers=("unique_args", "custom_args", ""),
    ),
    Dialect(
        name="record",
        event=("RecordType",),
        events={"bounce": _BOUNCE, "spamcomplaint": _COMPLAINT, "subscriptionchange": _LEFT},
        recipient=("Email", "Recipient"),
        words=("Details", "Description"),
        hardness=("Type",),
        actions={"hardbounce": _GONE, "bademailaddress": _GONE},
        message_id=("MessageID",),
        sender=("From",),
        date=("BouncedAt", "ChangedAt"),
        headers=("Headers", "Metadata"),
    ),
)  # fmt: skip


def events_of(raw: bytes) -> list[bytes]:
    """Return the events of one post: the items of an array, else the post itself; ValueError for too many."""
    if raw.lstrip()[:1] != b"[":
        return [raw]
    found = json.loads(raw)
    if not isinstance(found, list) or len(found) > MOST_EVENTS:
        raise ValueError(f"more than {MOST_EVENTS} events")
    return [json.dumps(one, ensure_ascii=False).encode("utf-8", "replace") for one in found] or [raw]


def parse(raw: bytes, sender: str = "") -> Report | None:
    """Return the report that a provider's event is, None if no table knows it; never raises."""
    try:
        said = json.loads(raw[:MAX_BYTES].decode("utf-8-sig"))
        if isinstance(said, dict) and isinstance(said.get("Message"), str):
            said = json.loads(said["Message"])  # an envelope around the notification
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    for dialect in DIALECTS:
        event = dialect.events.get(_text(said, dialect.event).replace(" ", "").lower())
        recipients = tuple(filter(None, map(address_in, _texts(said, dialect.recipient))))
        if event is not None and recipients:
            return _report(said, dialect, event, recipients[:_MOST_RECIPIENTS], sender)
    return None


def _report(
    said: Mapping[str, Any], dialect: Dialect, event: Event, recipients: tuple[str, ...], sender: str
) -> Report:
    source = _text(said, dialect.source)
    statuses = tuple(_statuses(said, dialect, event, recipients)) if event.kind is Kind.BOUNCE else ()
    said_type = _UNSAFE.sub("", _text(said, dialect.type).lower())
    what = statuses[0].action if statuses else said_type or event.what
    return Report(
        kind=event.kind,
        dialect=f"event, {dialect.name}",
        feedback_type=what[:40],
        reporter=sender,
        recipients=tuple(dict.fromkeys(recipients)),
        original=Original(
            message_id=_text(said, dialect.message_id)[:300],
            mail_from=address_in(_text(said, dialect.sender)),
            date=_text(said, dialect.date)[:80],
            source_ip=source if is_ip(source) else "",
            recipient_from="report",
        ),
        statuses=statuses,
        tokens=tuple(_tokens(said, dialect)),
    )


def _statuses(
    said: Mapping[str, Any], dialect: Dialect, event: Event, recipients: tuple[str, ...]
) -> Iterator[RecipientStatus]:
    hardness = _text(said, dialect.hardness).lower()
    action = dialect.actions.get(hardness, event.what or _LATER)
    codes, words = list(_texts(said, dialect.status)), list(_texts(said, dialect.words))
    for place, recipient in enumerate(recipients):
        text = words[place] if place < len(words) else next(iter(words), "")
        code = codes[place] if place < len(codes) else next(iter(codes), "")
        status = reasons.enhanced(code) or reasons.enhanced(text)
        reason, permanent = reasons.classify(status, text or hardness)
        if action == _GONE and reason == "unknown" and dialect.actions.get(hardness) == _GONE:
            reason, permanent = reasons.INVALID, True
        permanent = permanent and action == _GONE
        yield RecipientStatus(recipient, action, status, text[:1000], permanent, reason)


def _tokens(said: Mapping[str, Any], dialect: Dialect) -> Iterator[str]:
    """Yield what the provider repeats under the name of our header."""
    for path in dialect.headers:
        for found in _at(said, path):
            if isinstance(found, dict):
                pairs = [(str(name), value) for name, value in found.items()]
            elif isinstance(found, list):
                items = [one for one in found if isinstance(one, dict)]
                pairs = [(_any(one, "name"), one.get("value", one.get("Value"))) for one in items]
            else:
                continue
            yield from (value for name, value in pairs if _is_token(name) and isinstance(value, str))


def _is_token(name: str) -> bool:
    return name.lower().replace("_", "-") == _TOKEN


def _any(one: Mapping[str, Any], name: str) -> str:
    return str(one.get(name, one.get(name.title(), "")))


def _at(said: object, path: str) -> Iterator[object]:
    """Yield what a path leads to."""
    waiting = [said]
    for step in path.split(".") if path else ():
        name, each = step.removesuffix("[]"), step.endswith("[]")
        inside = [one[name] for one in waiting if isinstance(one, dict) and name in one]
        waiting = [item for one in inside if isinstance(one, list) for item in one] if each else inside
    yield from waiting


def _texts(said: object, paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        found = [one for one in _at(said, path) if isinstance(one, str | int | float)]
        if found:
            yield from map(str, found)
            return


def _text(said: object, paths: tuple[str, ...]) -> str:
    return next(_texts(said, paths), "").strip()
