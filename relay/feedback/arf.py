"""ARF (RFC 5965, 6430, 6591, 6650) and its relatives: Microsoft JMRP, Yahoo, redaction, CFBL (RFC 9477)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from relay.feedback import parts as splitting
from relay.feedback.parts import Header, Part, address_in, author_domain, header_of
from relay.feedback.report import Kind, Original, Report
from relay.feedback.xarf_format import is_ip

if TYPE_CHECKING:
    from collections.abc import Sequence

#: media types of the original-message part: whole, or its header alone
ORIGINALS = frozenset(
    (
        "message/rfc822",
        "message/global",
        "message/rfc822-headers",
        "text/rfc822-headers",
        "message/global-headers",
    )
)
#: what makers write for a registered type
_ALIASES = {
    "spam": "abuse",
    "junk": "abuse",
    "complaint": "abuse",
    "phishing": "fraud",
    "notspam": "not-spam",
    "not_spam": "not-spam",
    "optout": "opt-out",
}
_MOST_RECIPIENTS = 20
_MOST_TEXT = 64 * 1024
_REDACTED = re.compile(r"redacted|x{4,}|\*{3,}|anonymi[sz]ed|undisclosed", re.IGNORECASE)
_JMRP_SUBJECT = "complaint about message from"
#: header fields of the reported message that name who got it, best first
_DELIVERED = ("x-hmxmr-originalrecipient", "x-original-to", "delivered-to", "x-envelope-to", "envelope-to")
_STATED = re.compile(rb"(?:\A|\n)feedback-type[ \t]*:", re.IGNORECASE)
_BLANK = re.compile(rb"\n[ \t]*\r?\n")
#: what programs write that pass mail on (RFC 5322 §3.6.6, and common use)
_PASSED_ON = (
    "resent-from",
    "resent-to",
    "x-forwarded-to",
    "x-forwarded-for",
    "x-forwarded-by",
    "delivered-to",
)
_FOR = re.compile(rb"\bfor\s+<([^<>\s]{3,320})>")


def parse(found: Sequence[Part]) -> Report | None:
    """Return the complaint that these parts are, None if they are none; never raises."""
    feedback = next((part for part in found if part.media == "message/feedback-report"), None)
    if feedback is None and "feedback-report" in found[0].header.text("content-type").lower():
        # some makers call the part text
        texts = (part for part in found[1:] if part.media.startswith("text/"))
        feedback = next((part for part in texts if header_of(part.data)[0].has("feedback-type")), None)
    if feedback is None and not any("delivery-status" in part.media for part in found):
        # others send it all as text, or its type got lost on the way
        feedback = next((fields for part in found[:20] if (fields := _fields_in(part)) is not None), None)
    if feedback is not None:
        return _arf(found, feedback)
    return _jmrp(found)


def _fields_in(part: Part) -> Part | None:
    """Return the block of lines around `Feedback-Type:` in a text, None if its other fields are missing."""
    data = part.data[:_MOST_TEXT]
    stated = _STATED.search(data)
    if stated is None or not part.media.startswith("text/"):
        return None
    before = [one.end() for one in _BLANK.finditer(data, 0, stated.end())]
    after = _BLANK.search(data, stated.end())
    block = data[before[-1] if before else 0 : after.start() if after else len(data)]
    header = header_of(block.strip() + b"\r\n\r\n")[0]
    told = header.has("feedback-type") and (header.has("user-agent") or header.has("version"))
    return replace(part, data=block) if told else None


def _arf(found: Sequence[Part], feedback: Part) -> Report:
    top = found[0].header
    said = header_of(feedback.data.lstrip(b"\r\n"))[0]
    original = next((part for part in found if part.media in ORIGINALS), None)
    inner = header_of(original.data)[0] if original else Header({})
    kind, faults = feedback_type(said), []
    if not kind:
        faults.append("its Feedback-Type is missing")
    if original is None:
        faults.append("it has no part with the original message")
    recipients, source = _recipients(said, inner)
    if kind == "auth-failure":
        faults.append("an authentication failure report is no complaint")
    return Report(
        kind=Kind.UNKNOWN if kind == "auth-failure" else Kind.COMPLAINT,
        dialect=_dialect(said, inner),
        feedback_type=kind,
        reporter=author_domain(top),
        recipients=recipients,
        original=original_of(inner, said, source),
        tokens=splitting.tokens_in(inner),
        incidents=_number(said.text("incidents")),
        faults=tuple(faults),
    )


def _jmrp(found: Sequence[Part]) -> Report | None:
    """Read Microsoft's Junk Mail Reporting: a note and the message, without a feedback-report part."""
    top = found[0].header
    original = next((part for part in found[1:] if part.media in ORIGINALS), None)
    if original is None:
        return None
    inner = header_of(original.data)[0]
    marked = top.has("x-hmxmr-originalrecipient") or inner.has("x-hmxmr-originalrecipient")
    if not marked and not top.text("subject").lower().startswith(_JMRP_SUBJECT):
        return None
    named = address_in(top.text("x-hmxmr-originalrecipient"))
    recipients, source = ((named,), "report") if named else _recipients(Header({}), inner)
    return Report(
        kind=Kind.COMPLAINT,
        dialect="jmrp",
        feedback_type="abuse",
        reporter=author_domain(top),
        recipients=recipients,
        original=original_of(inner, Header({}), source),
        tokens=splitting.tokens_in(inner),
    )


def feedback_type(said: Header) -> str:
    """Return the registered spelling of the report's type, "" if there is none."""
    words = said.text("feedback-type").lower().strip().strip(";\"'").split()
    kind = re.sub(r"[^a-z0-9_-]", "", words[0]).lstrip("-")[:40] if words else ""
    return _ALIASES.get(kind, kind)


def _dialect(said: Header, inner: Header) -> str:
    agent = said.text("user-agent").lower()
    if inner.has("x-hmxmr-originalrecipient") or "jmrp" in agent or "hotmail" in agent:
        return "arf/jmrp"
    for word, dialect in (("yahoo", "arf/yahoo"), ("aol", "arf/aol"), ("returnpath", "arf/returnpath")):
        if word in agent:
            return dialect
    return "arf/cfbl" if inner.has("cfbl-feedback-id") and said.has("cfbl-feedback-id") else "arf"


def _recipients(said: Header, inner: Header) -> tuple[tuple[str, ...], str]:
    """Return who complained as the report says, else as the message inside shows, and which it was."""
    stated = [*said.texts("original-rcpt-to"), *said.texts("removal-recipient")]
    several = [one for text in stated[:_MOST_RECIPIENTS] for one in text[:4000].split(",")]
    named = [address_in(one) for one in several[: 5 * _MOST_RECIPIENTS] if not _REDACTED.search(one)]
    if found := tuple(dict.fromkeys(filter(None, named)))[:_MOST_RECIPIENTS]:
        return found, "report"
    for name in _DELIVERED:
        if inner.has(name) and (address := _plain(inner.text(name))):
            return (address,), "message"
    for received in reversed(inner.named.get("received", [])[:50]):
        if match := _FOR.search(received[:2000]):
            return tuple(filter(None, (_plain(match[1].decode("latin-1")),))), "message"
    to = inner.text("to")
    if to.count("@") == 1 and not inner.has("cc") and (address := _plain(to)):
        return (address,), "message"
    return (), ""


def _plain(text: str) -> str:
    return "" if _REDACTED.search(text) else address_in(text)


def original_of(inner: Header, said: Header, recipient_from: str = "") -> Original:
    """Return what report and message tell of the original; where both speak, the report's own field wins."""
    source = said.text("source-ip").split()
    return Original(
        message_id=inner.text("message-id")[:300],
        mail_from=address_in(said.text("original-mail-from")) or address_in(inner.text("return-path")),
        author=address_in(inner.text("from")),
        date=(said.text("arrival-date") or said.text("received-date") or inner.text("date"))[:80],
        source_ip=address if source and is_ip(address := source[0].strip("[]();,")) else "",
        recipient_from=recipient_from,
        passed_on=any(inner.has(name) for name in _PASSED_ON),
    )


def _number(text: str) -> int:
    return max(1, min(int(text), 1_000_000)) if text.isascii() and text.isdigit() and len(text) < 8 else 1
