"""Cases: why a standing changed or a warning went out, with the numbers, as they were then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select

from relay.clock import micros, moment
from relay.errors import NotFound
from relay.model import Level, State
from relay.store.schema import decision as _decision

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

#: who sets what the ladder decides
POLICY = "policy"
#: the same, of a customer that is only observed: nothing changed
OBSERVING = "policy, observing"
#: step of a standing that ended by itself
RETURN = "return"
#: step of what staff set, whatever it was before
REINSTATED = f"{State.ACTIVE} by staff"


@dataclass(frozen=True, slots=True)
class Case:
    """One decision about one subject; `evidence` is what `explain` computes it from again."""

    id: str
    level: Level
    subject_id: int
    at: datetime
    step: str
    from_state: State
    to_state: State
    until: datetime | None
    reason: str
    evidence: Mapping[str, Any]
    set_by: str


def add(  # noqa: PLR0913 - one argument a column
    tx: Connection,
    now: datetime,
    *,
    case_id: str,
    level: Level,
    subject_id: int,
    step: str,
    from_state: State,
    to_state: State,
    until: datetime | None,
    reason: str,
    evidence: Mapping[str, Any],
    set_by: str,
) -> None:
    """Write a case in the transaction that changes the standing."""
    tx.execute(
        insert(_decision).values(
            case_id=case_id,
            level=str(level),
            subject_id=subject_id,
            at_us=micros(now),
            step=step,
            from_state=str(from_state),
            to_state=str(to_state),
            until_us=micros(until) if until else None,
            reason=reason,
            evidence=dict(evidence),
            set_by=set_by,
        )
    )


def _case(row: RowMapping) -> Case:
    return Case(
        id=row["case_id"],
        level=Level(row["level"]),
        subject_id=row["subject_id"],
        at=moment(row["at_us"]),
        step=row["step"],
        from_state=State(row["from_state"]),
        to_state=State(row["to_state"]),
        until=moment(row["until_us"]) if row["until_us"] is not None else None,
        reason=row["reason"],
        evidence=row["evidence"],
        set_by=row["set_by"],
    )


def case(tx: Connection, case_id: str) -> Case:
    """Return one case; NotFound."""
    row = tx.execute(select(_decision).where(_decision.c.case_id == case_id)).mappings().first()
    if row is None:
        raise NotFound(f"there is no case {case_id}")
    return _case(row)


def timeline(
    tx: Connection, level: Level, subject_id: int, *, since: datetime | None = None, limit: int = 100
) -> list[Case]:
    """Return a subject's cases, newest first."""
    statement = (
        select(_decision)
        .where(_decision.c.level == str(level), _decision.c.subject_id == subject_id)
        .order_by(_decision.c.at_us.desc(), _decision.c.case_id)
        .limit(limit)
    )
    if since is not None:
        statement = statement.where(_decision.c.at_us >= micros(since))
    return [_case(row) for row in tx.execute(statement).mappings()]


def steps_since(tx: Connection, level: Level, subject_id: int, step: str, since_us: int) -> int:
    """Return how many cases of one step a subject has since a moment (microseconds)."""
    statement = (
        select(func.count())
        .select_from(_decision)
        .where(
            _decision.c.level == str(level),
            _decision.c.subject_id == subject_id,
            _decision.c.at_us >= since_us,
            _decision.c.step == step,
        )
    )
    return int(tx.execute(statement).scalar_one())


def switched_off(tx: Connection, now: datetime) -> int:
    """Return how many accounts policy switched off within the hour, for the circuit breaker."""
    off = (str(State.DEACTIVATED), str(State.SUSPENDED))
    statement = select(func.count(func.distinct(_decision.c.subject_id))).where(
        _decision.c.at_us > micros(now - timedelta(hours=1)),
        _decision.c.level == str(Level.ACCOUNT),
        _decision.c.set_by == POLICY,
        _decision.c.to_state.in_(off),
        _decision.c.from_state.not_in(off),
    )
    return int(tx.execute(statement).scalar_one())
