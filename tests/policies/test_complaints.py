from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.complaints import Bounced, Cohorts, Heed, Voted, heed

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


def vote(
    message: str = "m", voter: str = "v", reporter: str = "r", age: timedelta = DAY, **kinds: bool
) -> Voted:
    return Voted(NOW, 1, NOW - age, message, voter, reporter, **kinds)


def numbers(cohorts: Cohorts, now: datetime = NOW) -> dict[str, int]:
    return {name: value for name, value in cohorts.numbers(now).items() if value}


def test_votes_and_mail_are_booked_on_the_day_the_mail_was_sent() -> None:
    cohorts = Cohorts()
    cohorts.sent(NOW - 8 * DAY, relayed=100, to_reporters=60)
    cohorts.sent(NOW, relayed=10, to_reporters=5)
    cohorts.voted(vote(age=8 * DAY))
    cohorts.voted(vote("n", reporter="s"))
    cohorts.bounced(Bounced(NOW, 1, NOW - 8 * DAY))
    assert numbers(cohorts) == {
        "votes": 2,
        "relayed_to_reporters": 65,
        "reporters": 2,
        "votes_7d": 1,
        "relayed_to_reporters_7d": 5,
        "reporters_7d": 1,
        "relayed_7d": 10,
        "relayed_30d": 110,
        "busiest_day_30d": 100,
        "hard_bounces": 1,
    }


@pytest.mark.parametrize(
    ("age_days", "in_month", "in_week"),
    [(0, 1, 1), (6, 1, 1), (7, 1, 0), (29, 1, 0), (30, 0, 0), (31, 0, 0), (-1, 0, 0)],
)
def test_cohorts_are_of_thirty_and_of_seven_days(age_days: int, in_month: int, in_week: int) -> None:
    cohorts = Cohorts()
    at = NOW - age_days * DAY
    cohorts.sent(at, relayed=1, to_reporters=1)
    cohorts.voted(Voted(NOW, 1, at, "m", "v", "r"))
    cohorts.bounced(Bounced(NOW, 1, at))
    found = cohorts.numbers(NOW)
    for name in ("votes", "relayed_to_reporters", "reporters", "relayed_30d", "hard_bounces"):
        assert found[name] == in_month
    for name in ("votes_7d", "relayed_to_reporters_7d", "reporters_7d", "relayed_7d"):
        assert found[name] == in_week


def test_days_pass_without_a_message() -> None:
    cohorts = Cohorts()
    cohorts.sent(NOW, relayed=3, to_reporters=2)
    assert cohorts.numbers(NOW)["relayed_7d"] == 3
    assert cohorts.numbers(NOW)["busiest_day_30d"] == 0
    assert cohorts.numbers(NOW + DAY)["busiest_day_30d"] == 3
    assert cohorts.numbers(NOW + 7 * DAY)["relayed_7d"] == 0
    assert cohorts.numbers(NOW + 29 * DAY)["relayed_30d"] == 3
    assert cohorts.numbers(NOW + 30 * DAY)["relayed_30d"] == 0


def test_mail_of_the_same_day_is_added_to_sums_made_before() -> None:
    cohorts = Cohorts()
    for _ in range(3):
        cohorts.sent(NOW, relayed=2, to_reporters=1)
        cohorts.numbers(NOW)
    assert numbers(cohorts) == {
        "relayed_7d": 6,
        "relayed_30d": 6,
        "relayed_to_reporters": 3,
        "relayed_to_reporters_7d": 3,
    }
    cohorts.sent(NOW - DAY, relayed=5, to_reporters=0)
    assert cohorts.numbers(NOW)["relayed_7d"] == 11
    assert cohorts.numbers(NOW)["busiest_day_30d"] == 5
    cohorts.voted(vote())
    assert cohorts.numbers(NOW)["votes"] == 1
    cohorts.bounced(Bounced(NOW, 1, NOW))
    assert cohorts.numbers(NOW)["hard_bounces"] == 1


def test_one_vote_for_each_message_and_voter() -> None:
    cohorts = Cohorts()
    for message, voter in (("m", "v"), ("m", "v"), ("m", "w"), ("n", "v")):
        cohorts.voted(vote(message, voter))
    assert cohorts.numbers(NOW)["votes"] == 3


def test_unlisted_reports_are_counted_for_staff_only() -> None:
    cohorts = Cohorts()
    for _ in range(2):
        cohorts.voted(vote(listed=False))
    cohorts.voted(vote("n", listed=False))
    assert numbers(cohorts) == {"grade_b": 2}


def test_not_spam_takes_a_complaint_back_whichever_comes_first() -> None:
    for order in (1, -1):
        cohorts = Cohorts()
        for one in (vote(), vote(taken_back=True))[::order]:
            cohorts.voted(one)
        assert cohorts.numbers(NOW)["votes"] == 0
        assert cohorts.numbers(NOW)["reporters"] == 0


def test_not_spam_never_counts_as_a_complaint() -> None:
    cohorts = Cohorts()
    cohorts.voted(vote(taken_back=True))
    cohorts.voted(vote("n", listed=False))
    cohorts.voted(vote("n", taken_back=True))
    assert numbers(cohorts) == {}


def test_after_a_reinstatement_only_what_is_sent_later_counts() -> None:
    cohorts = Cohorts()
    cohorts.sent(NOW - DAY, relayed=9, to_reporters=9)
    cohorts.voted(vote())
    cohorts.numbers(NOW)
    cohorts.start_anew(NOW)
    for sent_at in (NOW - DAY, NOW):
        cohorts.voted(Voted(NOW, 1, sent_at, "m", "v", "r"))
        cohorts.bounced(Bounced(NOW, 1, sent_at))
    assert numbers(cohorts) == {}
    cohorts.voted(Voted(NOW, 1, NOW + MOMENT, "m", "v", "r"))
    cohorts.bounced(Bounced(NOW, 1, NOW + MOMENT))
    assert numbers(cohorts) == {
        "votes": 1,
        "votes_7d": 1,
        "reporters": 1,
        "reporters_7d": 1,
        "hard_bounces": 1,
    }


votes = st.builds(
    vote,
    st.sampled_from("mno"),
    st.sampled_from("vw"),
    st.sampled_from("rs"),
    listed=st.booleans(),
    taken_back=st.booleans(),
)


@given(st.lists(votes, max_size=12), st.randoms(use_true_random=False))
def test_duplicates_and_the_order_of_reports_change_nothing(reports: list[Voted], source: object) -> None:
    straight, shuffled = Cohorts(), Cohorts()
    again = [*reports, *reports]
    source.shuffle(again)  # type: ignore[attr-defined]
    for one in reports:
        straight.voted(one)
    for one in again:
        shuffled.voted(one)
    assert straight.numbers(NOW) == shuffled.numbers(NOW)


@pytest.mark.parametrize(
    ("votes_1h", "usual", "expected", "limit"),
    [
        (1000, 0.0, Heed.COUNT, 1000),
        (1001, 0.0, Heed.REVIEW, 1000),
        (1001, 100.0, Heed.REVIEW, 1000),
        (1100, 110.0, Heed.COUNT, 1100),
        (1101, 110.0, Heed.REVIEW, 1100),
        (10_000, 5000.0, Heed.COUNT, 10_000),
        (10_001, 5000.0, Heed.REVIEW, 10_000),
    ],
)
def test_a_flood_of_one_reporter_waits_for_staff(
    votes_1h: int, usual: float, expected: Heed, limit: int
) -> None:
    decision = heed(votes_1h, usual)
    assert decision.action is expected
    assert decision.numbers == {"votes_1h": votes_1h, "usual_votes_1h": usual, "limit": limit}
    flood = f"{votes_1h} votes within an hour, at most {limit} count"
    assert decision.reason == (flood if expected is Heed.REVIEW else "")


def test_of_two_reporters_of_one_vote_the_first_by_name_stands_in_any_order() -> None:
    for order in ("ab", "ba"):
        cohorts = Cohorts()
        for reporter in order:
            cohorts.voted(vote(reporter=reporter))
        cohorts.voted(vote("n", reporter="a"))
        assert (cohorts.numbers(NOW)["votes"], cohorts.numbers(NOW)["reporters"]) == (2, 1), order


@pytest.mark.parametrize(("votes_1h", "expected"), [(3, Heed.COUNT), (4, Heed.REVIEW)])
def test_a_cap_that_staff_set_for_a_reporter_holds_instead(votes_1h: int, expected: Heed) -> None:
    assert heed(votes_1h, 10_000.0, 3).action is expected
    assert heed(votes_1h, 0.0, 3).numbers["limit"] == 3
