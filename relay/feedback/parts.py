"""The parts of a report: a shallow, linear split that leaves messages inside as bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screening import parameters
from screening.address import parse as parse_addresses
from screening.charset import decode, decode_words
from screening.fields import read
from screening.mime import transfer_decoded

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 6
MAX_PARTS = 200
MAX_TEXT = 256 * 1024
_TOKEN_FIELD = b"cfbl-feedback-id:"
_TOKEN = re.compile(rb"[a-z2-7]{106}|[a-z2-7]{80}")
_MOST_TOKENS = 8
_ADDRESS = re.compile(r"[^\s<>@,;:\"()]{1,64}@[^\s<>@,;:\"()]{1,255}")


@dataclass(frozen=True, slots=True)
class Header:
    """A header block: `names` are lower case, values unfolded bytes in order."""

    named: dict[str, list[bytes]]

    def raw(self, name: str) -> bytes:
        """Return the first value, b"" if absent."""
        return self.named.get(name, [b""])[0]

    def text(self, name: str) -> str:
        """Return the first value as text, "" if absent."""
        return decode_words(self.raw(name)).strip()

    def texts(self, name: str) -> list[str]:
        """Return every value as text."""
        return [decode_words(value).strip() for value in self.named.get(name, [])]

    def has(self, name: str) -> bool:
        """Return whether there is such a field."""
        return name in self.named


@dataclass(frozen=True, slots=True)
class Part:
    """One part: what it says it is, its header, its decoded bytes (untouched for messages)."""

    media: str
    header: Header
    data: bytes
    named: dict[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        """Return the part's text, capped at 256 KiB."""
        charset = (self.named.get("charset") or ("",))[0]
        return decode(self.data[:MAX_TEXT], charset).replace("\r\n", "\n")


def header_of(raw: bytes) -> tuple[Header, bytes]:
    """Split bytes into a header and what follows it; never raises."""
    block = read(raw)
    named: dict[str, list[bytes]] = {}
    for field in block.fields:
        named.setdefault(field.lower, []).append(field.value)
    return Header(named), raw[block.body_start :]


def parts_of(raw: bytes) -> list[Part]:
    """Return the whole message as a part, then its leaves in order; messages inside stay closed.

    Linear in the message: at most 200 parts, six levels deep; what lies beyond is left in its parent.
    """
    found: list[Part] = []
    waiting = [(raw, 0, "text/plain")]
    while waiting and len(found) < MAX_PARTS:
        piece, depth, default = waiting.pop()
        part = _part(piece, default)
        boundary = (part.named.get("boundary") or ("",))[0]
        inside = list(_split(part.data, boundary)) if part.media.startswith("multipart/") and boundary else []
        if not found or not inside or depth >= MAX_DEPTH:
            found.append(part)
        if depth < MAX_DEPTH:
            child = "message/rfc822" if part.media == "multipart/digest" else "text/plain"
            waiting += [(one, depth + 1, child) for one in reversed(inside)]
    return found


def _part(raw: bytes, default: str) -> Part:
    header, body = header_of(raw)
    kind = parameters.parse(header.raw("content-type"))
    media = kind.value if "/" in kind.value else default
    if not media.startswith("multipart/"):
        encoding = header.raw("content-transfer-encoding").decode("latin-1").strip().lower()
        body = transfer_decoded(body, encoding)[0]
    return Part(media, header, body, dict(kind.named))


def _split(body: bytes, boundary: str) -> Iterator[bytes]:
    """Yield the bytes between delimiter lines; a missing last delimiter ends with the body."""
    marker = re.escape(boundary.encode("utf-8", "surrogateescape"))
    delimiters = re.finditer(rb"(?:\A|\r?\n)--" + marker + rb"(--)?[ \t]*(?=\r?\n|\Z)", body)
    start = -1
    for count, found in enumerate(delimiters):
        if start >= 0:
            yield body[start : found.start()]
        if found[1] or count > MAX_PARTS:
            return
        after = body.find(b"\n", found.end())
        if after < 0:
            return
        start = after + 1
    if start >= 0:
        yield body[start:]


def tokens_in(header: Header) -> tuple[str, ...]:
    """Return what stands in the CFBL-Feedback-ID fields of a header."""
    values = header.named.get("cfbl-feedback-id", [])[:_MOST_TOKENS]
    return tuple(value.decode("latin-1") for value in values)


def stray_tokens(raw: bytes) -> tuple[str, ...]:
    """Return what follows `CFBL-Feedback-ID:` anywhere, folded or quoted."""
    lower, place = raw.lower(), 0
    found: dict[str, None] = {}
    while len(found) < _MOST_TOKENS and (place := lower.find(_TOKEN_FIELD, place)) >= 0:
        place += len(_TOKEN_FIELD)
        text = lower[place : place + 300].replace(b"=\r\n", b"").replace(b"=\n", b"").replace(b">", b" ")
        # as one word; and with its line and the next one joined, as a fold leaves it
        folded = b"".join(b"\n".join(text.lstrip().split(b"\n", 2)[:2]).split())
        for candidate in (text.split(None, 1)[0] if text.strip() else b"", folded):
            if match := _TOKEN.match(candidate):
                found.setdefault(match[0].decode("ascii"))
    return tuple(found)


def address_in(text: str) -> str:
    """Return the first address in a text, lower case in its domain; "" if there is none."""
    match = _ADDRESS.search(text[:2000])
    if not match or not match[0].isprintable():
        return ""
    local, _, domain = match[0].rpartition("@")
    return f"{local}@{domain.lower().rstrip('.')}"


def author_domain(header: Header) -> str:
    """Return the domain of the one author of a header, "" if there is none or more than one."""
    values = header.named.get("from", [])
    if len(values) != 1:
        return ""
    mailboxes, fault = parse_addresses(values[0])
    return mailboxes[0].domain.lower() if len(mailboxes) == 1 and not fault else ""
