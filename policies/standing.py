"""How a standing changes: one table, timed returns, escalation and the circuit breaker.

An automatic step only ever makes a standing stricter; it comes back by its own end or by staff, who may
always reinstate. What is not in the table changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from policies.decision import Decision


class State(StrEnum):
    """What an account, server or customer may do; later members are stricter."""

    ACTIVE = "active"
    THROTTLED = "throttled"
    DEACTIVATED = "deactivated"
    SUSPENDED = "suspended"
    CLOSED = "closed"

    @property
    def severity(self) -> int:
        """Return 0 for active up to 4 for closed; the highest severity of three levels wins."""
        return _SEVERITY[self]

    @property
    def may_send(self) -> bool:
        """Return whether recipients are taken (a throttled sender's mail waits, but is taken)."""
        return self in (State.ACTIVE, State.THROTTLED)

    @property
    def timed(self) -> bool:
        """Return whether this state ends by itself when it has an end."""
        return self in (State.THROTTLED, State.DEACTIVATED)


_SEVERITY = {state: number for number, state in enumerate(State)}


class Move(StrEnum):
    """What a step of the ladder, the clock or staff do; the order of the first six is their strictness."""

    KEEP = "keep"
    WARN = "warn"
    THROTTLE = "throttle"
    DEACTIVATE = "deactivate"
    BLOCK_CREDENTIAL = "block_credential"
    SUSPEND = "suspend"
    RETURN = "return"
    REINSTATE = "reinstate"
    CLOSE = "close"


#: (state, move) -> state
TRANSITIONS: dict[tuple[State, Move], State] = {
    (State.ACTIVE, Move.THROTTLE): State.THROTTLED,
    (State.ACTIVE, Move.DEACTIVATE): State.DEACTIVATED,
    (State.ACTIVE, Move.SUSPEND): State.SUSPENDED,
    # the waiting mail of a stolen password is slowed down, so that it can be purged
    (State.ACTIVE, Move.BLOCK_CREDENTIAL): State.THROTTLED,
    (State.THROTTLED, Move.BLOCK_CREDENTIAL): State.THROTTLED,
    (State.THROTTLED, Move.DEACTIVATE): State.DEACTIVATED,
    (State.THROTTLED, Move.SUSPEND): State.SUSPENDED,
    (State.DEACTIVATED, Move.SUSPEND): State.SUSPENDED,
    (State.THROTTLED, Move.RETURN): State.ACTIVE,
    (State.DEACTIVATED, Move.RETURN): State.ACTIVE,
    (State.THROTTLED, Move.REINSTATE): State.ACTIVE,
    (State.DEACTIVATED, Move.REINSTATE): State.ACTIVE,
    (State.SUSPENDED, Move.REINSTATE): State.ACTIVE,
    (State.ACTIVE, Move.CLOSE): State.CLOSED,
    (State.THROTTLED, Move.CLOSE): State.CLOSED,
    (State.DEACTIVATED, Move.CLOSE): State.CLOSED,
    (State.SUSPENDED, Move.CLOSE): State.CLOSED,
}

#: how long the first, second and third switch-off within 30 days last; the fourth waits for staff
ESCALATION: tuple[timedelta, ...] = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
RETURNS_WINDOW = timedelta(days=30)
#: an account that came back by itself sends few messages for so long, known recipients first
HALF_OPEN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class StandingNow:
    """What the ladder may know of the standing it judges."""

    state: str = "active"
    #: automatic returns in the last 30 days
    automatic_returns_30d: int = 0
    klass: str = "app"
    #: came back by itself less than HALF_OPEN ago
    half_open: bool = False
    #: the credential in use is blocked already, so that blocking it again would say nothing
    credential_blocked: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """The standing to set."""

    state: State
    until: datetime | None
    move: Move


def after(state: str, move: Move, now: datetime, duration: timedelta | None = None) -> Next | None:
    """Return the standing that `move` leads to, or None where it changes nothing.

    A `duration` gives a timed state its end; without one it lasts until staff change it. None says nothing of
    the credential: a step that blocks it does so in every state.
    """
    target = TRANSITIONS.get((State(state), move))
    if target is None:
        return None
    return Next(target, now + duration if duration is not None and target.timed else None, move)


def in_force(state: str, until: datetime | None, now: datetime) -> State:
    """Return the state that holds at `now`: one with an end is over then, whether or not anyone swept.

    A suspension has an end only where staff gave it one; closed is for good.
    """
    held = State(state)
    ends = held.timed or held is State.SUSPENDED
    return State.ACTIVE if ends and until is not None and until <= now else held


def returned(state: str, until: datetime | None, now: datetime) -> Next | None:
    """Return the standing after a timed one has ended, or None while it lasts."""
    if in_force(state, until, now) is State(state):
        return None
    return Next(State.ACTIVE, None, Move.RETURN)


def half_open(returned_at: datetime | None, now: datetime) -> bool:
    """Return whether an automatic return at `returned_at` is so fresh that only few messages may go."""
    return returned_at is not None and now - returned_at < HALF_OPEN


def returns_within(returns: Sequence[datetime], now: datetime) -> int:
    """Count the automatic returns of the last 30 days."""
    return sum(1 for moment in returns if now - RETURNS_WINDOW < moment <= now)


def escalation(returns_30d: int, durations: Sequence[timedelta] = ESCALATION) -> timedelta | None:
    """Return how long the next switch-off lasts, or None when it is staff's turn."""
    return durations[returns_30d] if returns_30d < len(durations) else None


def stricter(provider: str, customer: str) -> State:
    """Return which binds of the provider's and the customer's own switch: neither lifts the other's."""
    return max(State(provider), State(customer), key=lambda state: state.severity)


class Breaker(StrEnum):
    """Whether an automatic switch-off may bite now."""

    CLOSED = "closed"
    OPEN = "open"


def breaker(switched_off_1h: int, active_accounts: int) -> Decision[Breaker]:
    """Decide whether one more account may be switched off automatically in this hour.

    More than max(3, 1 % of the active accounts) an hour looks like our own mistake or a reporter's: from
    there on accounts are only paced, their mail waits, and staff decide.
    """
    limit = max(3, active_accounts // 100)
    numbers = {"switched_off_1h": switched_off_1h, "active_accounts": active_accounts, "limit": limit}
    if switched_off_1h < limit:
        return Decision(Breaker.CLOSED, f"{switched_off_1h} of at most {limit} this hour", numbers)
    return Decision(Breaker.OPEN, f"{switched_off_1h} switched off within an hour, at most {limit}", numbers)


def soften(move: Move, state: Breaker) -> Move:
    """Return what an open breaker leaves of a step: a pace instead of a switch-off."""
    return Move.THROTTLE if state is Breaker.OPEN and move in (Move.DEACTIVATE, Move.SUSPEND) else move


def falling_together(fallen_24h: int, accounts: int) -> bool:
    """Return whether so many of a server's accounts fell in a day that the server itself is the case."""
    return fallen_24h >= 3 and fallen_24h * 10 >= accounts
