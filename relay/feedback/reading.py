"""One report from bytes, whatever it is: the dialects in the order in which they are tried."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from relay.feedback import arf, dsn, providers, xarf
from relay.feedback import parts as splitting
from relay.feedback.parts import Header, Part, author_domain, header_of
from relay.feedback.report import Kind, Original, Report
from relay.feedback.xarf_format import is_ip

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Larger reports are read this far.
MAX_BYTES = 8 * 1024 * 1024
_MOST_FIELDS = 8
_AGGREGATE = re.compile(r"report domain:.*submitter:|\bdmarc aggregate\b|aggregate report", re.IGNORECASE)
_ARCHIVES = frozenset(
    (
        "application/zip",
        "application/gzip",
        "application/x-gzip",
        "application/x-zip-compressed",
        "text/xml",
        "application/xml",
    )
)
_SIGNATURES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive"}


def read(raw: bytes) -> Report:
    """Return what a report says; kind unknown and a reason for whatever is none. Never raises; linear."""
    raw = raw[:MAX_BYTES]
    if plain := _not_mail(raw):
        return plain
    found = splitting.parts_of(_without_mbox(raw))
    report = _of_mail(found, raw)
    counted = set(report.tokens)
    stray = tuple(one for one in splitting.stray_tokens(raw) if one not in counted)
    return dataclasses.replace(report, stray_tokens=stray) if stray else report


def addressed_to(raw: bytes) -> Iterator[str]:
    """Yield what a message's header says of where it was sent, as the hosts on its way wrote it."""
    head = raw[: 64 * 1024].lstrip(b"\r\n")
    if head[:1] in (b"{", b"["):
        return
    top = header_of(head)[0]
    for field in ("to", "delivered-to", "x-original-to", "envelope-to"):
        yield from top.texts(field)[:_MOST_FIELDS]


def _not_mail(raw: bytes) -> Report | None:
    head = raw[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"{", b"[")):
        if report := xarf.parse_json(raw):
            return report
        if report := providers.parse(raw):
            return report
        if b"organization-name" in raw and b"policies" in raw:
            return _unknown("a TLS report (RFC 8460) is no complaint", "tls-report")
        return _unknown("JSON that is no report we know")
    if head.startswith((b"<?xml", b"<feedback")):
        return _unknown("a DMARC aggregate report is no complaint", "dmarc")
    for signature, name in _SIGNATURES.items():
        if raw.startswith(signature):
            return _unknown(f"{name}, not a message")
    return _unknown("it is empty") if not raw.strip() else None


def _without_mbox(raw: bytes) -> bytes:
    """Drop the envelope line of a saved mailbox."""
    if raw.startswith((b"From ", b">From ")):
        return raw[raw.find(b"\n") + 1 :]
    return raw.lstrip(b"\r\n")


def _of_mail(found: list[Part], raw: bytes) -> Report:
    top = found[0].header
    subject = top.text("subject")
    for report in (arf.parse(found), _xarf(found, top)):
        if report is not None:
            return report
    if other := _other_report(found, top, subject):
        return other
    if report := dsn.parse(found, raw):
        return report
    if top.has("x-spamcop-sourceip") or author_domain(top) == "reports.spamcop.net":
        source = top.text("x-spamcop-sourceip")
        original = Original(source_ip=source if is_ip(source) else "")
        return Report(Kind.COMPLAINT, "spamcop", "abuse", author_domain(top), original=original)
    if forwarded := _forwarded(found, top):
        return forwarded
    if dsn.automatic(top):
        return _unknown("an automatic reply", reporter=author_domain(top))
    return _unknown("not a report that we know", reporter=author_domain(top))


def _xarf(found: list[Part], top: Header) -> Report | None:
    """Read XARF in mail: its JSON part, or the text part of the older form."""
    sender = author_domain(top)
    original = next((part.data for part in found[1:] if part.media in arf.ORIGINALS), b"")
    marked = top.has("x-xarf") or top.has("x-arf")
    for part in found[:20]:
        looks = "json" in part.media or (marked and part.media.startswith("text/"))
        if looks and part.data.lstrip()[:1] == b"{":
            report = xarf.parse_json(part.data, sender)
            if report is None:
                continue
            if not report.tokens and report.kind is Kind.COMPLAINT and original:
                report = dataclasses.replace(report, tokens=splitting.tokens_in(header_of(original)[0]))
            return report
        if (
            marked
            and part.media.startswith("text/")
            and (report := xarf.parse_text(part.text, top, original, sender))
        ):
            return report
    return None


def _other_report(found: list[Part], top: Header, subject: str) -> Report | None:
    """Recognise reports that are no complaints: TLS, DMARC, read receipts."""
    kind = top.text("content-type").lower()
    media = {part.media for part in found}
    reporter = author_domain(top)
    if "tlsrpt" in kind or any("tlsrpt" in one for one in media) or top.has("tls-report-domain"):
        return _unknown("a TLS report (RFC 8460) is no complaint", "tls-report", reporter)
    if "message/disposition-notification" in media and not dsn.says_bounce(top):
        return _unknown("a read receipt is no complaint", "disposition-notification", reporter)
    archive = bool(media & _ARCHIVES) or any(_named_archive(part) for part in found)
    if _AGGREGATE.search(subject) or (archive and "dmarc" in (subject + top.text("from")).lower()):
        return _unknown("a DMARC aggregate report is no complaint", "dmarc", reporter)
    if archive and "!" in "".join(name for part in found for name in part.named.get("name", ())):
        return _unknown("a DMARC aggregate report is no complaint", "dmarc", reporter)
    if re.search(r"dmarc (?:forensic|failure) report", subject, re.IGNORECASE):
        return _unknown("an authentication failure report is no complaint", "auth-failure", reporter)
    return None


def _named_archive(part: Part) -> bool:
    return any(name.lower().endswith((".zip", ".gz", ".xml")) for name in part.named.get("name", ()))


def _forwarded(found: list[Part], top: Header) -> Report | None:
    """Read a person's forward of a message: it may tell whose message it is, and never counts."""
    original = next((part for part in found[1:] if part.media in arf.ORIGINALS), None)
    if original is None:
        return None
    inner = header_of(original.data)[0]
    return Report(
        kind=Kind.UNKNOWN,
        dialect="forward",
        reporter=author_domain(top),
        original=arf.original_of(inner, Header({})),
        faults=("a forwarded message, not a report",),
    )


def _unknown(why: str, feedback_type: str = "", reporter: str = "") -> Report:
    return Report(Kind.UNKNOWN, feedback_type=feedback_type, reporter=reporter, faults=(why,))
