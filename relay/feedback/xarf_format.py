"""What a XARF report must look like: one table of fields, and what each kind of report cannot do without."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class NotXarfError(Exception):
    """The JSON is not a XARF report; the text says where it breaks the format."""


def check_version_3(found: Mapping[str, Any]) -> None:
    """Check a report of versions 1 to 3; NotXarfError says where it breaks the format."""
    if str(found.get("Version", "alpha")) not in _VERSIONS:
        raise NotXarfError("Version")
    report = found.get("Report")
    _check_reporter(found.get("ReporterInfo"))
    if not isinstance(found.get("Disclosure"), bool):
        raise NotXarfError("Disclosure")
    if "OnBehalfOf" in found:
        _check_table("OnBehalfOf", found["OnBehalfOf"], _ON_BEHALF)
    if "InternalProcessing" in found:
        _check_table("InternalProcessing", found["InternalProcessing"], _INTERNAL)
    if not isinstance(report, dict):
        raise NotXarfError("Report")
    kind, subject = report.get("ReportType"), report.get("ReportClass")
    if (
        not isinstance(subject, str)
        or not isinstance(kind, str)
        or kind not in _PAIRS.get(subject, "").split()
    ):
        raise NotXarfError("ReportClass and ReportType")
    missing = [name for name in ("Date", *_REQUIRED.get(kind, "").split()) if name not in report]
    if (
        kind == "Malware"
        and subject == "Content"
        and str(found.get("Version", "alpha")) in ("alpha", "1", "2")
    ):
        missing += [name for name in ("SourceUrl",) if name not in report]
    if missing:
        raise NotXarfError(f"{missing[0]} is missing")
    _check_fields(report, kind)


def check_version_4(found: Mapping[str, Any]) -> None:
    """Check what this program reads of a version 4 report; NotXarfError."""
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
            raise NotXarfError(name)
    if not isinstance(reporter, dict) or not _text(reporter.get("org")):
        raise NotXarfError("reporter")


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 10_000


def is_ip(value: object) -> bool:
    """Return whether a value is an IP address in text."""
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


def host(value: object) -> str:
    """Return a host name in lower case, "" for anything else."""
    return value.lower().rstrip(".") if isinstance(value, str) and _host(value) else ""


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
    "AttackerIp": is_ip,
    "AttackerPort": _port,
    "BotnetName": _text,
    "ByteCount": _count,
    "CourtOrder": _url,
    "Custom": _scalars,
    "CVE": lambda value: isinstance(value, str) and bool(re.fullmatch(r"CVE-\d{4}-\d{4,}", value)),
    "CVSS": _cvss,
    "Date": _date,
    "DestinationIp": is_ip,
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
    "SourceIp": is_ip,
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
        raise NotXarfError(where)
    for name, one in value.items():
        if name in known and not known[name](one):
            raise NotXarfError(f"{where}.{name}")


def _check_reporter(info: object) -> None:
    _check_table("ReporterInfo", info, _REPORTER)
    if not isinstance(info, dict) or info.keys() - _REPORTER.keys():
        raise NotXarfError("ReporterInfo has a field that is not known")
    if not (_text(info.get("ReporterOrg")) or _text(info.get("ReporterContactName"))):
        raise NotXarfError("ReporterInfo names nobody")


def _check_fields(report: Mapping[str, Any], kind: str) -> None:
    for name, value in report.items():
        if name in _FIELDS and not _FIELDS[name](value):
            raise NotXarfError(name)
    if kind == "PotentiallyCompromisedAccount" and {"SourceIp", "SourceUrl", "SourcePort"} & report.keys():
        raise NotXarfError("an account has no source address")
