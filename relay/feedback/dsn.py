"""Delivery reports: RFC 3464 first, then the free-text dialects (flufl.bounce, and our own phrases)."""

from __future__ import annotations

import email
import re
from typing import TYPE_CHECKING

from flufl.bounce import all_failures

from relay.feedback import reasons
from relay.feedback.arf import ORIGINALS, original_of
from relay.feedback.parts import Header, Part, address_in, author_domain, header_of
from relay.feedback.report import Kind, RecipientStatus, Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ACTIONS = frozenset(("failed", "delayed", "delivered", "relayed", "expanded"))
_MOST_RECIPIENTS = 200
#: what the library's pattern matchers may chew on
_SCANNED_BYTES = 48 * 1024
_DAEMON = re.compile(
    r"mailer-daemon|postmaster|mail delivery (?:system|subsystem)|mdaemon|mailadmin", re.IGNORECASE
)
_SUBJECT = re.compile(
    r"undeliver|deliver(?:y|ed|able)? (?:status|fail|report|problem|error|notif|has failed)|returned mail|"
    r"return(?:ed)? to sender|could not be delivered|mail (?:delivery|system error)|failure notice|"
    r"non[- ]?delivery|nondeliverable|failed|failure|bounce|not delivered|delayed|warning: |rejected|"
    r"mail error|unzustellbar|niedostarczona|zwrot|delivery has been",
    re.IGNORECASE,
)
_AUTOMATIC = re.compile(
    r"out of (?:the )?office|auto(?:matic)?[- ]?(?:reply|response|answer)|vacation|abwesen|autoodpowied|"
    r"absence du bureau|away from",
    re.IGNORECASE,
)
#: where the returned message starts: addresses below are not the failed ones
_RETURNED = re.compile(
    r"^[ \t>*=_-]*(?:-+ ?)?(?:(?:below this line is|this is) a copy of"
    r"|(?:begin )?(?:original|returned|unsent) message|included is a copy|original message (?:follows|header)"
    r"|the original message was received|message header follows"
    r"|your (?:original )?message (?:follows|reads|header)|headers? (?:of|follow)|received: (?:from|by) )",
    re.IGNORECASE | re.MULTILINE,
)
_ADDRESS = re.compile(r"[A-Za-z0-9._%+!#$&'*/=?^`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])")


def parse(found: Sequence[Part], raw: bytes) -> Report | None:
    """Return the delivery report that these parts are, None if they are none; never raises.

    RFC 3464 fields are believed before text; text only if sender or subject say that it is a report.
    """
    top = found[0].header
    original = next((part for part in found[1:] if part.media in ORIGINALS), None)
    inner = header_of(original.data)[0] if original else Header({})
    status = next(
        (p for p in found if p.media in ("message/delivery-status", "message/global-delivery-status")), None
    )
    statuses = tuple(_statuses(status.data)) if status else ()
    dialect = "rfc3464"
    if not any(one.recipient for one in statuses):
        text = "\n".join(part.text for part in found if part.media in ("text/plain", "text/html"))[
            :_SCANNED_BYTES
        ]
        if status is None and not _looks_like_bounce(top):
            return None
        said, dialect = _from_library(raw), "flufl"
        if not said:
            said, dialect = tuple(_from_text(text, top)), "text"
        # fields without a usable address still say more than nothing
        statuses = tuple(_with_reason(one, text) for one in said) or statuses
    return _report(top, inner, statuses, dialect)


def _report(top: Header, inner: Header, statuses: tuple[RecipientStatus, ...], dialect: str) -> Report | None:
    if not statuses:
        if not says_bounce(top) or (automatic(top) and not _DAEMON.search(top.text("from"))):
            return None
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
        recipients=tuple(dict.fromkeys(one.recipient for one in statuses if one.recipient)),
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


def says_bounce(top: Header) -> bool:
    """Return whether author, type or subject call the message a delivery report."""
    if _DAEMON.search(top.text("from")):
        return True
    if "delivery-status" in top.text("content-type").lower() or top.has("x-failed-recipients"):
        return True
    return _SUBJECT.search(top.text("subject")) is not None


# -- RFC 3464 -----------------------------------------------------------------------------------------------


def _groups(data: bytes) -> list[Header]:
    """Split delivery-status content at its empty lines; fields about the message and each recipient."""
    text = data[: 256 * 1024].replace(b"\r\n", b"\n")
    pieces = re.split(rb"\n[ \t]*\n+", text.strip(b"\n"))[: _MOST_RECIPIENTS + 1]
    return [header_of(piece.replace(b"\n", b"\r\n") + b"\r\n\r\n")[0] for piece in pieces]


def _statuses(data: bytes) -> Iterator[RecipientStatus]:
    for group in _groups(data):
        recipient = _typed(group, "original-recipient") or _typed(group, "final-recipient")
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
        yield RecipientStatus(recipient, action, status, diagnostic, permanent, reason)


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


def _from_text(text: str, top: Header) -> Iterator[RecipientStatus]:
    """Find failed addresses: X-Failed-Recipients, then those in the notice above the returned message."""
    failed = _ADDRESS.findall(top.text("x-failed-recipients")[:4000])
    returned = _RETURNED.search(text)
    notice = text[: returned.start()] if returned and returned.start() > 40 else text[:4000]
    ours = {address_in(top.text(name)).lower() for name in ("to", "from", "delivered-to", "reply-to")}
    for address in dict.fromkeys(failed or _ADDRESS.findall(notice)):
        plain = address_in(address)
        local = plain.partition("@")[0].lower()
        if plain.lower() in ours or local in ("postmaster", "mailer-daemon", "abuse", "support", "helpdesk"):
            continue
        around = _around(notice, address)
        if failed or reasons.classify("", around)[0] != "unknown" or _REFUSED.search(around):
            yield RecipientStatus(plain, "delayed" if _WAITING.search(notice) else "failed")


_REFUSED = re.compile(
    r"\b(?:not delivered|undeliver|fail|bounce|reject|return|error|5\d\d[ -]|"
    r"zugestellt|remis|entregad|consegnat)",
    re.IGNORECASE,
)
_WAITING = re.compile(
    r"will (?:keep|continue|be) (?:on )?(?:try|retr|attempt)|still being retried|do not need to resend|"
    r"not yet been delivered|message is delayed|warning message only",
    re.IGNORECASE,
)


def _around(text: str, address: str) -> str:
    place = text.find(address)
    return text[max(0, place - 300) : place + len(address) + 500]


def _with_reason(one: RecipientStatus, text: str) -> RecipientStatus:
    around = _around(text, one.recipient)
    status = reasons.enhanced(around)
    reason, permanent = reasons.classify(status, around)
    if one.action != "failed":
        permanent = False
    return RecipientStatus(
        one.recipient, one.action, status, " ".join(around.split())[:300], permanent, reason
    )
