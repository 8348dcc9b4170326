"""A message parsed once, lazily: each view is made on first use, kept, and never raises.

Every view is linear in the message and bounded: header 256 KiB and 1000 fields, depth 20, 1000 parts,
256 KiB of text, 1000 links. What programs read in different ways ends in `malformed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import re2

from screening import magic
from screening.address import Mailbox, parse
from screening.attachments import Attachment, Contents, open_all
from screening.charset import decode, decode_words
from screening.fields import Block, Field, read
from screening.fingerprint import of_text
from screening.html import HtmlView, view
from screening.lazy import lazy
from screening.links import MAX_LINKS, Link, in_text, registrable
from screening.mime import Part, Structure, walk
from screening.plain import folded, odd_letters

MAX_TEXT = 256 * 1024
#: More letters than any program shows; patterns that look at it need not be linear.
MAX_SUBJECT = 2000
#: So much HTML is read where comments and blanks fill it.
_MAX_PADDED = 16 * MAX_TEXT
_UNSEEN = re2.compile(r"(?s)<!--.*?-->|\s{64,}")

#: address fields whose ambiguity refuses the message
_IDENTITIES = ("from", "sender", "reply-to", "resent-from", "resent-sender")


@dataclass(frozen=True, slots=True)
class SignedAs:
    """A signature that we are going to add: `key` is the base 64 of p= in its DNS record."""

    domain: str
    selector: str
    key: str


def _unsigned(_author_domain: str) -> tuple[SignedAs, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who hands a message in, and for whom; `received_at` is aware UTC."""

    id: str
    peer_ip: str
    helo: str
    tls: str
    login: str | None
    sender: str
    recipients: tuple[str, ...]
    received_at: datetime
    direction: str = "out"
    #: hosts that send it to the world, as far as is known
    leaves_from: tuple[str, ...] = ()
    #: tells how we sign mail of an author domain
    signed_as: Callable[[str], tuple[SignedAs, ...]] = _unsigned


class Mail:
    """One message with its envelope; immutable, lazy, never raises."""

    envelope: Envelope
    raw: bytes
    #: fields by name as they were first asked for: decoded, and as mailboxes with their fault
    _decoded: dict[str, str]
    _parsed: dict[str, tuple[tuple[Mailbox, ...], str]]

    def __init__(self, envelope: Envelope, raw: bytes) -> None:
        self.__dict__.update(envelope=envelope, raw=raw, _decoded={}, _parsed={})

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Mail does not change: {name}")

    # -- header ------------------------------------------------------------------------------------

    @lazy
    def _block(self) -> Block:
        return read(self.raw)

    @lazy
    def fields(self) -> tuple[Field, ...]:
        """All header fields in order."""
        return self._block.fields

    @lazy
    def body_start(self) -> int:
        """Offset of the first body byte in `raw` (its length if there is none)."""
        return self._block.body_start

    @lazy
    def _by_name(self) -> dict[str, list[Field]]:
        found: dict[str, list[Field]] = {}
        for field in self.fields:
            found.setdefault(field.lower, []).append(field)
        return found

    def raw_header(self, name: str) -> bytes:
        """Return the first such field's bytes, unfolded and stripped; b"" if absent. `name` is lower case."""
        found = self._by_name.get(name)
        return found[0].value if found else b""

    def raw_headers(self, name: str) -> list[bytes]:
        """Return every such field's bytes as `raw_header` does; `name` is lower case."""
        return [field.value for field in self._by_name.get(name, ())]

    def has(self, name: str) -> bool:
        """Return whether there is such a field; `name` is lower case."""
        return name in self._by_name

    def header(self, name: str) -> str:
        """Return the first such field, decoded (RFC 2047), unfolded, stripped; "" if absent."""
        name = name.lower()
        text = self._decoded.get(name)
        if text is None:
            found = self._by_name.get(name)
            text = self._decoded[name] = decode_words(found[0].value).strip() if found else ""
        return text

    def headers(self, name: str) -> tuple[str, ...]:
        """Return every such field, decoded as `header` does."""
        return tuple(decode_words(field.value).strip() for field in self._by_name.get(name.lower(), ()))

    @lazy
    def subject(self) -> str:
        """The start of the Subject, decoded; "" if absent."""
        return self.header("subject")[:MAX_SUBJECT]

    @lazy
    def folded_subject(self) -> str:
        """The Subject as patterns see it (`plain.folded`)."""
        return folded(self.subject)

    def mailboxes(self, name: str) -> tuple[Mailbox, ...]:
        """Return the mailboxes of all fields of that name."""
        name = name.lower()
        return self._mailboxes(name)[0] if name in self._by_name else ()

    def _mailboxes(self, name: str) -> tuple[tuple[Mailbox, ...], str]:
        known = self._parsed.get(name)
        if known is None:
            boxes: tuple[Mailbox, ...] = ()
            fault = ""
            for field in self._by_name.get(name, ())[:20]:
                more, wrong = parse(field.value)
                boxes, fault = boxes + more, fault or wrong
            known = self._parsed[name] = (boxes, fault)
        return known

    @lazy
    def from_(self) -> tuple[Mailbox, ...]:
        """The mailboxes of From."""
        return self.mailboxes("from")

    @lazy
    def author(self) -> Mailbox:
        """The first mailbox of From; an empty one if there is none."""
        return next(iter(self.from_), Mailbox("", "", "", ""))

    @lazy
    def author_domain(self) -> str:
        """The registrable domain of the author's address."""
        return registrable(self.author.domain)

    # -- parts -------------------------------------------------------------------------------------

    @lazy
    def _structure(self) -> Structure:
        return walk(self.raw, self.fields, self.body_start)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The leaves in order, every reading of an ambiguous one included."""
        return self._structure.parts

    @property
    def oddities(self) -> frozenset[str]:
        """Names of structural oddities, for rules to weigh."""
        return self._structure.oddities

    @lazy
    def _texts(self) -> tuple[str, str]:
        """Plain texts and HTML sources, each joined and capped."""
        plain: list[str] = []
        rich: list[str] = []
        room = [MAX_TEXT, MAX_TEXT]
        for part in self.parts:
            if not part.media_type.startswith("text/") or part.disposition == "attachment":
                continue
            is_html = part.media_type in ("text/html", "text/x-amp-html") or (
                part.media_type != "text/plain" and magic.kind_of(part.data) == "html"
            )
            text = decode(part.data[: 4 * room[is_html]], part.charset)
            if is_html and len(text) > room[True]:
                text = _UNSEEN.sub(" ", decode(part.data[:_MAX_PADDED], part.charset))
            text = text[: room[is_html]]
            room[is_html] -= len(text)
            (rich if is_html else plain).append(text)
            if not is_html and text[:200].lstrip()[:1] == "<" and "</" in text:
                rich.append(text)  # HTML under a false label: some programs show it as such
        return "\n".join(plain), "\n".join(rich)

    @property
    def plain(self) -> str:
        """The text/plain parts, decoded, at most 256 KiB."""
        return self._texts[0]

    @property
    def html(self) -> str:
        """The HTML source, decoded, at most 256 KiB."""
        return self._texts[1]

    @lazy
    def view(self) -> HtmlView:
        """What the HTML shows to a reader."""
        return view(self.html)

    @lazy
    def text(self) -> str:
        """All text parts, then the HTML as text; at most 256 KiB."""
        if not self.html:
            return self.plain
        return f"{self.plain}\n{self.view.text}".strip("\n")[:MAX_TEXT]

    @lazy
    def folded(self) -> str:
        """`text` as patterns see it: one blank between words, invisible characters gone, lookalikes plain."""
        if self.html and not self.letters and len(self.text) < MAX_TEXT:
            shown, rich = " ".join(self.plain.split()), self.view.text  # which has single blanks already
            shown = f"{shown} {rich}" if shown and rich else shown or rich
            return shown if shown.isascii() else shown.replace("\u2026", "...")
        return folded(self.text, self.letters)

    @lazy
    def fingerprint(self) -> int:
        """64 bits that copies of one campaign have nearly in common; 0 where the text says too little."""
        return of_text(self.folded)

    @lazy
    def letters(self) -> frozenset[str]:
        """Which unusual letters the text has: "invisible", "scripts", "styled" (see plain.py)."""
        return odd_letters(self.text)

    @lazy
    def links(self) -> tuple[Link, ...]:
        """The links of text and HTML in order, at most 1000."""
        found = in_text(self.plain)
        room = max(0, MAX_LINKS - len(found))
        return (*found, *self.view.links[:room])

    @lazy
    def clickable(self) -> tuple[Link, ...]:
        """The links a reader can open: not images, scripts and the like."""
        return tuple(
            link for link in self.links if link.source != "attribute" or link.tag in ("base", "form", "meta")
        )

    @lazy
    def linked(self) -> frozenset[str]:
        """The hosts of clickable links and their registrable domains."""
        return frozenset([*self.hosts, *(link.domain for link in self.hosts.values())])

    @lazy
    def hosts(self) -> dict[str, Link]:
        """The hosts of clickable links, each with the first link that leads there, in order."""
        found: dict[str, Link] = {}
        for link in self.clickable:
            if link.host:
                found.setdefault(link.host, link)
        return found

    @lazy
    def opens_no_host(self) -> bool:
        """Whether a clickable link leads to no host: mailto:, data: and their kind."""
        return any(not link.host for link in self.clickable)

    @lazy
    def attachments(self) -> tuple[Attachment, ...]:
        """Every leaf that is not shown as text."""
        out = []
        for part in self.parts:
            shown = part.media_type in ("text/plain", "text/html") and part.disposition != "attachment"
            if shown and not part.filenames:
                continue
            name = part.filenames[0] if part.filenames else ""
            kind = magic.kind_of(part.data)
            out.append(Attachment(name, part.filenames, part.media_type, kind, len(part.data), part.data))
        return tuple(out)

    @lazy
    def contents(self) -> Contents:
        """What the attached archives hold, opened under caps."""
        return open_all(self.attachments)

    # -- faults ------------------------------------------------------------------------------------

    @lazy
    def malformed(self) -> str:
        """Why no two programs would agree on this message, as a sentence; "" if they would."""
        if self.ambiguous:
            return self.ambiguous
        return _sentence(self._structure.fault) if self._structure.fault else ""

    @lazy
    def ambiguous(self) -> str:
        """Why no two programs would agree on who sends this message; its header alone is read."""
        if self._block.fault:
            return _sentence(self._block.fault)
        if b"\0" in self.raw:
            return _sentence("it contains NUL characters")
        for name in _IDENTITIES:
            if name not in self._by_name:
                continue
            boxes, fault = self._mailboxes(name)
            if fault:
                return _sentence(f"its {name.title()} field cannot be read without doubt: {fault}")
            if name == "from" and not boxes:
                return _sentence("its From field names no sender")
        return ""


def _sentence(fault: str) -> str:
    return f"The message is malformed: {fault}."
