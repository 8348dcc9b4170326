"""Content-Type and Content-Disposition: the value, its parameters, and every way to read a file name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from screening.charset import decode, decode_words

MAX_PARAMETERS = 100
MAX_VALUE = 16 * 1024
#: longer values are not remembered
_USUAL_BYTES = 200

_PARAMETER = re.compile(rb';\s*([^\s;="()]{1,100})\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_COMMENT = re.compile(rb"\([^()]*\)")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_CONTINUED = re.compile(r"([^*]+)\*(\d{1,3})(\*?)")


@dataclass(frozen=True, slots=True)
class Parameters:
    """A structured value: `value` lower case, `named` all readings of each parameter in order."""

    value: str
    named: dict[str, tuple[str, ...]]
    #: there is more than is read
    cut: bool = False

    def first(self, name: str) -> str:
        """Return the parameter's first reading, or ""."""
        readings = self.named.get(name)
        return readings[0] if readings else ""


def parse(value: bytes) -> Parameters:
    """Return the structured value; linear, never raises; at most 100 parameters are read."""
    return _parse(value) if len(value) <= _USUAL_BYTES else _parse.__wrapped__(value)


@lru_cache(maxsize=1024)
def _parse(value: bytes) -> Parameters:
    cut, value = len(value) > MAX_VALUE, value[:MAX_VALUE]
    if value.startswith(b"("):
        value = _COMMENT.sub(b"", value, 1).lstrip()
    head, semicolon, _ = value.partition(b";")
    if b"(" in head:
        head = _COMMENT.sub(b"", head)
    main = decode(head).strip().strip('"').lower()
    if not semicolon:
        return Parameters(main, {}, cut)
    named: dict[str, list[str]] = {}
    pieces: dict[str, dict[int, tuple[bytes, bool]]] = {}
    for count, found in enumerate(_PARAMETER.finditer(value)):
        if count >= MAX_PARAMETERS:
            cut = True
            break
        name, text = found[1].decode("latin-1").lower(), _unquoted(found[2])
        continued = _CONTINUED.fullmatch(name)
        if continued is not None:
            pieces.setdefault(continued[1], {})[int(continued[2])] = (text, bool(continued[3]))
        elif name.endswith("*"):
            named.setdefault(name[:-1], []).append(_extended(text))
        elif name == "boundary":  # bytes, in which nothing is encoded; a blank ends it or does not
            words = [text] if found[2].startswith(b'"') else [text, *text.split()[:1]]
            named.setdefault(name, []).extend(word.decode("utf-8", "surrogateescape") for word in words)
        else:
            named.setdefault(name, []).append(decode_words(text))
    for name, parts in pieces.items():
        named.setdefault(name, []).append(_joined(parts))
    return Parameters(main, {name: tuple(dict.fromkeys(texts)) for name, texts in named.items()}, cut)


def _unquoted(text: bytes) -> bytes:
    text = text.strip()
    if text.startswith(b'"'):
        inner = text[1:-1] if text.endswith(b'"') and len(text) > 1 else text[1:]
        return _ESCAPE.sub(rb"\1", inner) if b"\\" in inner else inner
    return _COMMENT.sub(b"", text).strip() if b"(" in text else text


def _extended(text: bytes) -> str:
    """Read charset'language'percent-encoded text (RFC 2231 §4)."""
    charset, quote, rest = text.partition(b"'")
    if not quote or b"'" not in rest:
        return decode(unquote_to_bytes(text))
    return decode(unquote_to_bytes(rest.partition(b"'")[2]), charset.decode("latin-1"))


def _joined(parts: dict[int, tuple[bytes, bool]]) -> str:
    """Join numbered pieces (RFC 2231 §3); a missing number ends the value."""
    charset, whole = "", b""
    for number in range(len(parts)):
        if number not in parts:
            break
        text, encoded = parts[number]
        if encoded:
            if number == 0 and text.count(b"'") >= 2:
                label, _, rest = text.partition(b"'")
                charset, text = label.decode("latin-1"), rest.partition(b"'")[2]
            text = unquote_to_bytes(text)
        whole += text
    return decode(whole, charset)
