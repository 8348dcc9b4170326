"""SMTP commands as values: pure, strict, octets in, a value or the Reply that refuses them out.

RFC 5321 §4.1, RFC 1870 (SIZE), 6152 (BODY), 6531 (SMTPUTF8), 3461 (DSN), 4954 §5 (AUTH=), 3030 (BDAT).
Ordinary addresses pass by one regular expression; quoted local parts, address literals, other letters than
ASCII and rare parameters take the slow way. Nothing is guessed: what could be read in two ways is refused.

Deviations, all stricter but one: source routes (`<@a,@b:c@d>`) are refused; a blank after `FROM:` and `TO:`
is let pass because scanners and printers send it.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import idna

from relay.smtp import reply as replies
from relay.smtp.framing import LINE_OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.smtp.reply import Reply

#: Longest command line but for AUTH: 512 and what the extensions add (RFC 5321 §4.5.3.1.4), generously.
COMMAND_OCTETS = 2046
AUTH_OCTETS = LINE_OCTETS - 2
LOCAL_PART_OCTETS = 64
ADDRESS_OCTETS = 254

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LOCAL = rf"{_ATOM}(?:\.{_ATOM})*"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_PLAIN_MAIL = re.compile(
    rf"FROM: ?<(?:({_LOCAL})@({_DOMAIN}))?>(?: SIZE=([0-9]{{1,18}}))?(?: BODY=(7BIT|8BITMIME))?".encode(),
    re.IGNORECASE,
)
_PLAIN_RCPT = re.compile(rf"TO: ?<({_LOCAL})@({_DOMAIN})>".encode(), re.IGNORECASE)
_PATH = re.compile(rb'(?:FROM|TO): ?<((?:"(?:[^"\\]|\\.)*"|[^">])*)>(?: (.*))?', re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(rf'({_LOCAL}|"(?:[ !#-\[\]-~]|\\[ -~])*")@({_DOMAIN}|\[[^\]\[\\@ ]{{1,100}}\])')
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_ORCPT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9-]{0,40};(?:[!-*,-<>-~\x80-\U0010ffff]|\+[0-9A-F]{2}|\\x\{[0-9A-Fa-f]{2,6}\})+"
)
_HELO = re.compile(rb"(?:[!-Z^-~]|\[[!-Z^-~]*\])[!-Z^-~]{0,254}")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL FROM; `sender` is empty for `<>`; ENVID and AUTH= stay in xtext as they came."""

    sender: str
    size: int | None = None
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    auth: str | None = None


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT TO; `notify` in capitals, `orcpt` as it came (`rfc822;xtext`)."""

    recipient: str
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """BDAT."""

    octets: int
    last: bool


def mail_from(argument: bytes) -> MailFrom | Reply:
    """Parse what follows `MAIL `."""
    plain = _PLAIN_MAIL.fullmatch(argument)
    if plain is not None:
        local, domain, size, body = plain.groups()
        sender = ""
        if local is not None:
            if not _fits(local, domain):
                return replies.BAD_SENDER
            sender = (local + b"@" + domain).decode("ascii")
        return MailFrom(sender, int(size) if size else None, body.decode("ascii").upper() if body else "7BIT")
    path = _PATH.fullmatch(argument)
    if path is None or argument[:5].upper() != b"FROM:":
        return replies.BAD_MAIL
    parameters = _parameters(path[2])
    if not isinstance(parameters, dict):
        return parameters
    values = _mail_values(parameters)
    if not isinstance(values, MailFrom):
        return values
    if not path[1]:
        return values
    address = _address(
        path[1], utf8=values.smtputf8, bad=replies.BAD_SENDER, ascii_only=replies.SENDER_NEEDS_UTF8
    )
    return replace(values, sender=address) if isinstance(address, str) else address


def rcpt_to(argument: bytes, *, utf8: bool = False) -> RcptTo | Reply:
    """Parse what follows `RCPT `; `utf8`: MAIL said SMTPUTF8."""
    plain = _PLAIN_RCPT.fullmatch(argument)
    if plain is not None:
        local, domain = plain.groups()
        if not _fits(local, domain):
            return replies.BAD_RECIPIENT
        return RcptTo((local + b"@" + domain).decode("ascii"))
    path = _PATH.fullmatch(argument)
    if path is None or argument[:3].upper() != b"TO:":
        return replies.BAD_RCPT
    parameters = _parameters(path[2])
    if not isinstance(parameters, dict):
        return parameters
    if not parameters.keys() <= {"NOTIFY", "ORCPT"}:
        return replies.NO_SUCH_PARAMETER
    notify = _notify(parameters["NOTIFY"]) if "NOTIFY" in parameters else ()
    orcpt = parameters.get("ORCPT")
    if notify is None or ("ORCPT" in parameters and not _is_orcpt(orcpt, utf8=utf8)):
        return replies.BAD_PARAMETER
    if path[1].lower() == b"postmaster":
        return RcptTo("postmaster", notify, orcpt)  # RFC 5321 §4.1.1.3: without a domain
    recipient = _address(
        path[1], utf8=utf8, bad=replies.BAD_RECIPIENT, ascii_only=replies.RECIPIENT_NEEDS_UTF8
    )
    return RcptTo(recipient, notify, orcpt) if isinstance(recipient, str) else recipient


def bdat(argument: bytes) -> Chunk | Reply:
    """Parse what follows `BDAT `."""
    octets, _, last = argument.partition(b" ")
    if not octets.isdigit() or len(octets) > 18 or last.upper() not in (b"", b"LAST"):
        return replies.BAD_BDAT
    if argument.endswith(b" "):
        return replies.BAD_BDAT
    return Chunk(int(octets), last=bool(last))


def helo(argument: bytes) -> str | Reply:
    """Parse what follows `EHLO ` or `HELO `: a name or an address literal, not checked against anything."""
    name = argument.strip(b" ")
    return name.decode("ascii") if _HELO.fullmatch(name) else replies.BAD_HELO


def _fits(local: bytes, domain: bytes) -> bool:
    return len(local) <= LOCAL_PART_OCTETS and len(local) + len(domain) + 1 <= ADDRESS_OCTETS


def _parameters(text: bytes | None) -> dict[str, str | None] | Reply:
    """Split ESMTP parameters (RFC 5321 §4.1.2): keywords in capitals, values as they came."""
    if text is None:
        return {}
    found: dict[str, str | None] = {}
    for word in text.split(b" "):
        match = _PARAMETER.fullmatch(word)
        if match is None:
            # `SIZE=` without a value is a wrong value, not an unknown word
            known = word.partition(b"=")[0].upper() in (
                b"SIZE",
                b"BODY",
                b"RET",
                b"ENVID",
                b"AUTH",
                b"NOTIFY",
                b"ORCPT",
            )
            return replies.BAD_PARAMETER if known or not word else replies.NO_SUCH_PARAMETER
        keyword = match[1].decode("ascii").upper()
        if keyword in found:
            return replies.BAD_PARAMETER
        try:
            found[keyword] = match[2].decode("utf-8") if match[2] is not None else None
        except UnicodeDecodeError:
            return replies.BAD_PARAMETER
    return found


def _mail_values(parameters: dict[str, str | None]) -> MailFrom | Reply:
    if not parameters.keys() <= _MAIL_CHECKS.keys():
        return replies.NO_SUCH_PARAMETER
    for keyword, value in parameters.items():
        if not _MAIL_CHECKS[keyword](value):
            return replies.BAD_SIZE if keyword == "SIZE" else replies.BAD_PARAMETER
    size, ret = parameters.get("SIZE"), parameters.get("RET")
    return MailFrom(
        "",
        int(size) if size is not None else None,
        (parameters.get("BODY") or "7BIT").upper(),
        "SMTPUTF8" in parameters,
        ret.upper() if ret is not None else None,
        parameters.get("ENVID"),
        parameters.get("AUTH"),
    )


def _is_xtext(value: str | None, octets: int) -> bool:
    return value is not None and 0 < len(value) <= octets and _XTEXT.fullmatch(value) is not None


_MAIL_CHECKS: dict[str, Callable[[str | None], bool]] = {
    "SIZE": lambda value: value is not None and value.isascii() and value.isdigit() and len(value) <= 18,
    "BODY": lambda value: value is not None and value.upper() in ("7BIT", "8BITMIME"),
    "SMTPUTF8": lambda value: value is None,
    "RET": lambda value: value is not None and value.upper() in ("FULL", "HDRS"),
    "ENVID": lambda value: _is_xtext(value, 100),
    "AUTH": lambda value: value == "<>" or _is_xtext(value, 500),
}


def _notify(value: str | None) -> tuple[str, ...] | None:
    """Return NOTIFY's words, None if they are wrong (RFC 3461 §4.1)."""
    words = tuple((value or "").upper().split(","))
    if words == ("NEVER",) or (set(words) <= _NOTIFY and len(set(words)) == len(words)):
        return words
    return None


def _is_orcpt(value: str | None, *, utf8: bool) -> bool:
    return (
        value is not None
        and len(value) <= 500
        and (utf8 or value.isascii())
        and _ORCPT.fullmatch(value) is not None
    )


def _address(raw: bytes, *, utf8: bool, bad: Reply, ascii_only: Reply) -> str | Reply:
    """Parse a Mailbox; the text between the angle brackets comes back as it was."""
    if not raw.isascii():
        if not utf8:
            return ascii_only
        return _international(raw, bad)
    text = raw.decode("ascii")
    match = _ADDRESS.fullmatch(text)
    if match is None or not _fits(match[1].encode(), match[2].encode()):
        return bad
    return text if not match[2].startswith("[") or _is_literal(match[2]) else bad


def _international(raw: bytes, bad: Reply) -> str | Reply:
    """Parse a Mailbox with other letters than ASCII (RFC 6531 §3.3); domains must be IDNA 2008."""
    try:
        text = raw.decode("utf-8")
        local, _, domain = text.rpartition("@")
        idna.encode(domain.lower(), strict=True, std3_rules=True)
    except (UnicodeError, idna.IDNAError):
        return bad
    if len(local.encode()) > LOCAL_PART_OCTETS or len(raw) > ADDRESS_OCTETS:
        return bad
    if any(ord(letter) > 127 and unicodedata.category(letter)[0] in "CZ" for letter in text):
        return bad  # controls, bidirectional marks, blanks, unassigned
    skeleton = "".join(letter if ord(letter) < 128 else "x" for letter in local)
    return text if _ADDRESS.fullmatch(skeleton + "@x") else bad


def _is_literal(text: str) -> bool:
    """Tell whether `[192.0.2.1]` or `[IPv6:2001:db8::1]` is an address literal (RFC 5321 §4.1.3)."""
    inside = text[1:-1]
    try:
        if inside[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inside[5:])
        else:
            ipaddress.IPv4Address(inside)
    except ValueError:
        return False
    return "%" not in inside
