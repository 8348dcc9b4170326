"""What the classifier sees of a message: nine sets of short tokens, each readable as evidence.

Sets, not counts: a word said a hundred times weighs as one, so repetition buys nothing. Everything is
capped, so that the cost does not grow with the message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, repeat
from string import ascii_uppercase
from typing import TYPE_CHECKING
from zlib import crc32

from screening.classify import shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from screening.mail import Mail

#: A change of what a token means changes this number: models and examples of another one are refused.
VERSION = 3
#: Slots of the weight table, a power of two: 2^18 costs no accuracy against 2^22 on the development mail.
SLOTS = 1 << 18

MAX_TEXT = 4096
MAX_SUBJECT = 400
MAX_HTML = 8192
MAX_LINKS = 60
MAX_FIELDS = 60
#: longer ones are addresses and data, not markup
MAX_MARK = 24
#: tokens of one group that count
MAX_TOKENS = 1500

#: Bytes as words are made of them: capitals small, all else of ASCII but letters, digits, $ and ' a blank.
_WORDS = bytes(
    byte if byte > 0x7F or chr(byte).isalnum() or byte in b"$'" else 32 for byte in bytes(range(256)).lower()
)
#: The same for markup, where name=value and name:value stay together; quotes go.
_MARKS = bytes(
    byte if byte > 0x7F or chr(byte).isalnum() or byte in b"=:#%.-!" else 32
    for byte in bytes(range(256)).lower()
)
_QUOTES = b"\"'"
#: Only capitals, and only the marks that people pile up; all else a blank.
_CAPITALS = bytes(byte if chr(byte) in ascii_uppercase else 32 for byte in range(256))
_PILED = bytes(byte if byte in b"!?$*#=_~<>|%.-" else 32 for byte in range(256))
_TAG = re.compile(rb"<[^<>]{1,400}")
#: scripts without blanks: two characters at a time
_UNSPACED = re.compile(rb"(?:[\xe3-\xed][\x80-\xbf]{2}){2}")
_LETTERS = re.compile(rb"[a-z]{2,20}")


@dataclass(frozen=True, slots=True)
class Group:
    """One set of tokens: its share of the score, and how evidence writes one of them."""

    name: str
    weight: float
    prefix: str = ""
    #: tokens are the message's own words
    words: bool = True


GROUPS = (
    Group("word", 0.9),
    Group("subject", 0.6, "subject "),
    Group("sender", 0.5, "sender "),
    Group("shape", 0.5, words=False),
    Group("link", 0.7, "link "),
    Group("markup", 0.6, "markup ", words=False),
    Group("order", 0.45, "fields ", words=False),
    Group("capitals", 0.3, "capitals "),
    Group("marks", 0.3, "marks ", words=False),
)
#: where each group starts its checksums, so that the same word has another place in another group
SALTS = tuple(crc32(group.name.encode()) for group in GROUPS)


def slots(tokens: Iterable[bytes], group: int) -> list[int]:
    """Return each token's place in the weight table, in the order given."""
    return [found & (SLOTS - 1) for found in map(crc32, tokens, repeat(SALTS[group]))]


def tokens(mail: Mail) -> tuple[Set[bytes], ...]:
    """Return the message's tokens by group, in the order of `GROUPS`; never raises."""
    text = _bytes(mail.folded[:MAX_TEXT])
    words = _words(text)
    subject = _words(_bytes(mail.subject[:MAX_SUBJECT]))
    author = mail.author
    return (
        set(words[:MAX_TOKENS]),
        {*subject, *map(b" ".join, pairwise(subject))},
        _sender(author.display[:200], author.local[:64], author.domain),
        {*shape.header(mail), *shape.text(mail, text, len(words))},
        _links(mail),
        _markup(_bytes(mail.html[:MAX_HTML])) if mail.html else set(),
        _order("\n".join([field.lower for field in mail.fields[:MAX_FIELDS]])[:2000]),
        {run for run in text.translate(_CAPITALS).split() if len(run) > 2},
        {run[:8] for run in text.translate(_PILED).split() if len(run) > 1 and run != b"--"},
    )


def _words(text: bytes) -> list[bytes]:
    """Return the words in order; where there are characters of unspaced scripts, their pairs too."""
    words = text.translate(_WORDS).split()
    return words if text.isascii() else words + _UNSPACED.findall(text)


def _markup(html: bytes) -> set[bytes]:
    """Return names and short values of tags and attributes."""
    found = set(b" ".join(_TAG.findall(html)).translate(_MARKS, _QUOTES).split())
    return {token for token in found if len(token) <= MAX_MARK}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@lru_cache(maxsize=2048)
def _sender(name: str, local: str, domain: str) -> frozenset[bytes]:
    """Return the sender's tokens; kept, since accounts send more than one mail."""
    out = {b"name " + word for word in _words(_bytes(name))}
    out.update(b"local " + word for word in _LETTERS.findall(_bytes(local.lower()))[:4])
    out.add(_bytes("@" + domain))
    out.add(_bytes("." + domain.rpartition(".")[2]))
    return frozenset(out)


@lru_cache(maxsize=1024)
def _order(names: str) -> frozenset[bytes]:
    """Return which field stands before which; every mail program has an order of its own."""
    return frozenset(map(b">".join, pairwise((b"", *_bytes(names).split(b"\n"), b""))))


def _links(mail: Mail) -> set[bytes]:
    """Hosts, top-level domains, path words and shown words, each with the kind of element that links."""
    out: set[bytes] = set()
    shown: list[str] = []
    domains: set[str] = set()
    author = mail.author_domain
    links = mail.links
    for link in links[:MAX_LINKS]:
        kind = link.tag or link.source[:1]
        if not link.host:
            out.update(_no_host(kind, link.href))
            continue
        path = link.path
        domains.add(link.domain)
        out.update(_host(kind, link.host, link.domain))
        out.update(_way(kind, link.href[:5], shape.size(len(path)), own=link.domain == author))
        shown.append(path[:200])
        if kind == "a":
            shown.append(link.text[:60])
    out.update(shape.phrases(f"count {shape.size(len(links))}", f"domains {shape.size(len(domains))}"))
    out.update(_LETTERS.findall(_bytes(" ".join(shown).lower()))[:MAX_TOKENS])
    return out


@lru_cache(maxsize=4096)
def _host(kind: str, host: str, domain: str) -> tuple[bytes, ...]:
    return shape.phrases(
        f"{kind} {host}".lower(),
        f"{kind} *.{domain}".lower(),
        f"{kind} .{host.rpartition('.')[2]}".lower(),
        f"{kind} host dots {host.count('.')}",
    )


@lru_cache(maxsize=1024)
def _way(kind: str, scheme: str, length: int, *, own: bool) -> tuple[bytes, ...]:
    place = "own" if own else "foreign"
    return shape.phrases(f"{kind} {scheme}".lower(), f"{kind} {place} domain", f"{kind} path length {length}")


def _no_host(kind: str, href: str) -> tuple[bytes, ...]:
    scheme, _, rest = href.partition(":")
    said = f"{kind} {scheme[:10]}:".lower()
    if scheme == "mailto":
        return shape.phrases(said, f"mailto {rest.rpartition('@')[2][:40]}".lower())
    return shape.phrases(said)
