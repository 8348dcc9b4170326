from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import rates
from policies.rates import Bucket, Limit, Take, left, refund, take, take_all

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TEN = Limit(10, timedelta(seconds=100), "account messages")  # one comes back every 10 s
MOMENT = timedelta(microseconds=1)


def taken(amount: int, limit: Limit = TEN, at: datetime = NOW) -> Bucket:
    bucket, decision = take(Bucket(), amount, limit, at)
    assert decision.action is Take.TAKEN
    return bucket


@pytest.mark.parametrize(
    ("cost", "expected"),
    [(0, Take.TAKEN), (1, Take.TAKEN), (10, Take.TAKEN), (11, Take.NEVER), (99, Take.NEVER)],
)
def test_a_full_bucket_gives_its_whole_limit_at_once_and_no_more(cost: int, expected: Take) -> None:
    bucket, decision = take(Bucket(), cost, TEN, NOW)
    assert decision.action is expected
    assert left(bucket, TEN, NOW) == 10 - (cost if expected is Take.TAKEN else 0)
    assert decision.numbers == {"limit": 10, "per_seconds": 100.0, "cost": cost}


@pytest.mark.parametrize(
    ("after", "cost", "expected", "wait"),
    [
        (timedelta(0), 1, Take.LATER, 10),
        (timedelta(seconds=10) - MOMENT, 1, Take.LATER, 1),
        (timedelta(seconds=10), 1, Take.TAKEN, None),
        (timedelta(seconds=10), 2, Take.LATER, 10),
        (timedelta(seconds=5), 2, Take.LATER, 15),
        (timedelta(seconds=100), 10, Take.TAKEN, None),
        (timedelta(seconds=100) - MOMENT, 10, Take.LATER, 1),
    ],
)
def test_an_empty_bucket_fills_at_the_limits_pace(
    after: timedelta, cost: int, expected: Take, wait: int | None
) -> None:
    empty = taken(10)
    bucket, decision = take(empty, cost, TEN, NOW + after)
    assert decision.action is expected
    assert decision.numbers.get("wait_seconds") == wait
    assert (bucket == empty) is (expected is not Take.TAKEN)


def test_a_new_bucket_is_full() -> None:
    assert Bucket() == Bucket(0)


def test_reasons_name_the_limit() -> None:
    assert take(taken(10), 1, TEN, NOW)[1].reason == "account messages: 10 in 0:01:40 is used up"
    assert take(Bucket(), 11, TEN, NOW)[1].reason == "11 at once is more than account messages: 10 in 0:01:40"
    assert take(Bucket(), 1, TEN, NOW)[1].reason == ""


def test_what_is_left_counts_whole_units() -> None:
    bucket = taken(3)
    assert left(bucket, TEN, NOW) == 7
    assert left(bucket, TEN, NOW + timedelta(seconds=10) - MOMENT) == 7
    assert left(bucket, TEN, NOW + timedelta(seconds=10)) == 8
    assert left(bucket, TEN, NOW + timedelta(days=9)) == 10
    assert left(bucket, Limit(2, timedelta(seconds=20)), NOW) == 0


def test_a_refund_gives_back_what_was_reserved_and_never_more_than_the_limit() -> None:
    assert left(refund(taken(4), 3, TEN), TEN, NOW) == 9
    assert refund(taken(4), 4, TEN) == take(Bucket(), 0, TEN, NOW)[0]
    assert refund(Bucket(), 5, TEN) == Bucket(0)
    assert left(refund(taken(1), 9, TEN), TEN, NOW) == 10


def test_every_level_gives_or_none_does() -> None:
    account, server = TEN, Limit(4, timedelta(seconds=40), "server messages")
    buckets = (Bucket(), Bucket())
    buckets_after, decision = take_all(buckets, 3, (account, server), NOW)
    assert decision.action is Take.TAKEN
    assert (decision.reason, decision.numbers) == ("", {"cost": 3})
    assert [left(one, limit, NOW) for one, limit in zip(buckets_after, (account, server), strict=True)] == [
        7,
        1,
    ]
    refused, decision = take_all(buckets_after, 2, (account, server), NOW)
    assert refused == buckets_after
    assert (decision.action, decision.numbers["wait_seconds"]) == (Take.LATER, 10)
    assert decision.reason.startswith("server messages")


def test_the_level_with_the_longest_wait_answers_and_never_is_longest() -> None:
    slow, small = Limit(10, timedelta(seconds=1000), "slow"), Limit(2, timedelta(seconds=2), "small")
    empty = (taken(10), taken(10, slow))
    for order in (1, -1):
        _, decision = take_all(empty[::order], 1, (TEN, slow)[::order], NOW)
        assert decision.reason.startswith("slow")
        _, decision = take_all((*empty, Bucket())[::order], 3, (TEN, slow, small)[::order], NOW)
        assert (decision.action, decision.numbers.get("wait_seconds")) == (Take.NEVER, None)


@given(
    st.integers(1, 50),
    st.integers(1, 3600),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5)), max_size=60),
)
def test_no_window_ever_sees_more_than_the_limit_and_what_comes_back_in_it(
    amount: int, seconds: int, asked: list[tuple[int, int]]
) -> None:
    limit = Limit(amount, timedelta(seconds=seconds))
    bucket, now, given_out = Bucket(), NOW, []
    for pause, cost in asked:
        now += timedelta(seconds=pause)
        bucket, decision = take(bucket, cost, limit, now)
        if decision.action is Take.TAKEN:
            given_out.append((now, cost))
    for first, _ in given_out:
        for last, _ in given_out:
            span = (last - first).total_seconds()
            total = sum(cost for at, cost in given_out if first <= at <= last)
            assert span < 0 or total <= amount + span * amount / seconds + 1e-6


@pytest.mark.parametrize(
    ("amount", "per_seconds", "interval_ns"),
    [(10, 100, 10**10), (3, 1, 333333334), (7, 86400, 12342857142858)],
)
def test_intervals_are_rounded_so_that_a_limit_is_never_exceeded(
    amount: int, per_seconds: int, interval_ns: int
) -> None:
    assert Limit(amount, timedelta(seconds=per_seconds)).interval_ns == interval_ns


def test_the_shipped_paces() -> None:
    assert (rates.PACE.amount, rates.PACE.per) == (60, timedelta(hours=1))
    assert (rates.HALF_OPEN_PACE.amount, rates.HALF_OPEN_PACE.per) == (20, timedelta(hours=1))
    assert rates.half_open_cost(3, 0) == 3
    assert rates.half_open_cost(1, 2) == 9


@pytest.mark.parametrize(("amount", "part"), [(0, 0.0), (1, 0.1), (9, 0.9), (10, 1.0)])
def test_how_full_a_bucket_is(amount: int, part: float) -> None:
    assert rates.used(taken(amount), TEN, NOW) == pytest.approx(part)
    assert rates.used(taken(amount), TEN, NOW + timedelta(seconds=100)) == 0.0
    assert rates.used(taken(10), Limit(5, timedelta(seconds=50)), NOW) == 1.0


def test_a_clock_or_a_limit_that_was_set_back_leaves_no_larger_debt_than_the_limit() -> None:
    late = taken(10, at=NOW + timedelta(days=1))
    healed = rates.at_most_empty(late, TEN, NOW)
    assert (left(healed, TEN, NOW), left(healed, TEN, NOW + timedelta(seconds=100))) == (0, 10)
    assert left(late, TEN, NOW + timedelta(seconds=100)) == 0
    assert rates.at_most_empty(taken(10), TEN, NOW) == taken(10)
    assert rates.at_most_empty(taken(3), TEN, NOW) == taken(3)
    assert timedelta(hours=24) == rates.DAY


def test_a_unit_that_takes_no_whole_nanoseconds_is_never_given_too_early() -> None:
    seven = Limit(
        7, timedelta(seconds=1)
    )  # 142,857,143 ns each, rounded up: seven need 1 ns more than a second
    bucket = taken(7, seven)
    assert take(bucket, 7, seven, NOW + timedelta(seconds=1))[1].action is Take.LATER
    assert take(bucket, 7, seven, NOW + timedelta(seconds=1) + MOMENT)[1].action is Take.TAKEN


def test_nothing_is_used_of_a_bucket_that_nobody_touched() -> None:
    assert rates.used(Bucket(), TEN, NOW) == 0.0


def test_ten_automatic_answers_to_one_address_in_ten_minutes_are_no_loop() -> None:
    assert (rates.ANSWERS.amount, rates.ANSWERS.per) == (10, timedelta(minutes=10))
