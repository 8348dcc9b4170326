"""The parts of a message, by one linear walk over raw bytes.

Where programs read a structure differently, all readings become parts (text outside the boundaries, base64
after an early end, uuencoded files in text), or the structure is a fault that refuses the message.
An own walk, not a library's: limits hold before anything is decoded, and each reading stays visible.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import NamedTuple

from screening import fields, parameters
from screening.charset import base64_lenient
from screening.magic import ending

MAX_DEPTH = 20
MAX_PARTS = 1000
#: Text outside all boundaries that is longer than a usual notice is scanned as a part of its own.
NOTICE_BYTES = 200

_UU = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,255})\r?\n", re.MULTILINE)
#: what must not follow the first "=" of base64 (a pattern that starts at "=" is quadratic on runs of it)
_EARLY_END = re.compile(rb"[A-Za-z0-9+/]")
_QP, _BASE64, _UUENCODE = "quoted-printable", "base64", frozenset({"x-uuencode", "uuencode", "x-uue"})
_PLAIN = frozenset({"", "7bit", "8bit", "binary"})
_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
#: endings of files that mail programs open as messages
_MESSAGE_FILES = frozenset({"eml", "mht", "mhtml"})
#: Parts that are decoded as a whole before they are walked, one inside the other.
_MOST_DECODED = 3
_FORBIDDEN = frozenset({"message/partial", "message/external-body"})


class Part(NamedTuple):
    """One leaf: `data` is transfer-decoded, `filenames` has every reading, `depth` is 0 in a flat message."""

    media_type: str
    filenames: tuple[str, ...]
    charset: str
    disposition: str
    data: bytes
    depth: int
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Structure:
    """The leaves, the first fault ("" if none), and the names of oddities that rules may weigh."""

    parts: tuple[Part, ...]
    fault: str
    oddities: frozenset[str]


class _Entity(NamedTuple):
    fields: tuple[fields.Field, ...]
    start: int
    stop: int
    depth: int
    default: str


def walk(raw: bytes, top: tuple[fields.Field, ...], body_start: int) -> Structure:
    """Return the structure of the message whose header is `top`; never raises, time linear in `raw`."""
    walker = _Walker(raw)
    walker.queue.append(_Entity(top, body_start, len(raw), 0, "text/plain"))
    walker.run()
    return Structure(tuple(walker.parts), walker.fault, frozenset(walker.oddities))


class _Walker:
    def __init__(self, raw: bytes, decoded: int = 0) -> None:
        self.raw = raw
        self.decoded = decoded
        self.queue: list[_Entity] = []
        self.parts: list[Part] = []
        self.oddities: set[str] = set()
        self.fault = ""

    def wrong(self, sentence: str) -> None:
        self.fault = self.fault or sentence

    def run(self) -> None:
        """Take apart what is on the queue, and what comes onto it."""
        while self.queue:
            if len(self.parts) >= MAX_PARTS:
                self.wrong(f"it has more than {MAX_PARTS} parts")
                break
            self.take(self.queue.pop())

    def take(self, entity: _Entity) -> None:
        """Take one entity apart: into children on the queue, or a leaf."""
        kind, encoding, disposition, content_id = _described(entity)
        media = kind.value if "/" in kind.value else entity.default
        if kind.value and "/" not in kind.value:
            self.oddities.add("bad content type")
        if entity.depth > MAX_DEPTH:
            self.wrong("its parts are nested too deeply")
            return
        if media in _FORBIDDEN:
            self.wrong(f"it contains a {media} part, whose content cannot be checked")
        if kind.cut or disposition.cut:
            self.wrong("a part of it has a field that is too long to be read")
        boundaries = kind.named.get("boundary", ())
        if len(boundaries) > 1:
            self.wrong("a part names two different boundaries")
        if media.startswith("multipart/") and boundaries and boundaries[0]:
            boundary = boundaries[0].encode("utf-8", "surrogateescape")
            self.split(entity, boundary, media)
            if encoding not in _PLAIN:
                self.encoded(entity, encoding, boundary)
            return
        if media.startswith("multipart/"):
            self.oddities.add("multipart without boundary")
            media = "text/plain"
        self.leaf(entity, media, kind, encoding, disposition, content_id)

    def leaf(
        self,
        entity: _Entity,
        media: str,
        kind: parameters.Parameters,
        encoding: str,
        disposition: parameters.Parameters,
        content_id: str,
    ) -> None:
        body = self.raw[entity.start : entity.stop]
        data, odd = transfer_decoded(body, encoding)
        if odd:
            self.oddities.add(odd)
        if media in _MESSAGES:
            if encoding not in _PLAIN:
                self.oddities.add("encoded message")
            self.nested(entity, data, raw_is_plain=encoding in _PLAIN)
            return
        names = tuple(dict.fromkeys((*disposition.named.get("filename", ()), *kind.named.get("name", ()))))
        charset = kind.first("charset")
        self.parts.append(Part(media, names, charset, disposition.value, data, entity.depth, content_id))
        if any(ending(name) in _MESSAGE_FILES for name in names):
            self.nested(entity, data, raw_is_plain=encoding in _PLAIN)
        if odd == "unknown transfer encoding" and "base64" in encoding:
            again = base64_lenient(body)
            self.parts.append(Part(media, names, charset, disposition.value, again, entity.depth))
        if odd == "base64 after its end":
            pieces = body.split(b"=", 1000)
            again = b"".join(base64_lenient(piece) for piece in pieces if piece.strip())
            self.parts.append(Part(media, names, charset, disposition.value, again, entity.depth))
        if media.startswith("text/") and b"begin " in data:
            self.parts.extend(_uuencoded(data, entity.depth))

    def nested(self, entity: _Entity, data: bytes, *, raw_is_plain: bool) -> None:
        """Queue a message inside the message; an encoded one is walked on its own bytes."""
        if raw_is_plain:
            block = fields.read(self.raw, entity.start, entity.stop)
            self.wrong(_doubtful(block, entity.start))
            self.queue.append(
                _Entity(block.fields, block.body_start, entity.stop, entity.depth + 1, "text/plain")
            )
            return
        block = fields.read(data)
        self.wrong(_doubtful(block, 0))
        self.within(data, _Entity(block.fields, block.body_start, len(data), entity.depth + 1, "text/plain"))

    def encoded(self, entity: _Entity, encoding: str, boundary: bytes) -> None:
        """Walk a multipart that is encoded as a whole, which is not allowed, as those do that decode it."""
        data, _ = transfer_decoded(self.raw[entity.start : entity.stop], encoding)
        if b"--" + boundary in data:
            inner = tuple(field for field in entity.fields if field.lower != "content-transfer-encoding")
            self.within(data, _Entity(inner, 0, len(data), entity.depth + 1, entity.default))

    def within(self, data: bytes, entity: _Entity) -> None:
        """Walk an entity of other bytes than ours; so many layers of them are held in memory at once."""
        if entity.depth > MAX_DEPTH or self.decoded >= _MOST_DECODED:
            self.wrong("its parts are nested too deeply")
            return
        inner = _Walker(data, self.decoded + 1)
        inner.parts = self.parts
        inner.queue.append(entity)
        inner.run()
        self.wrong(inner.fault)
        self.oddities |= inner.oddities

    def split(self, entity: _Entity, boundary: bytes, media: str) -> None:
        """Queue the children between delimiter lines; what lies outside them is read as text."""
        raw, needle = self.raw, b"--" + boundary
        ranges: list[tuple[int, int]] = []
        outside: list[tuple[int, int]] = []
        opened, position, closed = -1, entity.start, False
        while len(ranges) <= MAX_PARTS:
            at = _delimiter(raw, needle, position, entity.stop, entity.start)
            if at < 0:
                break
            end_of_part = at - (2 if raw[at - 2 : at] == b"\r\n" else 1) if at > entity.start else at
            if opened >= 0:
                ranges.append((opened, max(opened, end_of_part)))
            elif not closed:
                outside.append((entity.start, at))
            after = at + len(needle)
            newline = raw.find(b"\n", after, entity.stop)
            position = entity.stop if newline < 0 else newline + 1
            closed = raw.startswith(b"--", after)
            opened = -1 if closed else position
        if opened >= 0:
            ranges.append((opened, entity.stop))
            self.oddities.add("missing closing boundary")
        elif closed:
            outside.append((position, entity.stop))
        else:
            self.oddities.add("boundary never used")
            outside.append((entity.start, entity.stop))
        self.keep_outside(outside, entity.start, entity.depth)
        self.queue_children(ranges, entity, media)

    def keep_outside(self, outside: list[tuple[int, int]], first: int, depth: int) -> None:
        for index, (start, stop) in enumerate(outside):
            text = self.raw[start:stop].strip()
            if len(text) > NOTICE_BYTES or b"://" in text:
                # lists append their footers behind the last part: only what stands in front is odd
                self.oddities.add("text before the parts" if index == 0 and start == first else "text behind")
                self.parts.append(Part("text/plain", (), "", "outside", text, depth))

    def queue_children(self, ranges: list[tuple[int, int]], entity: _Entity, media: str) -> None:
        if len(ranges) > MAX_PARTS:
            self.wrong(f"it has more than {MAX_PARTS} parts")
        default = "message/rfc822" if media == "multipart/digest" else "text/plain"
        for start, stop in reversed(ranges[:MAX_PARTS]):
            block = fields.read(self.raw, start, stop)
            self.wrong(_doubtful(block, start))
            self.queue.append(_Entity(block.fields, block.body_start, stop, entity.depth + 1, default))


def _doubtful(block: fields.Block, start: int) -> str:
    """Return why programs may read a part differently by its header, "" if they do not."""
    if len(block.fields) >= fields.MAX_FIELDS or block.body_start - start > fields.MAX_HEADER_BYTES:
        return "a part of it has a header that is too large"
    twice = fields.doubles([field for field in block.fields if field.lower.startswith("content-")])
    return f"a part of it is ambiguous: {twice}" if twice else ""


_NONE = parameters.Parameters("", {})


def _described(
    entity: _Entity,
) -> tuple[parameters.Parameters, str, parameters.Parameters, str]:
    kind, encoding, disposition, content_id = _NONE, "", _NONE, ""
    for field in reversed(entity.fields):  # the first of doubles wins; differing doubles are a fault already
        if field.lower == "content-type":
            kind = parameters.parse(field.value)
        elif field.lower == "content-transfer-encoding":
            encoding = parameters.parse(field.value).value
        elif field.lower == "content-disposition":
            disposition = parameters.parse(field.value)
        elif field.lower == "content-id":
            content_id = field.value.decode("latin-1").strip("<> ")[:200]
    return kind, encoding, disposition, content_id


def _delimiter(raw: bytes, needle: bytes, position: int, stop: int, start: int) -> int:
    """Return where the next delimiter line starts, or -1; a line that merely begins like one is skipped."""
    while True:
        if position == start and raw.startswith(needle, position, stop):
            at = position
        else:
            at = raw.find(b"\n" + needle, max(start, position - 1), stop)
            if at < 0:
                return -1
            at += 1
        after = at + len(needle)
        newline = raw.find(b"\n", after, stop)
        rest = raw[after : min(newline if newline >= 0 else stop, after + 80)].strip()
        if rest in (b"", b"--"):
            return at
        position = after


def transfer_decoded(body: bytes, encoding: str) -> tuple[bytes, str]:
    """Return the decoded body and an oddity ("" if none)."""
    if encoding in _PLAIN:
        return body, ""
    if encoding == _QP:
        return binascii.a2b_qp(body), ""
    if encoding == _BASE64:
        data = base64_lenient(body)
        early = b"=" in body and _EARLY_END.search(body, body.find(b"=")) is not None
        return data, "base64 after its end" if early else ""
    if encoding in _UUENCODE:
        found = next(iter(_uuencoded(body, 0)), None)
        return (found.data if found else body), ""
    return body, "unknown transfer encoding"


def _uuencoded(text: bytes, depth: int) -> list[Part]:
    parts: list[Part] = []
    position = 0
    while len(parts) < 20:
        found = _UU.search(text, position)
        if found is None:
            break
        out: list[bytes] = []
        position = found.end()
        while position < len(text):
            newline = text.find(b"\n", position)
            stop = len(text) if newline < 0 else newline
            line = text[position:stop].rstrip(b"\r")
            position = stop + 1
            if line in (b"end", b"`", b""):
                break
            try:
                told = ((line[0] - 32) & 63) * 4 + 5  # some write a checksum behind it
                out.append(binascii.a2b_uu(line[: told // 3]))
            except binascii.Error:
                break
        if out:
            name = found[1].decode("latin-1").strip()
            parts.append(Part("application/octet-stream", (name,), "", "attachment", b"".join(out), depth))
    return parts
