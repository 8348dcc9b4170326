from __future__ import annotations

import random

from screening.fingerprint import NEAR_BITS, Campaigns, distance, of_text
from tests.screening.mails import mail_of

LETTER = (
    "Dear customer, our spring offer ends on Friday: garden tools, seeds and pots at half the price. "
    "Come to our shop in the old town or order on our pages, we deliver within two days to your door. "
    "Your order number is {} and your adviser is {}. Kind regards from all of us at the garden centre."
)
OTHER = (
    "The committee met on Monday to discuss the new bylaws. Three members were absent, two proposals were "
    "put to the vote and both were carried. The treasurer reported that the accounts are balanced and that "
    "the roof of the club house needs repair before the winter comes."
)


def test_copies_of_one_campaign_are_near_and_others_far() -> None:
    one, two = of_text(LETTER.format(4711, "Anna")), of_text(LETTER.format(9933, "Bert"))
    assert distance(one, two) <= NEAR_BITS
    assert distance(one, of_text(OTHER)) > 2 * NEAR_BITS


def test_short_texts_say_nothing() -> None:
    assert of_text("Thanks, see you then") == 0
    assert mail_of("Thanks, see you then").fingerprint == 0


def test_the_fingerprint_does_not_change_between_processes() -> None:
    assert of_text(OTHER) == 0x82E25013510AFE91
    assert of_text(OTHER.upper()) == of_text(OTHER.lower()) != 0
    assert of_text(LETTER.format(1, "Anna")) == of_text(LETTER.format(2, "Anna"))


def test_known_campaigns_are_found_within_a_few_bits_and_forgotten() -> None:
    known: Campaigns[str] = Campaigns()
    base = of_text(OTHER)
    known.add(base, "case-1")
    chosen = random.Random(7)  # noqa: S311 - a table of bits, no secret
    for bits in range(NEAR_BITS + 1):
        near = base
        for bit in chosen.sample(range(64), bits):
            near ^= 1 << bit
        found = known.nearest(near)
        assert found is not None
        assert (found.label, found.bits) == ("case-1", bits)
    assert known.nearest(base ^ 0xFFFF) is None
    assert known.nearest(0) is None
    known.forget(base)
    assert known.nearest(base) is None
    assert len(known) == 0


def test_the_oldest_are_dropped_first() -> None:
    known: Campaigns[int] = Campaigns(limit=2)
    for value in (0xFF, 0xFF00, 0xFF0000):
        known.add(value, value)
    known.add(0, 0)
    assert len(known) == 2
    assert known.nearest(0xFF) is None
    assert known.nearest(0xFF0000) is not None
