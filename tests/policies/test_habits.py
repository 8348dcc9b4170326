from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policies.habits import MOST_POINTS, Act, Novelty, Profile, abstains, compromise, novelty

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
OLD = NOW - timedelta(days=100)
HOME, PHONE = "198.51.100.0/24", "aaaa"
#: a person who writes at office hours, from one place with one program
PERSON = Profile(
    since=OLD,
    days=60,
    hours=(0,) * 8 + (40,) * 9 + (0,) * 7,
    networks={HOME: OLD},
    programs={PHONE: OLD},
    busiest_day=40,
    largest=12,
)
USUAL = Act(NOW, HOME, PHONE, recipients=2, today=10)


def test_what_is_usual_is_not_new() -> None:
    assert novelty(PERSON, USUAL) == Novelty()


@pytest.mark.parametrize(
    ("act", "score", "reason"),
    [
        (replace(USUAL, network="203.0.113.0/24"), 0.5, "a network new to it"),
        (replace(USUAL, program="bbbb"), 0.4, "a mail program new to it"),
        (replace(USUAL, at=NOW.replace(hour=2)), 0.3, "never at 02 h UTC"),
        (replace(USUAL, today=121), 0.4, "121 recipients today, 40 on its busiest day"),
        (replace(USUAL, recipients=37), 0.4, "37 recipients at once, 12 before"),
    ],
)
def test_each_sign_is_told_in_words(act: Act, score: float, reason: str) -> None:
    assert novelty(PERSON, act) == Novelty(score, (reason,))


def test_signs_add_up_and_never_beyond_one() -> None:
    stolen = Act(NOW.replace(hour=3), "203.0.113.0/24", "bbbb", recipients=500, today=5000)
    found = novelty(PERSON, stolen)
    assert 0.9 < found.score < 1.0
    assert len(found.reasons) == 5


@pytest.mark.parametrize(
    "profile",
    [
        Profile(),
        replace(PERSON, since=NOW - timedelta(days=13, hours=23)),
        replace(PERSON, days=4),
        replace(PERSON, hours=(0,) * 10 + (19,) + (0,) * 13),
    ],
)
def test_young_accounts_have_no_habits(profile: Profile) -> None:
    found = novelty(profile, replace(USUAL, network="203.0.113.0/24"))
    assert (found.score, found.reasons) == (0.0, ())
    assert found.abstains == abstains(profile, NOW) != ""


def test_what_came_an_hour_ago_is_still_new_and_a_day_later_is_not() -> None:
    fresh = replace(PERSON, networks={HOME: OLD, "203.0.113.0/24": NOW - timedelta(hours=1)})
    act = replace(USUAL, network="203.0.113.0/24")
    assert novelty(fresh, act).score == 0.5
    assert novelty(fresh, replace(act, at=NOW + timedelta(hours=24))).score == 0.0


def test_whoever_travels_is_hardly_suspect_for_another_network() -> None:
    traveller = replace(PERSON, networks={f"192.0.{n}.0/24": OLD for n in range(30)})
    assert novelty(traveller, replace(USUAL, network="203.0.113.0/24")).score == 0.2


def test_steady_growth_is_never_new() -> None:
    busiest = 40
    for _ in range(30):  # half as much again each day
        today = busiest * 3 // 2
        assert novelty(replace(PERSON, busiest_day=busiest), replace(USUAL, today=today)).score == 0.0
        busiest = today


def test_mail_without_a_programs_name_and_small_numbers_tell_nothing() -> None:
    few = replace(PERSON, busiest_day=1, largest=1)
    assert novelty(few, replace(USUAL, program="", today=50, recipients=10)).score == 0.0


@pytest.mark.parametrize(
    ("content", "score", "points"),
    [
        (0.9, 1.0, 0.0), (-5.0, 1.0, 0.0), (2.0, 0.29, 0.0), (2.0, 0.5, 1.0), (3.0, 0.8, 2.4),
        (20.0, 1.0, MOST_POINTS),
    ],
)  # fmt: skip
def test_compromise_is_content_times_novelty(content: float, score: float, points: float) -> None:
    assert compromise(content, Novelty(score)) == points
