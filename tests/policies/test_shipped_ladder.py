from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import ladder as ladders
from policies.ladder import evidence, judge, recompute
from policies.rungs import STRICTNESS
from policies.standing import Move, StandingNow
from policies.tally import NAMES, Tally

if TYPE_CHECKING:
    pass

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHIPPED = ladders.load()
ACTIVE = StandingNow()
KEEP, WARN, THROTTLE, DEACTIVATE, BLOCK, SUSPEND = STRICTNESS


def steps_of(standing: StandingNow, numbers: dict[str, int]) -> tuple[str, ...]:
    return judge(SHIPPED, Tally(**numbers), standing, NOW).action.applies


def votes(number: int, of: int, reporters: int = 2) -> dict[str, int]:
    return {"votes": number, "relayed_to_reporters": of, "reporters": reporters}


@pytest.mark.parametrize(
    ("step", "numbers", "applies"),
    [
        # three votes that are surely above 0.1 %
        ("complaints_warn", votes(3, 818), True),
        ("complaints_warn", votes(3, 819), False),
        ("complaints_warn", votes(2, 20), False),
        ("complaints_warn", votes(4, 1367), True),
        ("complaints_warn", votes(4, 1368), False),
        # five votes of two reporters, or ten, almost surely above 0.3 %
        ("complaints_off", votes(5, 248), True),
        ("complaints_off", votes(5, 249), False),
        ("complaints_off", votes(4, 20), False),
        ("complaints_off", votes(5, 200, reporters=1), False),
        ("complaints_off", votes(9, 200, reporters=1), False),
        ("complaints_off", votes(10, 200, reporters=1), True),
        ("complaints_off", votes(10, 989, reporters=1), True),
        ("complaints_off", votes(10, 990, reporters=1), False),
        ("complaints_off", votes(18, 2558), True),
        ("complaints_off", votes(18, 2559), False),
        # ten votes almost surely above 0.5 %
        ("complaints_suspend", votes(10, 595, reporters=1), True),
        ("complaints_suspend", votes(10, 596, reporters=1), False),
        ("complaints_suspend", votes(9, 100), False),
        # twenty bounces surely above 5 %, almost surely above 10 %
        ("bounces_warn", {"hard_bounces": 20, "relayed_30d": 268}, True),
        ("bounces_warn", {"hard_bounces": 20, "relayed_30d": 269}, False),
        ("bounces_warn", {"hard_bounces": 19, "relayed_30d": 50}, False),
        ("bounces_off", {"hard_bounces": 20, "relayed_30d": 94}, True),
        ("bounces_off", {"hard_bounces": 20, "relayed_30d": 95}, False),
        ("bounces_off", {"hard_bounces": 19, "relayed_30d": 20}, False),
        # spam-like bodies, and one body's recipients
        ("spam_burst", {"spam_bodies_10m": 5}, True),
        ("spam_burst", {"spam_bodies_10m": 4}, False),
        ("spam_burst", {"spam_recipients_10m": 50}, True),
        ("spam_burst", {"spam_recipients_10m": 49}, False),
        ("spam_burst_off", {"spam_bodies_10m": 10}, True),
        ("spam_burst_off", {"spam_bodies_10m": 9}, False),
        ("spam_burst_off", {"spam_recipients_10m": 100}, True),
        ("spam_burst_off", {"spam_recipients_10m": 99}, False),
        # they count when surely 2 % of the mail looks so
        ("spam_burst", {"spam_bodies_10m": 5, "messages_10m": 99}, True),
        ("spam_burst", {"spam_bodies_10m": 5, "messages_10m": 100}, False),
        ("spam_burst", {"spam_bodies_10m": 5, "messages_10m": 100, "spam_recipients_10m": 20}, True),
        ("spam_burst", {"spam_bodies_10m": 5, "messages_10m": 100, "spam_recipients_10m": 19}, False),
        ("spam_burst_off", {"spam_bodies_10m": 10, "messages_10m": 273}, True),
        ("spam_burst_off", {"spam_bodies_10m": 10, "messages_10m": 274}, False),
        ("compromise", {"spam_bodies_1h": 6, "messages_1h": 131, "new_networks_24h": 1}, True),
        ("compromise", {"spam_bodies_1h": 6, "messages_1h": 132, "new_networks_24h": 1}, False),
        # many networks or countries count double
        ("spam_burst", {"spam_bodies_10m": 3, "networks_24h": 21}, True),
        ("spam_burst", {"spam_bodies_10m": 3, "networks_24h": 20}, False),
        ("spam_burst", {"spam_bodies_10m": 3, "countries_24h": 6}, True),
        ("spam_burst", {"spam_bodies_10m": 3, "countries_24h": 5}, False),
        ("spam_burst", {"networks_24h": 10_000, "countries_24h": 200}, False),
        ("spam_burst", {"spam_bodies_10m": 2, "networks_24h": 21}, False),
        ("spam_burst", {"spam_recipients_10m": 25, "countries_24h": 6}, True),
        ("spam_burst_off", {"spam_bodies_10m": 5, "networks_24h": 21}, True),
        ("spam_burst_off", {"spam_recipients_10m": 50, "networks_24h": 21}, True),
        # guessed addresses
        ("unknown_recipients", {"unknown_recipients_1h": 20, "attempts_1h": 66}, True),
        ("unknown_recipients", {"unknown_recipients_1h": 20, "attempts_1h": 67}, False),
        ("unknown_recipients", {"unknown_recipients_1h": 19, "attempts_1h": 19}, False),
        ("unknown_recipients", {"unknown_recipients_1h": 30, "attempts_1h": 100}, True),
        ("unknown_recipients_off", {"unknown_recipients_1h": 60, "attempts_1h": 200}, True),
        ("unknown_recipients", {"unknown_recipients_1h": 10, "attempts_1h": 33, "networks_24h": 21}, True),
        ("unknown_recipients_off", {"unknown_recipients_1h": 40, "attempts_1h": 133}, True),
        ("unknown_recipients_off", {"unknown_recipients_1h": 40, "attempts_1h": 134}, False),
        ("unknown_recipients_off", {"unknown_recipients_1h": 39, "attempts_1h": 39}, False),
        (
            "unknown_recipients_off",
            {"unknown_recipients_1h": 20, "attempts_1h": 66, "networks_24h": 21},
            True,
        ),
        # a stranger with the password
        ("compromise", {"spam_bodies_10m": 3, "new_networks_24h": 1}, True),
        ("compromise", {"spam_bodies_10m": 2, "new_networks_24h": 1}, False),
        ("compromise", {"spam_bodies_10m": 3}, False),
        ("compromise", {"spam_bodies_1h": 6, "new_networks_24h": 1}, True),
        ("compromise", {"spam_bodies_1h": 5, "new_networks_24h": 1}, False),
        ("compromise", {"spam_bodies_10m": 2, "networks_24h": 21}, True),
        ("compromise", {"spam_bodies_1h": 3, "countries_24h": 6}, True),
        ("compromise", {"spam_recipients_10m": 20, "new_networks_24h": 1}, True),
        ("compromise", {"spam_recipients_10m": 19, "new_networks_24h": 1}, False),
        ("compromise", {"spam_recipients_10m": 20, "networks_24h": 20}, False),
        ("stranger_volume", {"attempts_24h": 100, "new_networks_24h": 1}, True),
        ("stranger_volume", {"attempts_24h": 99, "new_networks_24h": 1}, False),
        ("stranger_volume", {"attempts_24h": 100}, False),
        ("stranger_volume", {"attempts_24h": 121, "new_networks_24h": 1, "busiest_day_30d": 40}, True),
        ("stranger_volume", {"attempts_24h": 120, "new_networks_24h": 1, "busiest_day_30d": 40}, False),
        ("stranger_volume_off", {"attempts_24h": 250, "new_networks_24h": 1}, True),
        ("stranger_volume_off", {"attempts_24h": 249, "new_networks_24h": 1}, False),
        ("stranger_volume_off", {"attempts_24h": 250}, False),
        ("stranger_volume_off", {"attempts_24h": 301, "new_networks_24h": 1, "busiest_day_30d": 50}, True),
        ("stranger_volume_off", {"attempts_24h": 300, "new_networks_24h": 1, "busiest_day_30d": 50}, False),
    ],
)
def test_each_number_of_the_shipped_ladder(step: str, numbers: dict[str, int], *, applies: bool) -> None:
    assert (step in steps_of(ACTIVE, numbers)) is applies


@pytest.mark.parametrize("klass", ["bulk", "list"])
def test_one_flagged_newsletter_paces_a_mailing_account_and_does_not_switch_it_off(klass: str) -> None:
    assert steps_of(StandingNow(klass=klass), {"spam_recipients_10m": 5000}) == ("spam_burst",)
    assert "spam_burst_off" in steps_of(StandingNow(klass="app"), {"spam_recipients_10m": 5000})
    assert "spam_burst_off" in steps_of(StandingNow(klass=klass), {"spam_bodies_10m": 10})


@pytest.mark.parametrize(
    ("name", "action", "hours"),
    [
        ("compromise", BLOCK, 24),
        ("stranger_volume", THROTTLE, 6),
        ("stranger_volume_off", BLOCK, 24),
        ("spam_burst", THROTTLE, 1),
        ("spam_burst_off", DEACTIVATE, None),
        ("unknown_recipients", THROTTLE, 1),
        ("unknown_recipients_off", DEACTIVATE, None),
        ("complaints_warn", WARN, None),
        ("complaints_off", DEACTIVATE, None),
        ("complaints_suspend", SUSPEND, None),
        ("bounces_warn", WARN, None),
        ("bounces_off", DEACTIVATE, None),
    ],
)
def test_what_each_shipped_step_does(name: str, action: Move, hours: int | None) -> None:
    rung = next(one for one in SHIPPED.rungs if one.name == name)
    assert rung.action is action
    assert rung.duration == (timedelta(hours=hours) if hours else None)


def test_the_shipped_ladder_has_these_steps_and_no_more() -> None:
    assert len(SHIPPED.rungs) == 12
    assert SHIPPED.durations == (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))


def test_eighteen_of_two_thousand_from_two_reporters_switch_off_and_one_alarms_nobody() -> None:
    decision = judge(SHIPPED, Tally(**votes(18, 2000)), ACTIVE, NOW)
    step = decision.action
    assert (step.action, step.name, step.until) == (DEACTIVATE, "complaints_off", NOW + timedelta(hours=1))
    assert step.duration == timedelta(hours=1)
    assert step.applies == ("complaints_off", "complaints_warn")
    assert decision.reason == (
        "18 complaints of 2000 messages to mail providers that report, from 2 of them:"
        " almost surely more than 0.38%"
    )
    assert step.lifts == "sending comes back at 2026-11-22 13:00 UTC; only what is sent after that counts"
    assert decision.numbers == {
        "votes": 18,
        "relayed_to_reporters": 2000,
        "reporters": 2,
        "automatic_returns_30d": 0,
        "complaint_rate_999": pytest.approx(0.00384, abs=1e-6),
    }
    calm = judge(SHIPPED, Tally(**votes(1, 2000, reporters=1)), ACTIVE, NOW)
    assert (calm.action.action, calm.action.name, calm.reason) == (KEEP, "", "no step applies")
    assert calm.numbers == {"votes": 1, "relayed_to_reporters": 2000, "reporters": 1}


@pytest.mark.parametrize(
    ("returns", "action", "hours"),
    [(0, DEACTIVATE, 1), (1, DEACTIVATE, 6), (2, DEACTIVATE, 24), (3, SUSPEND, None), (4, SUSPEND, None)],
)
def test_switch_offs_last_longer_and_then_wait_for_staff(
    returns: int, action: Move, hours: int | None
) -> None:
    standing = StandingNow(automatic_returns_30d=returns)
    decision = judge(SHIPPED, Tally(**votes(18, 2000)), standing, NOW)
    assert decision.action.action is action
    assert decision.action.until == (NOW + timedelta(hours=hours) if hours else None)
    assert decision.action.duration == (timedelta(hours=hours) if hours else None)
    used_up = decision.reason.endswith(f"; the {returns} automatic returns of 30 days are used up")
    assert used_up is (action is SUSPEND)
    if action is SUSPEND:
        assert "comes back when staff reinstate it" in decision.action.lifts


def test_a_blocked_credential_is_not_blocked_again() -> None:
    thief = {"spam_bodies_10m": 10, "new_networks_24h": 1}
    first = judge(SHIPPED, Tally(**thief), ACTIVE, NOW).action
    assert (first.action, first.blocks_credential, first.until) == (BLOCK, True, NOW + timedelta(hours=24))
    again = judge(SHIPPED, Tally(**thief), replace(ACTIVE, credential_blocked=True), NOW).action
    assert (again.action, again.blocks_credential, again.name) == (DEACTIVATE, False, "spam_burst_off")
    only = judge(
        SHIPPED, Tally(spam_bodies_10m=3, new_networks_24h=1), replace(ACTIVE, credential_blocked=True), NOW
    )
    assert only.action.action is KEEP


def test_a_suspension_blocks_the_stolen_credential_too() -> None:
    both = judge(SHIPPED, Tally(spam_bodies_10m=3, new_networks_24h=1, **votes(40, 2000)), ACTIVE, NOW).action
    assert (both.action, both.blocks_credential) == (SUSPEND, True)
    assert not judge(SHIPPED, Tally(**votes(40, 2000)), ACTIVE, NOW).action.blocks_credential


@given(
    st.integers(0, 60),
    st.integers(0, 5000),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from(["active", "throttled", "deactivated"]),
)
def test_standing_is_monotone_in_complaints(
    number: int, relayed: int, reporters: int, returns: int, state: str
) -> None:
    standing = StandingNow(state, automatic_returns_30d=returns)
    fewer = judge(SHIPPED, Tally(**votes(number, relayed, reporters)), standing, NOW).action.action
    more = judge(SHIPPED, Tally(**votes(number + 1, relayed, reporters)), standing, NOW).action.action
    others = judge(SHIPPED, Tally(**votes(number + 1, relayed, reporters + 1)), standing, NOW).action.action
    assert STRICTNESS.index(fewer) <= STRICTNESS.index(more) <= STRICTNESS.index(others)


@given(st.integers(0, 10**6))
def test_grade_b_reports_move_nothing(number: int) -> None:
    assert judge(SHIPPED, Tally(grade_b=number, relayed_30d=number), ACTIVE, NOW).action.action is KEEP


@given(st.fixed_dictionaries({}, optional={name: st.integers(0, 10**7) for name in NAMES}))
def test_every_tally_can_be_judged_and_recomputed(numbers: dict[str, int]) -> None:
    decision = judge(SHIPPED, Tally(**numbers), ACTIVE, NOW)
    stored = json.loads(json.dumps(evidence(SHIPPED, decision, NOW)))
    again = recompute(stored)
    if decision.action.action is not KEEP:
        assert again.numbers == decision.numbers
    assert (again.action.action, again.action.until, again.reason, again.action.lifts) == (
        decision.action.action,
        decision.action.until,
        decision.reason,
        decision.action.lifts,
    )
