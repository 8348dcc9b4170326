from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import retry
from policies.retry import Retry, Schedule

START = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("attempts", "minutes"),
    [(0, 5), (1, 5), (2, 7.5), (3, 11.25), (10, 192.22), (11, 240), (12, 240), (10_000, 240)],
)
def test_pauses_grow_by_half_up_to_four_hours(attempts: int, minutes: float) -> None:
    assert abs(retry.pause(Schedule(), attempts, 0.5) / MINUTE - minutes) < 0.01


@given(st.integers(0, 500), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth(attempts: int, chance: float) -> None:
    middle = retry.pause(Schedule(), attempts, 0.5)
    assert middle * 0.799 <= retry.pause(Schedule(), attempts, chance) <= middle * 1.201


def test_the_last_attempt_is_at_the_end_of_the_lifetime_and_then_it_is_over() -> None:
    schedule, now, attempts, tried = Schedule(), START, 0, 0
    while True:
        attempts += 1
        decision, at = retry.judge(schedule, START, attempts, now, 0.5)
        if decision.action is Retry.EXPIRE:
            break
        assert now < at <= START + schedule.lifetime
        now, tried = at, tried + 1
    assert now == START + schedule.lifetime
    assert 35 < tried < 45
    assert decision.numbers["attempts"] == attempts


@pytest.mark.parametrize(("failures", "seconds"), [(0, 10), (1, 10), (2, 20), (5, 160), (7, 600), (900, 600)])
def test_a_server_is_left_alone_longer_each_time_up_to_ten_minutes(failures: int, seconds: float) -> None:
    assert retry.destination_pause(failures, 0.5) == timedelta(seconds=seconds)
    assert retry.destination_pause(failures, 0.0) == timedelta(seconds=seconds * 0.8)


@pytest.mark.parametrize(("deaths", "poison"), [(0, False), (2, False), (3, True), (4, True)])
def test_the_third_death_sets_a_message_aside(deaths: int, poison: bool) -> None:  # noqa: FBT001
    decision = retry.is_poison(deaths)
    assert decision.action is poison
    assert decision.numbers == {"deaths": deaths}
