from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policies.admission import Admit, Held, judge

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER, MOMENT = NOW + timedelta(hours=1), timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("state", "expected", "with_escape"),
    [
        ("active", Admit.YES, Admit.YES),
        ("throttled", Admit.PACE, Admit.YES),
        ("deactivated", Admit.REFUSE, Admit.YES),
        ("suspended", Admit.REFUSE, Admit.YES),
        ("closed", Admit.REFUSE, Admit.REFUSE),
    ],
)
def test_every_standing_and_the_escape_addresses(state: str, expected: Admit, with_escape: Admit) -> None:
    assert judge([Held("account", state)], NOW).action is expected
    assert judge([Held("account", state)], NOW, escape=True).action is with_escape


def test_nobody_held_is_yes_without_a_reason() -> None:
    decision = judge([], NOW)
    assert (decision.action, decision.reason) == (Admit.YES, "")
    assert decision.numbers == {"level": "account", "state": "active"}


def test_the_strictest_of_all_switches_wins_whatever_their_order() -> None:
    held = [Held("account", "throttled"), Held("server", "suspended", reason="r"), Held("customer", "active")]
    for order in (held, held[::-1]):
        decision = judge(order, NOW)
        assert (decision.action, decision.reason) == (Admit.REFUSE, "server suspended: r")
        assert decision.numbers == {"level": "server", "state": "suspended"}


def test_among_equals_the_first_is_named() -> None:
    assert (
        judge([Held("account", "suspended"), Held("server", "suspended")], NOW).numbers["level"] == "account"
    )


@pytest.mark.parametrize(
    ("state", "until", "expected"),
    [
        ("deactivated", NOW + MOMENT, Admit.REFUSE),
        ("deactivated", NOW, Admit.YES),
        ("deactivated", NOW - MOMENT, Admit.YES),
        ("throttled", NOW + MOMENT, Admit.PACE),
        ("throttled", NOW, Admit.YES),
        ("deactivated", None, Admit.REFUSE),
        ("suspended", NOW + MOMENT, Admit.REFUSE),
        ("suspended", NOW, Admit.YES),
        ("suspended", None, Admit.REFUSE),
        ("closed", NOW - MOMENT, Admit.REFUSE),
    ],
)
def test_a_timed_standing_ends_at_its_end_and_no_other_does(
    state: str, until: datetime | None, expected: Admit
) -> None:
    assert judge([Held("account", state, until)], NOW).action is expected


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (Held("account", "deactivated", LATER, "why"), "account deactivated until 2026-11-22 13:00 UTC: why"),
        (Held("account", "deactivated"), "account deactivated"),
        (Held("account", "throttled", LATER), "account throttled until 2026-11-22 13:00 UTC"),
        (Held("customer", "suspended"), "customer suspended"),
        (Held("customer", "suspended", LATER), "customer suspended until 2026-11-22 13:00 UTC"),
        (Held("account", "closed", LATER), "account closed"),
    ],
)
def test_the_reason_names_level_state_end_and_why(held: Held, reason: str) -> None:
    assert judge([held], NOW).reason == reason


def test_escape_addresses_say_so() -> None:
    assert judge([Held("account", "suspended")], NOW, escape=True).reason == "this address stays reachable"


def test_the_brake_paces_those_who_may_send_and_changes_nothing_for_others() -> None:
    assert judge([], NOW, braked=True).action is Admit.PACE
    assert judge([], NOW, braked=True).reason == "all delivery is stopped by staff"
    assert judge([Held("account", "suspended")], NOW, braked=True).action is Admit.REFUSE
    assert judge([], NOW, braked=True, escape=True).action is Admit.YES
