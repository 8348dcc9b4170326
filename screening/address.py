"""Mailboxes by a strict reading of RFC 5322 §3.4; what could be read in two ways is a fault.

The standard library's `parseaddr` is never used: it reads `ceo@victim.example <x@evil.example>` as ceo.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import idna

from screening.charset import decode, decode_words

MAX_MAILBOXES = 1000
#: longer lists are left to the full grammar and its limits
_USUAL_MAILBOXES = 500
MAX_COMMENT_DEPTH = 10
MAX_VALUE = 64 * 1024
#: longer ones are none, in whatever letters; nor are they kept
MAX_DOMAIN = 1000

_UNQUOTED = (
    rb"(?P<blank>[ \t\r\n]+)|(?P<literal>\[[^\[\]\\]*\])"
    rb"|(?P<atom>[^\s\"(),:;<>@\[\]\\]+)|(?P<special>.)"
)
_TOKEN = re.compile(rb'(?P<quoted>"(?:[^"\\]|\\.)*+")|' + _UNQUOTED, re.DOTALL)
#: behind a quotation mark that is never closed: no other one is, and looking again takes quadratic time
_TOKEN_UNCLOSED = re.compile(_UNQUOTED, re.DOTALL)
_COMMENT_STEP = re.compile(rb"[^()\\]*(?:\\.[^()\\]*)*", re.DOTALL)
_LOCAL = re.compile(r"[^\s\"(),:;<>@\[\]\\.]+(?:\.[^\s\"(),:;<>@\[\]\\.]+)*")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_UNQUOTE = re.compile(rb"\\(.)", re.DOTALL)


class Mailbox(NamedTuple):
    """One mailbox; `display` decoded, `domain` ASCII and lower case, `address` = local@domain."""

    display: str
    address: str
    local: str
    domain: str


def normal_domain(domain: str) -> str:
    """Return the domain in lower-case ASCII (IDNA), or "" if it is no domain that all programs read alike."""
    return _normal(domain) if len(domain) <= MAX_DOMAIN else ""


@lru_cache(maxsize=4096)
def _normal(domain: str) -> str:
    text = domain.lower()
    if text.startswith("[") and text.endswith("]"):
        return text if text.isascii() else ""
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=False).decode("ascii")
        except (idna.IDNAError, UnicodeError, ValueError):
            return ""
    return text if len(text) <= 253 and _HOST.fullmatch(text) else ""


_USUAL = re.compile(
    rb'(?:(?:"([^"\\<>@\x00-\x1f]*+)"|([^"\\(),:;<>@\[\]\x00-\x1f]*+))[ \t]*+<|(?=[^<>]*\Z))'
    rb"([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)@([A-Za-z0-9.-]{1,253})(>?)"
)


def _usual(value: bytes) -> Mailbox | None:
    """Return the one mailbox of a field in its usual form; None leaves it to the full grammar."""
    found = _USUAL.fullmatch(value) if len(value) < 2000 else None
    if found is None or (found[5] != b"") is (found[1] is None and found[2] is None):
        return None
    domain = normal_domain(found[4].decode("ascii"))
    if not domain:
        return None
    display = found[1] if found[1] is not None else found[2]
    local = found[3].decode("ascii")
    return Mailbox(decode_words(display).strip() if display else "", f"{local}@{domain}", local, domain)


_ATOMS = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
#: one of several mailboxes in their usual form, up to the comma behind it; possessive, so that a field of
#: another form is left after one look at each byte
_ONE_OF_MANY = re.compile(
    rb'[ \t]*+(?:(?:"([^"\\<>@\x00-\x1f]*+)"|([^"\\(),:;<>@\[\]\x00-\x1f]*+))[ \t]*+'
    rb"<(" + _ATOMS + rb")@([A-Za-z0-9.-]{1,253})>|(" + _ATOMS + rb")@([A-Za-z0-9.-]{1,253}))[ \t]*+(?:,|\Z)"
)


def _usual_list(value: bytes) -> tuple[Mailbox, ...]:
    """Return the mailboxes of a field where all are in their usual form; () leaves it to the full grammar."""
    found: list[Mailbox] = []
    position = 0
    while position < len(value):
        one = _ONE_OF_MANY.match(value, position)
        if one is None or len(found) >= _USUAL_MAILBOXES:
            return ()
        quoted, plain, local, host, bare, bare_host = one.groups()
        domain = normal_domain((host or bare_host).decode("ascii"))
        if not domain:
            return ()
        display, name = quoted or plain, (local or bare).decode("ascii")
        found.append(
            Mailbox(decode_words(display).strip() if display else "", f"{name}@{domain}", name, domain)
        )
        position = one.end()
    return () if value.endswith(b",") else tuple(found)


def parse(value: bytes) -> tuple[tuple[Mailbox, ...], str]:
    """Return the mailboxes of an address field and the first fault ("" if none); linear, never raises."""
    usual = _usual(value)
    if usual is not None:
        return (usual,), ""
    several = _usual_list(value) if len(value) <= MAX_VALUE else ()
    if several:
        return several, ""
    if len(value) > MAX_VALUE:
        value, fault = value[:MAX_VALUE], "it is longer than 64 KiB"
    else:
        fault = ""
    reader = _Reader()
    position, token = 0, _TOKEN
    while position < len(value):
        if value[position : position + 1] == b"(":
            position, deep = _skip_comment(value, position)
            reader.fault(deep)
            continue
        found = token.match(value, position)
        if found is None:
            break
        if found[0] == b'"':
            token = _TOKEN_UNCLOSED
        reader.take(found.lastgroup or "special", found[0])
        position = found.end()
        if len(reader.mailboxes) >= MAX_MAILBOXES:
            reader.fault(f"it names more than {MAX_MAILBOXES} addresses")
            break
    reader.close()
    if reader.prefix:
        reader.fault("it contains a name without an address")
        reader.mailboxes.append(Mailbox(", ".join(reader.prefix[:20]), "", "", ""))
    return tuple(reader.mailboxes), fault or reader.wrong


def _skip_comment(value: bytes, start: int) -> tuple[int, str]:
    """Return where the comment that opens at `start` ends, and a fault if it is unclosed or too deep."""
    depth, position = 0, start
    while position < len(value):
        char = value[position]
        depth += 1 if char == 0x28 else -1 if char == 0x29 else 0
        if depth > MAX_COMMENT_DEPTH:
            return len(value), "its comments are nested too deeply"
        position += 1
        if depth == 0:
            return position, ""
        step = _COMMENT_STEP.match(value, position)
        position = step.end() if step is not None else position
        if position < len(value) and value[position] == 0x5C:  # a backslash that escapes nothing
            position += 1
    return len(value), "a comment in it is never closed"


class _Reader:
    """The grammar's state: the words of the phrase before an angle, and the address inside it."""

    def __init__(self) -> None:
        self.mailboxes: list[Mailbox] = []
        self.wrong = ""
        #: words before an unquoted comma, which belong to the display name that follows ("Weber, Anna <…>")
        self.prefix: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self.phrase: list[tuple[str, bytes]] = []
        self.angle: list[tuple[str, bytes]] | None = None
        self.closed = False

    def fault(self, sentence: str) -> None:
        self.wrong = self.wrong or sentence

    def take(self, kind: str, token: bytes) -> None:
        if kind == "special" and token == b"<":
            if self.angle is not None:
                self.fault("it contains two addresses in angle brackets where one belongs")
            self.angle = []
        elif kind == "special" and token == b">":
            if self.angle is None or self.closed:
                self.fault("it contains a stray angle bracket")
            self.closed = True
        elif self.angle is not None and not self.closed:
            self.angle.append((kind, token))
        elif kind == "special" and token in b",;":
            self.close()
        elif kind == "special" and token == b":":
            self.fault("it contains a group instead of an address")
            self._clear()
        elif self.closed and kind != "blank":
            self.fault("there is text after the address in angle brackets")
        else:
            self.phrase.append((kind, token))

    def close(self) -> None:
        """End one mailbox: keep it, or note what is wrong with it."""
        phrase, angle, closed = self.phrase, self.angle, self.closed
        self._clear()
        words = [item for item in phrase if item[0] != "blank"]
        if angle is None:
            if words:
                self._keep("", words, bare=True, phrase=phrase)
            return
        if not closed:
            self.fault("an angle bracket in it is never closed")
        display = _display(phrase)
        self._keep(display, [item for item in angle if item[0] != "blank"], bare=False, phrase=phrase)
        if (b"@" in [token for _, token in words]) and self.mailboxes:
            hidden = "".join(decode(token) for _, token in words).lower()
            if hidden != self.mailboxes[-1].address.lower():
                self.fault("its display name is itself an address, without quotes")

    def _keep(
        self, display: str, words: list[tuple[str, bytes]], *, bare: bool, phrase: list[tuple[str, bytes]]
    ) -> None:
        tokens = [token for _, token in words]
        if tokens.count(b"@") != 1:
            self._no_address(_display(phrase) if bare else display, tokens, bare=bare)
            return
        if self.prefix and not bare:
            display = ", ".join([*self.prefix[:20], display])
            self.prefix = []
        at = tokens.index(b"@")
        local, domain = _local(words[:at]), decode(b"".join(tokens[at + 1 :]))
        normal = normal_domain(domain)
        if not local or not normal:
            self.fault("it contains an address that mail programs read differently")
        self.mailboxes.append(Mailbox(display, f"{local}@{normal}", local, normal))

    def _no_address(self, display: str, tokens: list[bytes], *, bare: bool) -> None:
        if tokens.count(b"@") > 1:
            self.fault("it contains an address that mail programs read differently")
        elif bare:
            self.prefix.append(display)
            return
        else:
            self.fault(
                "it contains an empty address" if not tokens else "it contains a name without an address"
            )
        self.mailboxes.append(Mailbox(display, "", "", ""))


def _display(phrase: list[tuple[str, bytes]]) -> str:
    out = []
    for kind, token in phrase:
        out.append(_UNQUOTE.sub(rb"\1", token[1:-1]) if kind == "quoted" else token)
    return decode_words(b"".join(out)).strip()


def _local(words: list[tuple[str, bytes]]) -> str:
    """Return the local part, "" where it is not one (quoted ones only if they would be atoms too)."""
    if len(words) == 1 and words[0][0] == "quoted":
        text = decode(_UNQUOTE.sub(rb"\1", words[0][1][1:-1]))
    else:
        text = decode(b"".join(token for _, token in words))
    return text if _LOCAL.fullmatch(text) and len(text) <= 254 else ""
