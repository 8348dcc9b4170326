"""Header fields read from raw bytes: names, values, places, and what is wrong with the block.

One linear pass; nothing here raises. A fault is something that mail programs read differently from one
another, or that hides text from a reader: the sentence is meant for the person who sent the mail.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

#: Header block that is read at all; what is longer is a fault (CASES "Numbers to adopt").
MAX_HEADER_BYTES = 256 * 1024
MAX_FIELDS = 1000
#: longer names are not remembered
_USUAL_NAME = 100
#: Fields that may stand once, and whose doubles are read differently (RFC 5322 §3.6; PD-01, PD-16, PD-17).
ONCE = frozenset({"from", "sender", "subject", "content-type", "content-transfer-encoding"})
#: Fields whose spelling must leave no doubt.
STRICT = ONCE | {"to", "cc", "bcc", "reply-to", "resent-from", "resent-sender", "mime-version"}

#: a field on one line as nearly all are: nothing about it can be wrong
_PLAIN = re.compile(rb"([!-9;-~]{1,100}):[ \t]*+([^\r\n\0]*+)\r?\n(?![ \t])")
_FIELD = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*\n?")
_HEADER_END = re.compile(rb"\n\r?\n")
_NAME = re.compile(rb"[!-9;-~]+")


class Field(NamedTuple):
    """One header field: `value` unfolded and stripped, `start` and `end` are offsets into the raw message."""

    name: str
    lower: str
    value: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """A header block: its fields in order, where the body starts, and the first fault ("" if none)."""

    fields: tuple[Field, ...]
    body_start: int
    fault: str


def header_end(raw: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return where the header block of `raw[start:stop]` ends and where its body starts."""
    if raw.startswith(b"\r\n", start):
        return start, min(start + 2, stop)
    if raw.startswith(b"\n", start):
        return start, min(start + 1, stop)
    found = _HEADER_END.search(raw, start, stop)
    if found is None:
        return stop, stop
    return found.start() + 1, found.end()


def read(raw: bytes, start: int = 0, stop: int | None = None) -> Block:
    """Return the header block at `start`; never raises, time linear in the block."""
    stop = len(raw) if stop is None else stop
    end, body = header_end(raw, start, stop)
    fault = ""
    if end - start > MAX_HEADER_BYTES:
        end, fault = start + MAX_HEADER_BYTES, "its header is larger than 256 KiB"
    fields: list[Field] = []
    place = start
    while place < end:
        if len(fields) >= MAX_FIELDS:
            fault = fault or f"it has more than {MAX_FIELDS} header fields"
            break
        plain = _PLAIN.match(raw, place, end)
        if plain is not None:
            name, lower, _ = _named(plain[1])
            fields.append(Field(name, lower, plain[2].rstrip(b" \t"), place, plain.end()))
            place = plain.end()
            continue
        stop = _end_of_field(raw, place, end)
        field, wrong = _field(raw, place, stop)
        fault = fault or wrong
        if field is not None:
            fields.append(field)
        place = stop
    return Block(tuple(fields), body, fault or doubles(fields))


def _end_of_field(raw: bytes, start: int, end: int) -> int:
    found = _FIELD.match(raw, start, end)
    return found.end() if found is not None else end


@lru_cache(maxsize=4096)
def _named(written: bytes) -> tuple[str, str, str]:
    """Return a field's name as written, in lower case, and its fault."""
    name = written.rstrip(b" \t")
    text = name.decode("latin-1")
    lower = text.lower()
    if _NAME.fullmatch(name) is None:
        return text, lower, "a header field's name contains characters that are not allowed"
    if len(name) != len(written) and lower in STRICT:
        return text, lower, f"there is a blank before the colon of its {text} field"
    return text, lower, ""


def _field(raw: bytes, start: int, end: int) -> tuple[Field | None, str]:
    colon = raw.find(b":", start, end)
    newline = raw.find(b"\n", start, end)
    if colon < 0 or 0 <= newline < colon or raw[start] in b" \t":
        return None, _no_field(raw[start:end], start)
    written = raw[start:colon]
    text, lower, fault = (_named if len(written) <= _USUAL_NAME else _named.__wrapped__)(written)
    value = raw[colon + 1 : end]
    if 0 <= newline < end - 1:
        if lower in STRICT and _blank_fold(raw, colon + 1, end):
            fault = fault or f"its {text} field is continued after an empty-looking line"
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")  # inside a field each line end is a fold
    value = value.strip(b" \t\r\n")
    if b"\0" in value:
        fault = fault or f"its {text} field contains a NUL character"
    elif b"\r" in value:
        fault = fault or f"its {text} field contains a bare carriage return"
    return Field(text, lower, value, start, end), fault


def _no_field(line: bytes, start: int) -> str:
    if line[:1] in (b" ", b"\t"):
        return "its first header line starts with a blank"
    if start == 0 and line.startswith((b"From ", b">From ")):  # mbox envelope line of an exported file
        return ""
    return "a line in its header is not a header field" if line.strip() else ""


def _blank_fold(raw: bytes, start: int, end: int) -> bool:
    """Whether a whitespace-only line stands inside the field: an end of header to some programs (PD-08)."""
    if raw.find(b"\n", start, end - 1) < 0:
        return False
    lines = raw[start:end].split(b"\n")[:-1]
    return any(not line.strip() for line in lines[1:-1])


def doubles(fields: Sequence[Field]) -> str:
    """Return which field stands twice that may stand once, as a fault; "" if none does."""
    seen: dict[str, bytes] = {}
    for field in fields:
        if field.lower not in ONCE:
            continue
        if field.lower in seen and (field.lower == "from" or seen[field.lower] != field.value):
            return f"it has two {field.name} fields"
        seen.setdefault(field.lower, field.value)
    return ""
