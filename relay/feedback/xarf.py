"""XARF (versions 1 to 3 and 4) and the older X-ARF: abuse reports as JSON or YAML-like text.

Everything is checked by one table; what breaks it is no report, whatever else it says.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from relay.feedback.arf import original_of
from relay.feedback.parts import Header, address_in, header_of, tokens_in
from relay.feedback.report import Kind, Original, Report

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
_ADDRESS = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})+\.?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s]{1,2000}")
_HASHES = frozenset(("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ssdeep", "tlsh"))
_VERSIONS = frozenset(("alpha", "development", "1", "2", "3"))
_PAIRS = {
    "Activity": "DOS Exploit Harassment InfectedAccount LoginAttack Malware PortScan "
    "PotentiallyCompromisedAccount Spam WebCrawler",
    "Content": "Botnet ChildAbuse ChildSexualAbuseMaterial Copyright Malware Phishing Trademark",
    "Vulnerability": "OpenService",
}
#: what a type cannot do without, beside Date
_REQUIRED = {
    "Botnet": "SourceIp",
    "ChildAbuse": "SourceUrl",
    "ChildSexualAbuseMaterial": "SourceUrl",
    "Copyright": "SourceIp InfringedMaterial",
    "DOS": "SourceIp",
    "Exploit": "SourceIp SourcePort",
    "Harassment": "Harasser HarassmentLocation HarassmentType HarassmentDescription",
    "LoginAttack": "SourceIp",
    "Malware": "",
    "OpenService": "SourceIp SourcePort ServiceName",
    "Phishing": "SourceIp SourceUrl",
    "PortScan": "SourceIp",
    "PotentiallyCompromisedAccount": "Account",
    "Spam": "SourceIp",
    "Trademark": "SourceUrl TrademarkedMaterial",
    "WebCrawler": "SourceIp",
}


class _NoReportError(Exception):
    """The JSON is not a XARF report; the text says where it breaks the table."""


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
    except _NoReportError as error:
        return Report(Kind.UNKNOWN, "xarf", faults=(f"it is not valid XARF: {error}",))


def parse_text(text: str, header: Header, original: bytes, sender: str) -> Report | None:
    """Return the report of an X-ARF 0.1/0.2 mail (`Category: abuse` and `Report-Type:` lines), None otherwise."""
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
            source_ip=source if _is_ip(source) else "",
        ),
        tokens=tokens_in(inner) if kind in _TYPES else (),
    )


def _version_4(found: Mapping[str, Any], sender: str) -> Report:
    reporter = found.get("reporter")
    checks: dict[str, Any] = {
        "xarf_version": lambda text: isinstance(text, str) and text.startswith("4."),
        "timestamp": _date,
        "category": _text,
        "type": _text,
        "source_identifier": _text,
    }
    for name, good in checks.items():
        if not good(found.get(name)):
            raise _NoReportError(name)
    if not isinstance(reporter, dict) or not _text(reporter.get("org")):
        raise _NoReportError("reporter")
    kind = found["type"].lower()
    inner = _sample(found.get("evidence"), "content_type", "payload")
    messaging = found["category"] == "messaging"
    return Report(
        kind=Kind.COMPLAINT,
        dialect="xarf 4",
        feedback_type=_TYPES.get(kind, _word(kind)),
        reporter=sender or str(reporter.get("domain") or "").lower()[:253],
        recipients=_addresses(found.get("smtp_to")),
        original=_original(inner, found.get("smtp_from"), found["timestamp"], found["source_identifier"]),
        tokens=tokens_in(inner) if messaging else (),
    )


def _version_3(found: Mapping[str, Any], sender: str) -> Report:
    if str(found.get("Version", "alpha")) not in _VERSIONS:
        raise _NoReportError("Version")
    info, report = found.get("ReporterInfo"), found.get("Report")
    _check_reporter(info)
    if not isinstance(found.get("Disclosure"), bool):
        raise _NoReportError("Disclosure")
    if "OnBehalfOf" in found:
        _check_table("OnBehalfOf", found["OnBehalfOf"], _ON_BEHALF)
    if "InternalProcessing" in found:
        _check_table("InternalProcessing", found["InternalProcessing"], _INTERNAL)
    if not isinstance(report, dict):
        raise _NoReportError("Report")
    kind, subject = report.get("ReportType"), report.get("ReportClass")
    if (
        not isinstance(subject, str)
        or not isinstance(kind, str)
        or kind not in _PAIRS.get(subject, "").split()
    ):
        raise _NoReportError("ReportClass and ReportType")
    missing = [name for name in ("Date", *_REQUIRED.get(kind, "").split()) if name not in report]
    if (
        kind == "Malware"
        and subject == "Content"
        and str(found.get("Version", "alpha")) in ("alpha", "1", "2")
    ):
        missing += [name for name in ("SourceUrl",) if name not in report]
    if missing:
        raise _NoReportError(f"{missing[0]} is missing")
    _check_fields(report, kind)
    inner = _sample(report.get("Samples"), "ContentType", "Payload")
    claimed = info.get("ReporterOrgDomain", "") if isinstance(info, dict) else ""
    return Report(
        kind=Kind.COMPLAINT,
        dialect=f"xarf {found.get('Version', 'alpha')}",
        feedback_type=_TYPES.get(kind.lower(), _word(kind)),
        reporter=sender or claimed.lower(),
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
        source_ip=source if isinstance(source, str) and _is_ip(source) else "",
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
    return re.sub(r"[^a-z0-9_-]", "", text.lower())[:40]


# -- the table -------------------------------------------------------------------------------------------------


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 10_000


def _is_ip(value: object) -> bool:
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True


def _port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _asn(value: object) -> bool:
    return _count(value) and isinstance(value, int) and value < 2**32


def _date(value: object) -> bool:
    try:
        datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return isinstance(value, str) and len(value) > 10


def _mailbox(value: object) -> bool:
    return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None


def _host(value: object) -> bool:
    return isinstance(value, str) and _HOST.fullmatch(value) is not None


def _url(value: object) -> bool:
    return isinstance(value, str) and _URL.fullmatch(value) is not None


def _phone(value: object) -> bool:
    return isinstance(value, str) and 2 < len(value) < 60


def _hash(value: object) -> bool:
    if isinstance(value, str):
        return bool(value)
    return isinstance(value, dict) and _text(value.get("HashValue")) and value.get("HashAlgorithm") in _HASHES


def _scalars(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, str | int | float | bool) for one in value.values()
    )


def _cvss(value: object) -> bool:
    if not isinstance(value, dict) or value.get("Version") not in ("2", "3.0", "3.1"):
        return False
    vector = value.get("Vector")
    if not isinstance(vector, str) or not isinstance(value.get("Score"), int | float):
        return False
    return vector.startswith(f"CVSS:{value['Version']}/") or (
        value["Version"] == "2" and vector.startswith("AV:")
    )


def _account(value: object) -> bool:
    known: dict[str, Any] = {
        "AccountName": _text,
        "AccountEmail": _mailbox,
        "AccountNumber": _count,
        "AccountIdentifier": lambda one: _text(one) and not _mailbox(one),
    }
    if not isinstance(value, dict) or not value:
        return False
    return all(name in known and known[name](one) for name, one in value.items())


def _samples(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(
        isinstance(one, dict)
        and _text(one.get("ContentType"))
        and isinstance(one.get("Base64Encoded"), bool)
        and isinstance(one.get("Payload"), str)
        for one in value
    )


_FIELDS: dict[str, Any] = {
    "Account": _account,
    "ASN": _asn,
    "AttackerIp": _is_ip,
    "AttackerPort": _port,
    "BotnetName": _text,
    "ByteCount": _count,
    "CourtOrder": _url,
    "Custom": _scalars,
    "CVE": lambda value: isinstance(value, str) and bool(re.fullmatch(r"CVE-\d{4}-\d{4,}", value)),
    "CVSS": _cvss,
    "Date": _date,
    "DestinationIp": _is_ip,
    "DestinationPort": _port,
    "FileHash": _hash,
    "FileName": _text,
    "FileSize": _count,
    "FirstSeen": _date,
    "FromAddress": _mailbox,
    "InfringedMaterial": _text,
    "InfringingUrl": _url,
    "MaterialType": _text,
    "NumberOfIncidents": _count,
    "Ongoing": _flag,
    "PacketCount": _count,
    "PasswordHash": _hash,
    "ReporterCaseID": _text,
    "ReporterNotes": _text,
    "ReporterSeverity": lambda value: value in ("low", "medium", "high", "critical"),
    "ReportSubType": _text,
    "RpzDomain": _host,
    "Samples": _samples,
    "ServiceName": _text,
    "ServiceVersion": _text,
    "SmtpMailFromAddress": _mailbox,
    "SmtpRcptToAddress": _mailbox,
    "SourceIp": _is_ip,
    "SourcePort": _port,
    "SourceUrl": _url,
    "TimeframeSeconds": _count,
    "TransportProtocol": lambda value: value in ("tcp", "udp", "sctp", "icmp"),
}
_REPORTER = {
    "ReporterType": _text,
    "ReporterOrg": _text,
    "ReporterOrgDomain": _host,
    "ReporterOrgEmail": _mailbox,
    "ReporterContactEmail": _mailbox,
    "ReporterContactName": _text,
    "ReporterContactPhone": _phone,
}
_ON_BEHALF = {
    "ComplainantOrg": _text,
    "ComplainantOrgDomain": _host,
    "ComplainantOrgEmail": _mailbox,
    "ComplainantContactEmail": _mailbox,
    "ComplainantContactName": _text,
    "ComplainantContactPhone": _phone,
}
_INTERNAL = {
    "SubscriberInformation": lambda value: isinstance(value, dict) and _text(value.get("ID")),
    "EventTags": lambda value: isinstance(value, list) and all(_text(one) for one in value),
}


def _check_table(where: str, value: object, known: Mapping[str, Any]) -> None:
    if not isinstance(value, dict) or not value:
        raise _NoReportError(where)
    for name, one in value.items():
        if name in known and not known[name](one):
            raise _NoReportError(f"{where}.{name}")


def _check_reporter(info: object) -> None:
    _check_table("ReporterInfo", info, _REPORTER)
    if not isinstance(info, dict) or (unknown := info.keys() - _REPORTER.keys()):
        raise _NoReportError(f"ReporterInfo.{min(unknown) if isinstance(info, dict) else ''}")
    if not (_text(info.get("ReporterOrg")) or _text(info.get("ReporterContactName"))):
        raise _NoReportError("ReporterInfo names nobody")


def _check_fields(report: Mapping[str, Any], kind: str) -> None:
    for name, value in report.items():
        if name in _FIELDS and not _FIELDS[name](value):
            raise _NoReportError(name)
    if kind == "PotentiallyCompromisedAccount" and {"SourceIp", "SourceUrl", "SourcePort"} & report.keys():
        raise _NoReportError("an account has no source address")
