"""Text as patterns should see it, and evidence as people may see it."""

from __future__ import annotations

import re
import unicodedata

import re2

MAX_EVIDENCE = 200

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]+"
)
#: letters of other scripts that look like Latin ones; used only in words that mix scripts
_CYRILLIC = "аеорсухіјѕһԁԛԝкмтвнАВЕКМНОРСТХІЈЅ"
_GREEK = "αορνικτυωΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
_LOOKALIKES = str.maketrans(
    _CYRILLIC + _GREEK, "aeopcyxijshdqwkmtbhABEKMHOPCTXIJS" + "aopviktuwABEZHIKMNOPTYX"
)
_STYLED = re.compile("[\U0001d400-\U0001d7ff\u24b6-\u24e9]{3,}")
_KINDS = ("invisible", "scripts", "styled")
_ODD = re2.Set.SearchSet()
for _pattern in (_INVISIBLE.pattern, "[\u0370-\u03ff\u0400-\u052f]", _STYLED.pattern):
    _ODD.Add(_pattern)
_ODD.Compile()
_MIXED = re.compile(r"[^\W\d_]{2,40}")
_LATIN = re.compile(r"[a-zA-Z]")
_TRANSITION = re.compile("[a-zA-Z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][a-zA-Z]")
_OTHER = re.compile(r"[\u0370-\u03ff\u0400-\u04ff\u0500-\u052f]")


def odd_letters(text: str) -> frozenset[str]:
    """Return which unusual letters the text has: "invisible", "scripts" (Greek, Cyrillic), "styled"."""
    if text.isascii():
        return frozenset()
    # a DFA over UTF-8: ten times the speed of `re` on long text
    return frozenset(_KINDS[index] for index in _ODD.Match(text.encode()) or ())


def folded(text: str, odd: frozenset[str] | None = None) -> str:
    """Return the text with blanks collapsed, invisible characters gone and lookalike letters made plain.

    `odd` is what `odd_letters` said of it, where that is known.
    """
    if not text.isascii():
        odd = odd_letters(text) if odd is None else odd
        if "invisible" in odd:
            text = _INVISIBLE.sub("", text)
        if not unicodedata.is_normalized("NFKC", text):
            text = unicodedata.normalize("NFKC", text)
        if "scripts" in odd and _TRANSITION.search(text):
            text = _MIXED.sub(_plain_word, text)
    return " ".join(text.split())


def _plain_word(found: re.Match[str]) -> str:
    word = found[0]
    return word.translate(_LOOKALIKES) if _LATIN.search(word) and _OTHER.search(word) else word


def mixed_words(text: str) -> list[str]:
    """Return up to five words that mix Latin with Greek or Cyrillic letters."""
    if text.isascii() or not _TRANSITION.search(text):
        return []
    found = (match[0] for match in _MIXED.finditer(text))
    mixed = (word for word in found if _LATIN.search(word) and _OTHER.search(word))
    return [word for word, _ in zip(mixed, range(5), strict=False)]


def shown(text: str, limit: int = MAX_EVIDENCE) -> str:
    """Return the text as evidence: printable, on one line, at most `limit` characters."""
    text = " ".join(text[: 4 * limit].split())
    if not text.isprintable():
        text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:limit])
    return text if len(text) <= limit else text[: limit - 1] + "…"
