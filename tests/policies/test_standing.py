from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import standing
from policies.standing import Breaker, Move, Next, State, after

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)

A, T, D, S, C = State
TABLE = {
    # move: what becomes of active, throttled, deactivated, suspended, closed (None: nothing changes)
    Move.KEEP: (None, None, None, None, None),
    Move.WARN: (None, None, None, None, None),
    Move.THROTTLE: (T, None, None, None, None),
    Move.DEACTIVATE: (D, D, None, None, None),
    Move.BLOCK_CREDENTIAL: (T, T, None, None, None),
    Move.SUSPEND: (S, S, S, None, None),
    Move.RETURN: (None, A, A, None, None),
    Move.REINSTATE: (None, A, A, A, None),
    Move.CLOSE: (C, C, C, C, None),
}


@pytest.mark.parametrize("move", list(Move))
@pytest.mark.parametrize("place", range(5))
def test_the_whole_table(move: Move, place: int) -> None:
    expected = TABLE[move][place]
    found = after(list(State)[place], move, NOW)
    assert found == (Next(expected, None, move) if expected else None)


@pytest.mark.parametrize(
    ("move", "until"),
    [(Move.THROTTLE, NOW + HOUR), (Move.DEACTIVATE, NOW + HOUR), (Move.SUSPEND, None), (Move.CLOSE, None)],
)
def test_only_timed_states_get_an_end(move: Move, until: datetime | None) -> None:
    found = after("active", move, NOW, HOUR)
    assert found is not None
    assert found.until == until


def test_reinstating_is_possible_from_every_state_but_closed_and_active() -> None:
    for state in State:
        reached = after(state, Move.REINSTATE, NOW)
        assert (reached is not None) is (state in (T, D, S))
        assert reached is None or reached.state is A


@given(st.lists(st.sampled_from(standing.Move), max_size=30))
def test_automatic_moves_never_make_a_standing_milder(moves: list[Move]) -> None:
    state = State.ACTIVE
    for move in moves:
        found = after(state, move, NOW, HOUR)
        if found is None:
            continue
        if move not in (Move.RETURN, Move.REINSTATE):
            assert found.state.severity >= state.severity
        state = found.state


@pytest.mark.parametrize(
    ("state", "until", "expected"),
    [
        ("throttled", NOW, A),
        ("throttled", NOW + MOMENT, T),
        ("deactivated", NOW - MOMENT, A),
        ("deactivated", NOW, A),
        ("deactivated", NOW + MOMENT, D),
        ("deactivated", None, D),
        ("suspended", None, S),
        ("suspended", NOW + MOMENT, S),
        ("suspended", NOW, A),
        ("closed", NOW - HOUR, C),
        ("active", NOW - HOUR, A),
    ],
)
def test_a_timed_state_is_over_at_its_end(state: str, until: datetime | None, expected: State) -> None:
    assert standing.in_force(state, until, NOW) is expected
    ended = standing.returned(state, until, NOW)
    assert ended == (Next(A, None, Move.RETURN) if state != expected else None)


def test_half_open_lasts_a_day() -> None:
    day = timedelta(hours=24)
    assert not standing.half_open(None, NOW)
    assert standing.half_open(NOW - day + MOMENT, NOW)
    assert not standing.half_open(NOW - day, NOW)


def test_returns_count_for_thirty_days() -> None:
    month = timedelta(days=30)
    returns = [NOW - month, NOW - month + MOMENT, NOW, NOW + MOMENT]
    assert standing.returns_within(returns, NOW) == 2


@pytest.mark.parametrize(("returns", "hours"), [(0, 1), (1, 6), (2, 24), (3, None), (9, None)])
def test_three_returns_then_staff(returns: int, hours: int | None) -> None:
    assert standing.escalation(returns) == (timedelta(hours=hours) if hours else None)


@pytest.mark.parametrize("provider", list(State))
@pytest.mark.parametrize("customer", list(State))
def test_of_two_switches_the_stricter_wins(provider: State, customer: State) -> None:
    found = standing.stricter(provider, customer)
    assert found in (provider, customer)
    assert found.severity == max(provider.severity, customer.severity)


@pytest.mark.parametrize(
    ("switched_off", "accounts", "expected"),
    [
        (2, 0, Breaker.CLOSED),
        (3, 0, Breaker.OPEN),
        (2, 399, Breaker.CLOSED),
        (3, 399, Breaker.OPEN),
        (3, 400, Breaker.CLOSED),
        (4, 400, Breaker.OPEN),
        (99, 10_000, Breaker.CLOSED),
        (100, 10_000, Breaker.OPEN),
    ],
)
def test_the_breaker_opens_at_three_or_one_percent(
    switched_off: int, accounts: int, expected: Breaker
) -> None:
    decision = standing.breaker(switched_off, accounts)
    assert decision.action is expected
    limit = max(3, accounts // 100)
    assert decision.numbers == {
        "switched_off_1h": switched_off,
        "active_accounts": accounts,
        "limit": limit,
    }
    opened = f"{switched_off} switched off within an hour, at most {limit}"
    assert decision.reason == (
        opened if expected is Breaker.OPEN else f"{switched_off} of at most {limit} this hour"
    )


@pytest.mark.parametrize("move", list(Move))
def test_an_open_breaker_paces_instead_of_switching_off(move: Move) -> None:
    assert standing.soften(move, Breaker.CLOSED) is move
    paced = Move.THROTTLE if move in (Move.DEACTIVATE, Move.SUSPEND) else move
    assert standing.soften(move, Breaker.OPEN) is paced


@pytest.mark.parametrize(
    ("fallen", "accounts", "expected"),
    [(2, 2, False), (3, 3, True), (3, 30, True), (3, 31, False), (4, 40, True), (4, 41, False)],
)
def test_accounts_that_fall_together_are_the_servers_case(
    fallen: int, accounts: int, *, expected: bool
) -> None:
    assert standing.falling_together(fallen, accounts) is expected


def test_a_newcomer_is_active_and_has_no_past() -> None:
    assert standing.StandingNow() == standing.StandingNow("active", 0, "app", False, False)  # noqa: FBT003


def test_severity_rises_in_the_order_of_the_states() -> None:
    assert [state.severity for state in State] == [0, 1, 2, 3, 4]
    assert [state.timed for state in State] == [False, True, True, False, False]
