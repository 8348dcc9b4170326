"""What was said and what arrived: one entry a message, and Invariant I over all of them.

I: every message answered 250 is delivered or bounced exactly once; one answered 4xx or 5xx, or not at all, is
delivered at most once. A second copy is forgiven only where a kill fell between the customer's server's yes
and its record, which nobody can know apart; each such kill forgives one (`Entry.limit`).
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SENDER = "alice@acme.example"
DOMAIN = "load.example"
KINDS = ("now", "now", "now", "later", "later", "bad", "bad", "both", "dot", "cut")
_NUMBER = re.compile(rb"Message-ID: <n(\d+)@load\.example>")
#: a note about held mail shows no header of it, and whom it is for
_NAMED = re.compile(rb"[a-z]-(\d+)@load\.example\r\n")
_WORDS = (
    "the",
    "meeting",
    "on",
    "Thursday",
    "moves",
    "to",
    "ten",
    "because",
    "Anna",
    "and",
    "Tom",
    "are",
    "late",
)


def number_in(text: bytes) -> int:
    """Return which message this is, or which one it is about."""
    found = _NUMBER.search(text) or _NAMED.search(text)
    assert found, text[:300]
    return int(found[1])


@dataclass
class Entry:
    """One message: what the client did and heard, and what the customer's server saw."""

    number: int
    kind: str
    raw: bytes
    #: how far the client is: new, mail, rcpt, text, dot, answered
    phase: str = "new"
    #: on its way since the last kill
    fresh: bool = True
    #: every answer that ended a try; b"" where the connection broke first
    answers: list[bytes] = field(default_factory=list)
    #: recipient → copies that the server took
    copies: Counter[str] = field(default_factory=Counter)
    bounces: int = 0
    #: recipient → copies that are in order
    limit: Counter[str] = field(default_factory=Counter)
    bounce_limit: int = 1
    #: queue id under which it was committed before a kill that left the client without an answer
    owed: str = ""
    #: the server refused a recipient for good, and has not seen the bounce yet
    refused: bool = False

    @property
    def people(self) -> tuple[str, ...]:
        """Return the recipients."""
        kinds = ("later", "bad") if self.kind == "both" else (self.kind,)
        return tuple(f"{kind}-{self.number}@{DOMAIN}" for kind in kinds)

    @property
    def good(self) -> tuple[str, ...]:
        """Return the recipients that get it in the end."""
        return tuple(one for one in self.people if not one.startswith("bad"))

    @property
    def promised(self) -> bool:
        """Return whether a try was answered 250."""
        return any(answer.startswith(b"250") for answer in self.answers)

    @property
    def bounce_due(self) -> bool:
        """Return whether a recipient is refused for good."""
        return self.people != self.good


def text_of(number: int, kind: str, *, large: bool) -> bytes:
    """Return a message: every kind of line, and a Message-ID that nothing else has."""
    dice = random.Random(number)  # noqa: S311 - it makes test mail
    head = (
        f"From: Alice <{SENDER}>\r\nTo: <{kind}-{number}@{DOMAIN}>\r\nSubject: Thursday {number}\r\n"
        "Date: Mon, 16 Nov 2026 09:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        f"Message-ID: <n{number}@{DOMAIN}>\r\n\r\n"
    )
    lines = [" ".join(dice.sample(_WORDS, 9)) for _ in range(1500 if large else 12)]
    lines[3:3] = [".", "..two", "", "\t a tab and a trailing blank "]
    return (head + "\r\n".join(lines) + "\r\n").encode()


class Book:
    """All entries; whoever sees something says it here, and `armed` hears of it in the same thread."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.entries: list[Entry] = []
        #: hears (event, entry); set by the campaign while it waits for a moment to kill
        self.armed: Callable[[str, Entry], None] | None = None
        #: what must never happen
        self.faults: list[str] = []

    def new(self, kind: str, *, large: bool) -> Entry:
        """Begin a message."""
        with self.lock:
            number = len(self.entries)
            entry = Entry(number, kind, text_of(number, kind, large=large))
            entry.limit = Counter(dict.fromkeys(entry.people, 1))
            self.entries.append(entry)
            return entry

    def note(self, event: str, entry: Entry) -> None:
        """Tell whoever lies in wait."""
        armed = self.armed
        if armed is not None:
            armed(event, entry)

    def at(self, entry: Entry, phase: str) -> None:
        """Note how far a client is."""
        entry.phase = phase
        self.note(phase, entry)

    def again(self, entry: Entry) -> None:
        """Begin another try of the same bytes: unless the first one waits here, both may arrive."""
        with self.lock:
            entry.fresh = True
            if not entry.owed:
                for one in entry.people:
                    entry.limit[one] = entry.copies[one] + 1

    def answered(self, entry: Entry, answer: bytes) -> None:
        """Note the end of a try."""
        with self.lock:
            entry.answers.append(answer)
            if entry.owed and answer.startswith(b"250") and entry.owed.encode() not in answer:
                self.faults.append(f"{entry.number} waits as {entry.owed}, its retry was told {answer!r}")
        if answer:
            self.at(entry, "answered")

    def arrived(self, raw: bytes, sender: bytes, people: list[str]) -> Entry:
        """Note a message that the server takes; the entry is that of the message or of the bounced one."""
        with self.lock:
            entry = self.entries[number_in(raw)]
            if sender == b"":
                entry.bounces += 1
                entry.refused = False
                return entry
            if not raw.endswith(entry.raw):
                self.faults.append(f"{entry.number} arrived altered")
            for one in people:
                entry.copies[one] += 1
            return entry

    # --- the invariant

    def broken(self, rows: dict[int, set[str]], reports: set[int]) -> list[str]:
        """Return what is wrong, where `rows` (number → recipients) and `reports` still wait."""
        with self.lock:
            found = list(self.faults)
            for entry in self.entries:
                found += self._broken(entry, rows.get(entry.number, set()), entry.number in reports)
            return found

    def _broken(self, entry: Entry, waits: set[str], reported: bool) -> list[str]:  # noqa: FBT001
        name = f"{entry.kind} {entry.number} {entry.answers}"
        found = [
            f"{name}: {entry.copies[one]} copies for {one}, {entry.limit[one]} in order"
            for one in entry.people
            if entry.copies[one] > entry.limit[one]
        ]
        if entry.bounces > entry.bounce_limit:
            found.append(f"{name}: {entry.bounces} bounces, {entry.bounce_limit} in order")
        if entry.promised:
            lost = [one for one in entry.good if not entry.copies[one] and one not in waits]
            found += [f"{name}: promised, and lost for {one}" for one in lost]
            if entry.bounce_due and not (entry.bounces or reported or waits - set(entry.good)):
                found.append(f"{name}: promised, refused, and never bounced")
        if any(entry.copies[one] for one in set(entry.people) - set(entry.good)):
            found.append(f"{name}: delivered although refused")
        return found
