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
#: What NFKC leaves alone wherever it stands (a test asks the standard library), and blanks, which are
#: collapsed anyway: text of these and ASCII, and that is most text, need not be normalised.
_SETTLED = (
    "\u00a0-\u00a7\u00a9\u00ab-\u00ae\u00b0\u00b1\u00b6\u00b7\u00bb\u00bf-\u0131\u0134-\u013e\u0141-\u0148"
    "\u014a-\u017e\u0180-\u01c3\u0391-\u03a1\u03a3-\u03ce\u0400-\u0482\u048a-\u052f\u05d0-\u05ea\u0621-\u063a"
    "\u0641-\u064a\u2000-\u200a\u2010\u2012-\u2016\u2018-\u2023\u2026\u202f-\u2032\u2039-\u203b\u20a0-\u20a7"
    "\u20a9-\u20bf\u2190-\u21ff\u25a0-\u27bf\u3000-\u3002\u3008-\u3011\u3041-\u3094\u30a1-\u30fa\u30fc"
    "\u4e00-\u9fff\uac00-\ud7a3\U0001f300-\U0001faff"
)
UNSETTLED = "unsettled"
_KINDS = ("invisible", "scripts", "styled", UNSETTLED)
_ODD = re2.Set.SearchSet()
for _pattern in (
    _INVISIBLE.pattern,
    "[\u0370-\u03ff\u0400-\u052f]",
    _STYLED.pattern,
    f"[^{_SETTLED}]",
):
    _ODD.Add(_pattern)
_ODD.Compile()
_ASCII = bytes(range(128))
_MIXED = re.compile(r"[^\W\d_]{2,40}")
_LATIN = re.compile(r"[a-zA-Z]")
_TRANSITION = re.compile("[a-zA-Z][\u0370-\u03ff\u0400-\u052f]|[\u0370-\u03ff\u0400-\u052f][a-zA-Z]")
_OTHER = re.compile(r"[\u0370-\u03ff\u0400-\u04ff\u0500-\u052f]")


def odd_letters(text: str) -> frozenset[str]:
    """Return which unusual letters the text has: "invisible", "scripts" (Greek, Cyrillic), "styled".

    `UNSETTLED` beside them says that NFKC may change it.
    """
    if text.isascii():
        return frozenset()
    rare = text.encode().translate(None, _ASCII)
    kinds = {_KINDS[number] for number in _ODD.Match(rare) or ()}
    if "styled" in kinds and not _STYLED.search(text):  # without ASCII between them three stood in a row
        kinds.remove("styled")
    return frozenset(kinds)


def folded(text: str, odd: frozenset[str] | None = None) -> str:
    """Return the text with blanks collapsed, invisible characters gone and lookalike letters made plain.

    `odd` is what `odd_letters` said of it, where that is known.
    """
    if not text.isascii():
        odd = odd_letters(text) if odd is None else odd
        if "invisible" in odd:
            text = _INVISIBLE.sub("", text)
        if UNSETTLED not in odd:
            text = text.replace("\u2026", "...")
        elif not unicodedata.is_normalized("NFKC", text):
            text = unicodedata.normalize("NFKC", text)
        if "scripts" in odd and _TRANSITION.search(text):
            text = _plain_words(text)
    return " ".join(text.split())


def _plain_words(text: str) -> str:
    """Return the text with lookalikes made plain in words that mix scripts; each word is looked at once."""
    rare = [word for word in set(_MIXED.findall(text)) if not word.isascii()]
    plain = {
        word: word.translate(_LOOKALIKES) for word in rare if _LATIN.search(word) and _OTHER.search(word)
    }
    return _MIXED.sub(lambda found: plain.get(found[0], found[0]), text) if plain else text


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
