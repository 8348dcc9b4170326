from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from screening import plain

#: letters that meet in real text, and those that change one another
_TEXT = st.text(
    st.one_of(
        st.sampled_from(
            "ab Z9.\u0301\u0308\u00e9\u00a0\u00ad\u200b\u2026\u2122\ufb01\u0430\u043e\u0435"
            "\u03bf\U0001d400\u24b6\uac00\u11a8\u1161\u1100\u3099\u304b"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


def _plain_word(found: re.Match[str]) -> str:
    word = found[0]
    return (
        word.translate(plain._LOOKALIKES) if plain._LATIN.search(word) and plain._OTHER.search(word) else word
    )


def _slowly(text: str) -> str:
    """Return what `folded` promises, without its short cuts."""
    text = unicodedata.normalize("NFKC", plain._INVISIBLE.sub("", text))
    if plain._TRANSITION.search(text):
        text = plain._MIXED.sub(_plain_word, text)
    return " ".join(text.split())


@given(_TEXT)
def test_folding_takes_no_short_cut_that_shows(text: str) -> None:
    assert plain.folded(text) == _slowly(text)


@given(_TEXT)
def test_odd_letters_are_found_wherever_they_stand(text: str) -> None:
    kinds = plain.odd_letters(text)
    assert ("styled" in kinds) is bool(plain._STYLED.search(text))
    assert ("invisible" in kinds) is bool(plain._INVISIBLE.search(text))
    if plain.UNSETTLED not in kinds:
        settled = text.replace("\u2026", "...")
        assert " ".join(unicodedata.normalize("NFKC", settled).split()) == " ".join(settled.split())


def test_settled_letters_are_left_alone_by_nfkc_wherever_they_stand() -> None:
    settled = re.compile(f"[{plain._SETTLED}]")
    letters = [chr(code) for code in range(0x80, 0x20000) if settled.match(chr(code))]
    assert len(letters) > 30_000
    for letter in letters:
        if not letter.isspace() and letter != "\u2026":
            assert unicodedata.is_normalized("NFKC", letter), hex(ord(letter))
            assert not unicodedata.category(letter).startswith("M"), hex(ord(letter))
