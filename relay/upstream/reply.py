"""Replies of an SMTP server, read as bytes come in (RFC 5321 §4.2); pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

#: RFC 5321 §4.5.3.1.5 says 512; servers that write more are read, up to a bound.
LINE_BYTES = 4096
LINES = 128
TEXT_CHARACTERS = 400

_LINE = re.compile(rb"[2-5][0-9][0-9](?:[ -]|\r?$)")
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """One reply, safe to show: printable ASCII, at most 400 characters, status and code of one class."""

    code: int
    #: enhanced status ("5.1.1"), empty where the server gave none
    status: str
    text: str
    #: the lines of a reply that has several (EHLO), as safe as `text`
    lines: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Return whether the command did what it asked."""
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        """Return whether trying again may help."""
        return 400 <= self.code < 500


class Garbled(Exception):
    """The bytes are not SMTP."""


def clean(text: str) -> str:
    """Return `text` fit for a log line or another server's client."""
    if not (text.isascii() and text.isprintable()):
        text = _UNPRINTABLE.sub("?", text)
    return text[:TEXT_CHARACTERS].strip()


#: What servers say all day ("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"), already read.
_KNOWN: dict[bytes, list[UpstreamReply]] = {}
KNOWN = 256
KNOWN_BYTES = 64


class Parser:
    """Turns bytes, cut anywhere, into replies; memory is bounded by LINE_BYTES and LINES."""

    __slots__ = ("_buffer", "_lines")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []

    @property
    def pending(self) -> bool:
        """Return whether a reply has begun and not ended."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[UpstreamReply]:
        """Return the replies that `data` completes; Garbled if it cannot be SMTP."""
        whole = not self._buffer and not self._lines
        if whole and (known := _KNOWN.get(data)) is not None:
            return known
        replies = []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > LINE_BYTES:
            raise Garbled("a reply line is too long")
        if self._buffer and not 0x32 <= self._buffer[0] <= 0x35:
            raise Garbled("a line is not an SMTP reply")
        for line in lines:
            if len(line) > LINE_BYTES or not _LINE.match(line):
                raise Garbled("a line is not an SMTP reply")
            self._lines.append(line)
            if line[3:4] != b"-":
                replies.append(_reply(self._lines))
                self._lines = []
            elif len(self._lines) >= LINES:
                raise Garbled("a reply has too many lines")
        if whole and len(data) <= KNOWN_BYTES and not self.pending:
            if len(_KNOWN) >= KNOWN:
                _KNOWN.clear()
            _KNOWN[data] = replies
        return replies


def _reply(raw: list[bytes]) -> UpstreamReply:
    code = raw[0][:3]
    if len(raw) == 1:
        return _one(int(code), clean(raw[0][4:].rstrip(b"\r").decode("latin-1")), ())
    if any(line[:3] != code for line in raw):
        raise Garbled("the lines of a reply disagree about its code")
    lines = tuple(clean(line[4:].rstrip(b"\r").decode("latin-1")) for line in raw)
    status = _STATUS.match(lines[0])
    prefix = status[1] + " " if status else ""
    text = " ".join([lines[0], *(line.removeprefix(prefix) for line in lines[1:])])
    return _one(int(code), clean(text), lines)


def _one(code: int, text: str, lines: tuple[str, ...]) -> UpstreamReply:
    """Split off the enhanced status; one whose class contradicts the code is dropped (RFC 3463 §2)."""
    match = _STATUS.match(text) if text[1:2] == "." else None
    if not match:
        return UpstreamReply(code, "", text, lines)
    status = match[1] if int(text[0]) == code // 100 else ""
    return UpstreamReply(code, status, text[match.end() :], lines)
