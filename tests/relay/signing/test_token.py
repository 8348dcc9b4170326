"""The feedback token opens for its keyring alone, however it was folded on the way."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ids import message_id
from relay.keyring import Key, Keyring
from relay.signing import token
from relay.signing.token import Token

RING = Keyring([Key(1, b"a" * 32)])
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = Token(7, message_id(NOW), NOW, 1, b"h" * 16)
MANY = Token(7, message_id(NOW), NOW, 250)


@pytest.mark.parametrize("said", [ONE, MANY], ids=["one recipient", "many"])
def test_opens_what_it_sealed(said: Token) -> None:
    text = token.seal(RING, said)
    assert token.open(RING, text) == said
    assert len(text) in token.LENGTHS
    assert len(text) <= 120
    assert text.isalnum()


def test_folding_and_case_on_the_way_do_not_hurt() -> None:
    text = token.seal(RING, ONE)
    assert token.open(RING, " " + text[:30].upper() + "\r\n\t" + text[30:] + " ") == ONE


def test_says_nothing_to_others_and_differs_each_time() -> None:
    assert token.open(Keyring([Key(1, b"b" * 32)]), token.seal(RING, ONE)) is None
    assert token.open(Keyring([Key(2, b"a" * 32)]), token.seal(RING, ONE)) is None
    assert token.seal(RING, ONE) != token.seal(RING, ONE)


def test_survives_rotation() -> None:
    turned = Keyring([Key(1, b"a" * 32), Key(2, b"c" * 32)])
    assert token.open(turned, token.seal(RING, ONE)) == ONE
    assert token.open(RING, token.seal(turned, ONE)) is None


@given(st.text(max_size=200))
def test_cf_06_junk_opens_to_nothing(text: str) -> None:
    assert token.open(RING, text) is None


def test_cf_06_random_tokens_of_the_right_length_open_to_nothing() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    for length in sorted(token.LENGTHS):
        for _ in range(2000):
            assert token.open(RING, "".join(secrets.choice(alphabet) for _ in range(length))) is None


def test_one_changed_character_spoils_it() -> None:
    text = token.seal(RING, ONE)
    for place in range(len(text) - 1):  # the last one has two spare bits
        changed = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]
        assert token.open(RING, changed) is None


def test_times_keep_whole_seconds_and_counts_their_ceiling() -> None:
    said = Token(1 << 39, message_id(NOW), NOW + timedelta(milliseconds=900), 100_000)
    opened = token.open(RING, token.seal(RING, said))
    assert opened is not None
    assert (opened.sent_at, opened.recipients, opened.account_id) == (NOW, 65535, 1 << 39)
