"""What the sender of waiting mail is told: delivery status notifications (RFC 3464), notes about held mail.

Pure. Only the header of the message comes back, and no recipient that the notification is not about. Of a
failure the whole message comes back where the sender asked for it (RET=FULL, RFC 3461 §4.3) and it fits: no
notification is larger than 50 kB.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.utils import format_datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.outbox.envelope import Fate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from relay.outbox.envelope import Recipient, WaitingEnvelope

HEADER_BYTES = 12 << 10
#: A message that comes back whole is no larger, and the whole notification neither.
FULL_BYTES = 40_000
MOST_BYTES = 50_000
RECIPIENTS = 40
_REPLY = 200
#: an address or what the client called it (RFC 3461 §4.2), whole
_WORD = 512
DIGEST_LINES = 200
#: What an account's login must be to be written to.
ADDRESS = re.compile(r"[!#-;=?-Z^-~]{1,64}@[A-Za-z0-9.-]{1,253}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


class Kind(StrEnum):
    """What a notification says."""

    FAILURE = "failure"
    DELAY = "delay"
    SUCCESS = "success"
    HELD = "held"
    EXPIRING = "expiring"


@dataclass(frozen=True, slots=True)
class Subject:
    """The message that a notification is about."""

    id: str
    hostname: str
    arrived_at: datetime
    envelope: WaitingEnvelope
    #: the message, or (where it is larger than FULL_BYTES) the beginning of it, with its header
    head: bytes
    #: until when delivery is tried, or the message is held
    until: datetime | None = None
    #: it was screened and let through, so that it may come back whole
    harmless: bool = True


_WORDS = {
    Kind.FAILURE: (
        "Your message could not be delivered",
        "It will not be tried again. What the receiving server said stands below each address.",
    ),
    Kind.DELAY: (
        "Your message is delayed",
        "You need not do anything: delivery is tried again, and you will hear if it fails in the end.",
    ),
    Kind.SUCCESS: (
        "Your message was handed on",
        "It was given to a server that does not report deliveries; no further notice will follow.",
    ),
    Kind.HELD: (
        "Your message is being checked",
        "It looks unusual, so your provider holds it until somebody has looked. You need not send it again.",
    ),
    Kind.EXPIRING: (
        "Your message is still being checked",
        "Nobody has released it yet. Ask your provider if it matters, and name the number below.",
    ),
}
_ACTIONS = {Kind.FAILURE: "failed", Kind.DELAY: "delayed", Kind.SUCCESS: "relayed"}


def wanted(kind: Kind, recipients: Sequence[Recipient]) -> list[Recipient]:
    """Return the recipients about which the sender is to be told this (RFC 3461 §4.1)."""
    match kind:
        case Kind.FAILURE:
            return [one for one in recipients if one.fate is Fate.FAILED and one.wants("FAILURE")]
        case Kind.DELAY:
            return [one for one in recipients if one.waits and one.wants("DELAY")]
        case Kind.SUCCESS:
            return [one for one in recipients if one.fate is Fate.RELAYED and one.wants("SUCCESS")]
        case _:
            return [one for one in recipients if one.waits]


def notify(subject: Subject, kind: Kind, recipients: Sequence[Recipient], now: datetime) -> list[bytes]:
    """Return the notifications to send to the sender; none for a null sender, so that loops end."""
    if not subject.envelope.sender:
        return []
    people = wanted(kind, recipients)
    starts = range(0, len(people), RECIPIENTS)
    return [
        _message(subject, kind, people[start : start + RECIPIENTS], now, number)
        for number, start in enumerate(starts)
    ]


def _message(subject: Subject, kind: Kind, group: Sequence[Recipient], now: datetime, number: int) -> bytes:
    title, explanation = _WORDS[kind]
    boundary = "=_" + hashlib.sha256(f"{subject.id} {kind} {number}".encode() + subject.head).hexdigest()[:40]
    report = kind in _ACTIONS
    content = f'multipart/report; report-type=delivery-status; boundary="{boundary}"'
    lines = [
        f"From: Mail delivery <mailer-daemon@{subject.hostname}>",
        f"To: <{_line(subject.envelope.sender)}>",
        f"Subject: {title}",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{subject.id}.{kind}.{number}@{subject.hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f"Content-Type: {content if report else 'text/plain; charset=utf-8'}",
        "Content-Transfer-Encoding: 8bit",
        "",
    ]
    text = [
        title + ".",
        "",
        explanation,
        "",
        *_people(kind, group),
        "",
        f"Number of the message: {subject.id}",
    ]
    if subject.until is not None:
        text.append(f"{'Tried' if kind is Kind.DELAY else 'Held'} until: {format_datetime(subject.until)}")
    if not report:
        return _bytes([*lines, *text])
    parts = [
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        *text,
        "",
        f"--{boundary}",
        "Content-Type: message/delivery-status",
        "",
        *_status(subject, kind, group, now),
        f"--{boundary}",
    ]
    said, end = _bytes([*lines, *parts]), f"\r\n--{boundary}--\r\n".encode()
    if kind is Kind.FAILURE and number == 0 and _comes_back_whole(subject, group):
        returned = (
            _bytes(["Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", ""]) + subject.head
        )
        if len(said) + len(returned) + len(end) <= MOST_BYTES:
            return said + returned + end
    return said + _bytes(["Content-Type: text/rfc822-headers", ""]) + header(subject.head) + end


def _comes_back_whole(subject: Subject, group: Sequence[Recipient]) -> bool:
    """Return whether a failure carries the message: asked for, small, and fit for the way back."""
    envelope = subject.envelope
    if (
        not subject.harmless
        or (envelope.ret or "").upper() != "FULL"
        or envelope.smtputf8
        or len(subject.head) > FULL_BYTES
    ):
        return False
    # where eight bits are what failed they would fail again
    return subject.head.isascii() or not any(one.status.endswith(".6.3") for one in group)


def digest(hostname: str, login: str, deleted: Sequence[tuple[str, datetime]], now: datetime) -> bytes:
    """Return one note about all the waiting mail of an account that staff deleted."""
    moments = sorted(at for _, at in deleted)
    listed = [f"  {number}  {format_datetime(at)}" for number, at in deleted[:DIGEST_LINES]]
    if len(deleted) > DIGEST_LINES:
        listed.append(f"  and {len(deleted) - DIGEST_LINES} more")
    return _bytes(
        [
            f"From: Mail delivery <mailer-daemon@{hostname}>",
            f"To: <{_line(login)}>",
            f"Subject: {len(deleted)} messages of yours were deleted",
            f"Date: {format_datetime(now)}",
            f"Message-ID: <{deleted[0][0]}.digest@{hostname}>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            "Your provider deleted messages that waited for delivery, most likely because somebody else",
            "sent them in your name. If any of them was yours, send it again.",
            "",
            f"Taken between {format_datetime(moments[0])} and {format_datetime(moments[-1])}:",
            "",
            *listed,
        ]
    )


def _people(kind: Kind, group: Sequence[Recipient]) -> list[str]:
    lines = []
    for one in group:
        lines.append(f"  {_line(one.address)}")
        if kind in (Kind.FAILURE, Kind.DELAY) and one.reply:
            lines.append(f"      {_line(one.reply[:_REPLY])}")
    return lines


def _status(subject: Subject, kind: Kind, group: Sequence[Recipient], now: datetime) -> list[str]:
    lines = [f"Reporting-MTA: dns; {subject.hostname}"]
    if subject.envelope.envid:
        plain = _XTEXT.sub(lambda match: chr(int(match[1], 16)), subject.envelope.envid)
        lines.append(f"Original-Envelope-Id: {_ascii(plain)}")
    lines += [f"Arrival-Date: {format_datetime(subject.arrived_at)}", ""]
    for one in group:
        if one.orcpt:
            kind_of, _, address = one.orcpt.partition(";")
            plain = _XTEXT.sub(lambda match: chr(int(match[1], 16)), address)
            lines.append(f"Original-Recipient: {_ascii(kind_of)}; {_ascii(plain)}")
        lines += [
            f"Final-Recipient: {_typed(one.address)}",
            f"Action: {_ACTIONS[kind]}",
            f"Status: {_status_code(kind, one)}",
        ]
        if one.reply and kind is not Kind.SUCCESS:
            kind_of = "smtp" if one.reply[:3].isdecimal() else "x-gatepost"  # a server's words, or ours
            lines.append(f"Diagnostic-Code: {kind_of}; {_ascii(one.reply[:_REPLY])}")
        lines.append(f"Last-Attempt-Date: {format_datetime(now)}")
        if kind is Kind.DELAY and subject.until is not None:
            lines.append(f"Will-Retry-Until: {format_datetime(subject.until)}")
        lines.append("")
    return lines


def _status_code(kind: Kind, one: Recipient) -> str:
    """Return a status of the class that the action demands (RFC 3464 §2.3.4)."""
    digit = {Kind.FAILURE: "5", Kind.DELAY: "4", Kind.SUCCESS: "2"}[kind]
    detail = one.status.partition(".")[2]
    return f"{digit}.{detail}" if detail and kind is not Kind.SUCCESS else f"{digit}.0.0"


def _typed(address: str) -> str:
    if address.isascii():
        return f"rfc822; {_ascii(address)}"
    encoded = "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in _line(address))
    return f"utf-8; {encoded}"


def _line(text: str) -> str:
    """Return text that stays on its line."""
    return _CONTROLS.sub("?", text)[:_WORD]


def _ascii(text: str) -> str:
    return _line(text).encode("ascii", "replace").decode()


def _bytes(lines: Sequence[str]) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "replace")


def header(head: bytes) -> bytes:
    """Return the header block of a message as printable ASCII, at most HEADER_BYTES of it, cut at a line."""
    end = head.find(b"\r\n\r\n")
    block = head[: end + 2 if end >= 0 else len(head)]
    if len(block) > HEADER_BYTES:
        block = block[: block.rfind(b"\r\n", 0, HEADER_BYTES) + 2]
    lines = block.decode("ascii", "replace").replace("\ufffd", "?").split("\r\n")
    return "\r\n".join(_CONTROLS.sub("?", line.replace("\t", " ")) for line in lines).encode()
