"""Bytes to text under whatever label a mail gives them, RFC 2047 words included; nothing raises."""

from __future__ import annotations

import binascii
import re
from codecs import lookup
from functools import lru_cache

#: A decoded header value is bounded: what is longer is cut.
MAX_VALUE_BYTES = 64 * 1024

#: Python's codecs that no mail is written in; some take quadratic time
_NO_CHARSETS = frozenset(
    {"punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"}
)

_WORD = re.compile(rb"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?\r\n]*)\?=")
#: codecs that are no charsets (they would decompress, or run rot13), and labels that lie
_ALIASES = {
    "x-user-defined": "latin-1",
    "iso-8859-8-i": "iso-8859-8",
    "x-gbk": "gbk",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "cp-850": "cp850",
    "unicode-1-1-utf-7": "utf-7",
    "unknown-8bit": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
}


@lru_cache(maxsize=256)
def codec(label: str) -> str:
    """Return Python's name for a charset label, "" where there is none."""
    name = label.strip().strip("'\"").lower()
    name = _ALIASES.get(name, name)
    try:
        info = lookup(name)
    except (LookupError, ValueError):
        return ""
    text = getattr(info, "_is_text_encoding", True) and info.name.replace("-", "_") not in _NO_CHARSETS
    return info.name if text else ""


def decode(data: bytes, label: str = "") -> str:
    """Return `data` as text: by its label, else as UTF-8, else byte by byte (windows-1252)."""
    if data.isascii() and codec(label or "utf-8") in ("utf-8", "cp1252", "iso8859-15", ""):
        return data.decode("ascii")
    name = codec(label) if label else ""
    if name and name not in ("utf-8", "cp1252"):
        try:
            # some codecs yield lone surrogates, which no other library takes
            return data.decode(name, "replace").encode("utf-8", "replace").decode()
        except (UnicodeError, ValueError):
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252" if name == "cp1252" or not label else "utf-8", "replace")


def decode_words(value: bytes) -> str:
    """Return a header value with its encoded words decoded (RFC 2047), linear in its length."""
    value = value[:MAX_VALUE_BYTES]
    if b"=?" not in value:
        return decode(value)
    out: list[str] = []
    pending, label, end = b"", "", 0
    for found in _WORD.finditer(value):
        between = value[end : found.start()]
        data = _word_bytes(found[2], found[3])
        this = found[1].decode("latin-1").lower()
        if end and not between.strip() and this == label:
            pending += data  # a character may be split between two words of one charset
        else:
            out.append(decode(pending, label))
            if not (end and not between.strip()):
                out.append(decode(between))
            pending, label = data, this
        end = found.end()
    out.append(decode(pending, label))
    out.append(decode(value[end:]))
    return "".join(out)


def _word_bytes(encoding: bytes, data: bytes) -> bytes:
    if encoding in b"qQ":
        return binascii.a2b_qp(data, header=True)
    return base64_lenient(data)


def base64_lenient(data: bytes) -> bytes:
    """Return what `data` decodes to, ignoring junk and missing padding; b"" where nothing can be read."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        pass
    kept = bytes(data).translate(None, _NOT_BASE64)
    kept = kept[: len(kept) - 1] if len(kept) % 4 == 1 else kept
    try:
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        return b""


_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
)
