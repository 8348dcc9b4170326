"""Delivery reports: RFC 3464 first, then the free-text dialects (flufl.bounce, and our own phrases)."""

from __future__ import annotations

import email
import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from relay.feedback import freetext, phrases, plain, reasons
from relay.feedback.arf import ORIGINALS, original_of
from relay.feedback.parts import Header, Part, address_in, author_domain, header_of, parts_of
from relay.feedback.report import Kind, RecipientStatus, Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relay.feedback.freetext import Notice

#: the library logs the traceback of each detector that trips over hostile text; the others go on
logging.getLogger("flufl.bounce").disabled = True

_ACTIONS = frozenset(("failed", "delayed", "delivered", "relayed", "expanded"))
_MOST_RECIPIENTS = 200
#: what the library's pattern matchers may chew on
_SCANNED_BYTES = 48 * 1024
_DAEMON = re.compile(
    r"mailer-daemon|postmaster|mail delivery (?:system|subsystem)|mdaemon|mailadmin", re.IGNORECASE
)
_SUBJECT = re.compile(phrases.SUBJECT, re.IGNORECASE)
_AUTOMATIC = re.compile(
    r"out of (?:the )?office|auto(?:matic)?[- ]?(?:reply|response|answer)|vacation|abwesen|autoodpowied|"
    r"absence du bureau|away from",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^\s<>@,;:\"()\[\]\\]{1,64}@[\w](?:[\w.-]{0,252}[\w])")
_WAITING = re.compile(phrases.WAITING, re.IGNORECASE)
_DELAYED = re.compile(r"delay|verz[oö]e?ger|retard|ritard|atras|задерж|延迟|延遲|遅延", re.IGNORECASE)
#: a person passed it on
_PASSED_ON = re.compile(r"\s*(?:fwd?|wg|tr|rv|vs|i)\s*:", re.IGNORECASE)
_BULK = re.compile(r"bulk|junk|auto", re.IGNORECASE)
_FAILURE = re.compile(phrases.FAILURE, re.IGNORECASE)
#: part types of status fields, as made
STATUS = frozenset(
    (
        "message/delivery-status",
        "message/global-delivery-status",
        "message/xdelivery-status",
        "text/delivery-status",
        "message/delivery-report",
    )
)
_MOST_TEXTS = 20
_DEEPEST = 2


def parse(found: Sequence[Part], raw: bytes, depth: int = 0) -> Report | None:
    """Return the delivery report that these parts are, None if they are none; never raises.

    RFC 3464 fields are believed before text; text only if sender or subject say that it is a report; a report
    wrapped in another message last.
    """
    top = found[0].header
    original = next((part for part in found[1:] if part.media in ORIGINALS), None)
    inner = header_of(original.data)[0] if original else Header({})
    fields = [part.data for part in found if part.media in STATUS]
    statuses = tuple(one for data in fields for one in _statuses(data))[:_MOST_RECIPIENTS]
    notice = freetext.notice_of(_texts(found), inner, top)
    dialect = "rfc3464"
    if not any(one.recipient for one in statuses):
        sure = bool(fields) or _looks_like_bounce(top) or _reads_like_bounce(top, notice.text)
        said, dialect = _written(found, raw, notice) if sure else ((), "")
        # fields without a usable address still say more than nothing
        statuses = said or statuses
        if not said and depth < _DEEPEST and (wrapped := _wrapped(found, depth)):
            return wrapped
        if sure and not said:
            statuses = _as_statuses(freetext.guesses(notice), notice) or statuses
        if not sure:
            return None
    said_all = f"{notice.text}\n{notice.rest}"
    statuses = tuple(_with_reason(one, said_all) for one in statuses)
    return _report(top, notice.inner, statuses, dialect)


def _written(found: Sequence[Part], raw: bytes, notice: Notice) -> tuple[tuple[RecipientStatus, ...], str]:
    """Return what a report without status fields says, and how it was read."""
    for part in found:
        if part.media.startswith("text/") and b"-recipient:" in part.data.lower():
            fields = re.sub(
                rb"(?m)^[>|* \t]*(?=(?:final|original)-recipient:)", b"\n\n", part.data, flags=re.I
            )
            if said := tuple(one for one in _statuses(fields) if one.recipient):
                return said, "rfc3464 as text"
    if named := _ADDRESS.findall(notice.top.text("x-failed-recipients")[:8000]):
        return _as_statuses(named, notice), "x-failed-recipients"
    if said := _as_statuses(freetext.recipients(notice, freetext.STRONG), notice):
        return said, "text"
    said, own = _from_library(raw), _as_statuses(freetext.recipients(notice, freetext.LIKELY), notice)
    if said and {one.recipient.lower() for one in said} - {one.recipient.lower() for one in own}:
        return said, "flufl"
    return own, "text"


def _as_statuses(addresses: Sequence[str], notice: Notice) -> tuple[RecipientStatus, ...]:
    subject = notice.top.text("subject")
    waits = _WAITING.search(notice.text) or _DELAYED.search(subject)
    named = dict.fromkeys(filter(None, map(address_in, addresses)))
    return tuple(RecipientStatus(one, "delayed" if waits else "failed") for one in named)[:_MOST_RECIPIENTS]


def _texts(found: Sequence[Part]) -> list[str]:
    """Return what people are meant to read: plain text, the text of HTML where there is none."""
    written = [part.text for part in found[:_MOST_TEXTS] if part.media == "text/plain"]
    if any(text.strip() for text in written):
        return written
    return [
        plain.of_html(part.text[:_SCANNED_BYTES]) for part in found[:_MOST_TEXTS] if part.media == "text/html"
    ]


def _wrapped(found: Sequence[Part], depth: int) -> Report | None:
    """Return the delivery report inside another message: one that was passed on."""
    for part in found:
        if part.media in ("message/rfc822", "message/global"):
            report = parse(parts_of(part.data), part.data, depth + 1)
            if report is not None and report.recipients:
                return report
    return None


def _report(top: Header, inner: Header, statuses: tuple[RecipientStatus, ...], dialect: str) -> Report | None:
    if not statuses:
        if not says_bounce(top) or not _from_server(top):
            return None  # a person wrote it: staff may look
        return Report(
            Kind.BOUNCE,
            "text",
            "failed",
            author_domain(top),
            original=original_of(inner, Header({})),
            faults=("it names no recipient",),
        )
    bounced = [one for one in statuses if one.action in ("failed", "delayed")]
    worst = "failed" if any(one.action == "failed" for one in statuses) else statuses[0].action
    return Report(
        kind=Kind.BOUNCE if bounced else Kind.UNKNOWN,
        dialect=dialect,
        feedback_type=worst,
        reporter=author_domain(top),
        recipients=tuple(dict.fromkeys(filter(None, (a for s in statuses for a in (s.recipient, s.final))))),
        original=original_of(inner, Header({}), "report"),
        statuses=statuses,
        faults=() if bounced else (f"nothing failed: {worst}",),
    )


def automatic(top: Header) -> bool:
    """Return whether a message is a person's automatic answer, a vacation notice say."""
    if top.text("auto-submitted").lower().startswith(("auto-replied", "auto-generated")):
        return True
    named = any(top.has(name) for name in ("x-autoreply", "x-autorespond", "x-autoresponder", "x-vacation"))
    return named or _AUTOMATIC.search(top.text("subject")) is not None


def _looks_like_bounce(top: Header) -> bool:
    if _AUTOMATIC.search(top.text("subject")):
        return False
    return top.raw("return-path").strip() == b"<>" or says_bounce(top)


def _reads_like_bounce(top: Header, text: str) -> bool:
    """Return whether the first lines say so, of a message that no person wrote."""
    if _AUTOMATIC.search(top.text("subject")) or not (
        top.has("auto-submitted") or _BULK.search(top.text("precedence"))
    ):
        return False
    return _FAILURE.search(text[:600]) is not None


def _from_server(top: Header) -> bool:
    """Return whether a mail server wrote a message, not a person."""
    if _DAEMON.search(top.text("from")) or "delivery-status" in top.text("content-type").lower():
        return True
    return top.raw("return-path").strip() == b"<>" or top.text("auto-submitted").lower().startswith(
        "auto-generated"
    )


def says_bounce(top: Header) -> bool:
    """Return whether author, type or subject call the message a delivery report."""
    if _DAEMON.search(top.text("from")):
        return True
    if "delivery-status" in top.text("content-type").lower() or top.has("x-failed-recipients"):
        return True
    subject = top.text("subject")
    return _SUBJECT.search(subject) is not None and not _PASSED_ON.match(subject)


# -- RFC 3464 -----------------------------------------------------------------------------------------------


def _groups(data: bytes) -> list[Header]:
    """Split delivery-status content at its empty lines; fields about the message and each recipient."""
    text = data[: 256 * 1024].replace(b"\r\n", b"\n")
    pieces = re.split(rb"\n[ \t]*\n+", text.strip(b"\n"))[: _MOST_RECIPIENTS + 1]
    return [header_of(piece.replace(b"\n", b"\r\n") + b"\r\n\r\n")[0] for piece in pieces]


def _statuses(data: bytes) -> Iterator[RecipientStatus]:
    for group in _groups(data):
        final = _typed(group, "final-recipient")
        recipient = _typed(group, "original-recipient") or final
        final = "" if final.lower() == recipient.lower() else final
        action = (group.text("action").lower().split() or [""])[0].strip("(;,.")
        status = reasons.enhanced(group.text("status"))
        if not recipient and not (action and status):
            continue
        diagnostic = group.text("diagnostic-code")[:1000]
        if action not in _ACTIONS:
            action = "delayed" if status.startswith("4") else "failed"
        reason, permanent = reasons.classify(status, diagnostic)
        if action != "failed":
            permanent = False
        yield RecipientStatus(recipient, action, status, diagnostic, permanent, reason, final)


def _typed(group: Header, name: str) -> str:
    """Return the address of a typed field (`rfc822; a@b`), whatever its maker left out."""
    text = group.text(name)
    return address_in(text.partition(";")[2] or text)


# -- free text ----------------------------------------------------------------------------------------------


def _from_library(raw: bytes) -> tuple[RecipientStatus, ...]:
    try:
        temporary, permanent = all_failures(email.message_from_bytes(raw[:_SCANNED_BYTES]))
    except (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError):
        return ()  # a detector tripped over the text: our own phrases follow
    failed = [(address, "failed") for address in sorted(permanent)]
    failed += [(address, "delayed") for address in sorted(temporary - permanent)]
    found = ((address_in(address.decode("latin-1")), action) for address, action in failed[:_MOST_RECIPIENTS])
    return tuple(RecipientStatus(address, action) for address, action in found if address)


def _around(text: str, address: str) -> str:
    place = text.find(address)
    return text[max(0, place - 300) : place + len(address) + 500]


def _with_reason(one: RecipientStatus, text: str) -> RecipientStatus:
    """Add what the notice says about a recipient to what its fields leave open."""
    if one.reason and one.reason != "unknown":
        return one
    around = one.diagnostic or _around(text, one.recipient)
    status = one.status or reasons.enhanced(around)
    reason, permanent = reasons.classify(status, f"{around} {_around(text, one.recipient)}")
    diagnostic = one.diagnostic or " ".join(around.split())[:300]
    return replace(
        one,
        status=status,
        diagnostic=diagnostic,
        reason=reason,
        permanent=permanent and one.action == "failed",
    )
