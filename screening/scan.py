"""All patterns of all rules in one linear pass for each scanned part of a mail.

google-re2 `Set` for patterns, Aho-Corasick for literals: a thousand rules cost one pass each, and no
pattern can take more than linear time (RE-24: RE2 refuses what it cannot run so).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import re2
from ahocorasick_rs import AhoCorasick, Implementation

from screening.mail import MAX_TEXT, Mail
from screening.plain import folded

#: Bound on the memory of one part's automaton; RE2 falls back to a slower linear search within it.
MAX_MEMORY_BYTES = 64 * 1024 * 1024

#: What a mail is about is said at its start: a long newsletter touches on everything somewhere.
OPENING = 2500

_HEADER_SCAN = 32 * 1024

#: Lists of words with fewer letters in all become an automaton of twice the speed and ten times the memory.
SMALL_LIST = 50_000


def _said(mail: Mail) -> str:
    return f"{mail.folded_subject}\n{mail.folded}"[:MAX_TEXT]


def _opening(mail: Mail) -> str:
    return f"{mail.folded_subject}\n{mail.folded[:OPENING]}"[:OPENING]


def _from(mail: Mail) -> str:
    return "\n".join(f"{folded(box.display)} <{box.address}>" for box in mail.from_[:20])


def _links(mail: Mail) -> str:
    return "\n".join(link.href for link in mail.links)


def _headers(mail: Mail) -> str:
    return mail.raw[: min(mail.body_start, _HEADER_SCAN)].decode("latin-1")


def _files(mail: Mail) -> str:
    names = [name for attachment in mail.attachments for name in attachment.filenames]
    names.extend(member.filename for member in mail.contents.members)
    return "\n".join(names)


#: The parts of a mail that patterns may name. `text` is the subject and all shown text, `opening`
#: its first 2500 characters.
PARTS: dict[str, Callable[[Mail], str]] = {
    "subject": lambda mail: mail.folded_subject,
    "opening": _opening,
    "from": _from,
    "text": _said,
    "html": lambda mail: mail.html,
    "links": _links,
    "headers": _headers,
    "files": _files,
}


def options() -> re2.Options:
    """Return how every pattern is read: any case, quiet errors, bounded memory."""
    chosen = re2.Options()
    chosen.case_sensitive = False
    chosen.log_errors = False
    chosen.max_mem = MAX_MEMORY_BYTES
    return chosen


def pattern_fault(pattern: str) -> str:
    """Return why RE2 cannot run the pattern, "" if it can."""
    try:
        re2.compile(pattern, options())
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    return ""


def size_of(pattern: str) -> int:
    """Return how large the pattern's program is, in RE2's instructions."""
    return int(re2.compile(pattern, options()).programsize)


_CLASS = re.compile(r"\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\\.")


def gate(pattern: str) -> str:
    """Return what stands before the pattern's first wide gap (`.{0,80}`): without it nothing matches.

    Gaps multiply the states of a joint automaton. The set runs the gate alone, and the whole pattern only
    where its gate matched.
    """
    plain = _CLASS.sub(lambda found: "\0" * len(found[0]), pattern)
    depth = 0
    for index, char in enumerate(plain):
        depth += (char == "(") - (char == ")")
        if depth == 0 and char == "|":
            return pattern
        if depth == 0 and plain.startswith(".{0,", index):
            return pattern[:index] if index > 2 and "|" not in _outside_groups(plain[index:]) else pattern
    return pattern


def _outside_groups(text: str) -> str:
    depth, out = 0, []
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth == 0:
            out.append(char)
    return "".join(out)


class Patterns:
    """The patterns of one part: `found(text)` gives the indexes of those that match."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._set = re2.Set.SearchSet(options())
        self._gated = frozenset(i for i, pattern in enumerate(self.patterns) if gate(pattern) != pattern)
        for pattern in self.patterns:
            self._set.Add(gate(pattern))
        self._set.Compile()
        self._compiled: dict[int, re2._Regexp] = {}

    def found(self, text: str) -> list[int]:
        """Return the indexes of the patterns that match somewhere in the text."""
        source = text.encode()
        opened = (self._set.Match(source) if source else None) or ()  # no match is None
        return [i for i in sorted(opened) if i not in self._gated or self._search(i, source) is not None]

    def evidence(self, index: int, text: str) -> str:
        """Return the words that pattern `index` matched."""
        match = self._search(index, text.encode())
        return match[0].decode() if match is not None else ""

    def _search(self, index: int, source: bytes) -> re2._Match | None:
        compiled = self._compiled.get(index)
        if compiled is None:
            compiled = self._compiled[index] = re2.compile(self.patterns[index], options())
        return compiled.search(source)


class Literals:
    """The literal words of one part, found whole (not inside longer words), in any case."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(dict.fromkeys(word.lower() for word in words))
        small = sum(map(len, self.words)) <= SMALL_LIST
        kind = Implementation.DFA if small else Implementation.ContiguousNFA
        self._automaton = AhoCorasick(list(self.words), implementation=kind)

    def found(self, text: str) -> set[str]:
        """Return the words that occur in the text."""
        low = text.lower()
        out: set[str] = set()
        for index, start, end in self._automaton.find_matches_as_indexes(low, overlapping=True):
            word = self.words[index]
            if word in out:
                continue
            before = start > 0 and low[start - 1].isalnum() and word[0].isalnum()
            after = end < len(low) and low[end].isalnum() and word[-1].isalnum()
            if not before and not after:
                out.add(word)
        return out
