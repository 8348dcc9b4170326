"""XARF (versions 1 to 3 and 4) and the older X-ARF: abuse reports as JSON or YAML-like text.

Everything is checked by one table; what breaks it is no report, whatever else it says.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any

from relay.feedback.arf import original_of
from relay.feedback.parts import Header, address_in, header_of, tokens_in
from relay.feedback.report import Kind, Original, Report
from relay.feedback.xarf_format import NotXarfError, check_version_3, check_version_4, host, is_ip

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 4 * 1024 * 1024
_MOST_SAMPLES = 50
#: ReportType in lower case -> our feedback type
_TYPES = {
    "spam": "abuse",
    "phishing": "fraud",
    "malware": "virus",
    "virus": "virus",
    "fraud": "fraud",
    "bulk_messaging": "abuse",
}


def parse_json(raw: bytes, sender: str = "") -> Report | None:
    """Return the XARF report that these bytes are, None if they are no JSON object of that kind.

    One that breaks the format gives kind unknown and says where; never raises. `sender` is the domain that
    sent it, for reports in mail.
    """
    try:
        found = json.loads(raw[:MAX_BYTES].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not (
        {"ReporterInfo", "Report", "xarf_version", "Version"} & found.keys()
    ):
        return None
    try:
        return _version_4(found, sender) if "xarf_version" in found else _version_3(found, sender)
    except NotXarfError as error:
        return Report(Kind.UNKNOWN, "xarf", faults=(f"it is not valid XARF: {error}",))


def parse_text(text: str, header: Header, original: bytes, sender: str) -> Report | None:
    """Return the report of an X-ARF 0.1/0.2 mail (lines such as `Category: abuse`), None if it is none."""
    said: dict[str, str] = {}
    for line in text.splitlines()[:200]:
        name, colon, value = line.partition(":")
        if colon and name.strip():
            said.setdefault(name.strip().lower(), value.strip().strip("'\"")[:1000])
    if not {"category", "report-type"} <= said.keys():
        return None
    inner = header_of(original)[0] if original else Header({})
    kind = said["report-type"].lower()
    source = said.get("source", "")
    return Report(
        kind=Kind.COMPLAINT,
        dialect="x-arf " + header.text("x-xarf").lower()[:10] if header.has("x-xarf") else "x-arf",
        feedback_type=_TYPES.get(kind, _word(kind)),
        reporter=sender or address_in(said.get("reported-from", "")).rpartition("@")[2],
        original=Original(
            message_id=inner.text("message-id")[:300],
            author=address_in(inner.text("from")),
            date=said.get("date", "")[:80],
            source_ip=source if is_ip(source) else "",
        ),
        tokens=tokens_in(inner) if kind in _TYPES else (),
    )


def _version_4(found: Mapping[str, Any], sender: str) -> Report:
    check_version_4(found)
    reporter = found["reporter"]
    kind = found["type"].lower()
    inner = _sample(found.get("evidence"), "content_type", "payload")
    messaging = found["category"] == "messaging"
    return Report(
        kind=Kind.COMPLAINT,
        dialect="xarf 4",
        feedback_type=_TYPES.get(kind, _word(kind)),
        reporter=sender or host(reporter.get("domain")),
        recipients=_addresses(found.get("smtp_to")),
        original=_original(inner, found.get("smtp_from"), found["timestamp"], found["source_identifier"]),
        tokens=tokens_in(inner) if messaging else (),
    )


def _version_3(found: Mapping[str, Any], sender: str) -> Report:
    check_version_3(found)
    info, report = found["ReporterInfo"], found["Report"]
    kind = report["ReportType"]
    inner = _sample(report.get("Samples"), "ContentType", "Payload")
    claimed = host(info.get("ReporterOrgDomain"))
    return Report(
        kind=Kind.COMPLAINT,
        dialect=f"xarf {found.get('Version', 'alpha')}",
        feedback_type=_TYPES.get(kind.lower(), _word(kind)),
        reporter=sender or claimed,
        recipients=_addresses(report.get("SmtpRcptToAddress")),
        original=_original(
            inner,
            report.get("SmtpMailFromAddress") or report.get("FromAddress"),
            report["Date"],
            report.get("SourceIp"),
        ),
        tokens=tokens_in(inner) if kind in ("Spam", "Phishing", "Malware") else (),
    )


def _original(inner: Header, mail_from: object, date: object, source: object) -> Original:
    told = original_of(inner, Header({}))
    return Original(
        message_id=told.message_id,
        mail_from=address_in(mail_from) if isinstance(mail_from, str) else told.mail_from,
        author=told.author,
        date=str(date)[:80],
        source_ip=source if isinstance(source, str) and is_ip(source) else "",
        recipient_from="report",
    )


def _addresses(value: object) -> tuple[str, ...]:
    return tuple(filter(None, (address_in(value),))) if isinstance(value, str) else ()


def _sample(samples: object, media: str, payload: str) -> Header:
    """Return the header of the message among the samples."""
    for sample in samples[:_MOST_SAMPLES] if isinstance(samples, list) else ():
        if not isinstance(sample, dict) or "rfc822" not in str(sample.get(media, "")):
            continue
        text = sample.get(payload)
        if not isinstance(text, str):
            continue
        if media == "content_type" or sample.get("Base64Encoded"):
            try:
                return header_of(base64.b64decode(text + "=" * (-len(text) % 4)))[0]
            except (binascii.Error, ValueError):
                continue
        return header_of(text.encode("utf-8", "surrogateescape"))[0]
    return Header({})


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("-")[:40]
