from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policies.bounces import Suppress, suppress

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY, MOMENT = timedelta(days=1), timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ((), Suppress.NO),
        ((DAY,), Suppress.NO),
        ((2 * DAY, DAY + MOMENT), Suppress.NO),
        ((2 * DAY, DAY), Suppress.YES),
        ((DAY, 2 * DAY), Suppress.YES),
        ((3 * DAY, 2 * DAY + MOMENT, 2 * DAY), Suppress.YES),
        ((30 * DAY, DAY), Suppress.NO),
        ((30 * DAY - MOMENT, DAY), Suppress.YES),
        ((DAY, timedelta(0)), Suppress.YES),
        ((DAY, -MOMENT), Suppress.NO),
    ],
)
def test_two_hard_bounces_a_day_apart_within_thirty_days(
    ages: tuple[timedelta, ...], expected: Suppress
) -> None:
    assert suppress([NOW - age for age in ages], NOW).action is expected


def test_the_reason_says_until_when_and_not_who() -> None:
    decision = suppress([NOW - 2 * DAY, NOW - DAY], NOW)
    assert decision.reason == "this address bounced 2 times within 30 days; tried again after 2026-12-21"
    assert decision.numbers == {"hard_bounces_30d": 2}
    assert suppress([NOW], NOW).reason == ""
    assert suppress([NOW], NOW).numbers == {"hard_bounces_30d": 1}
