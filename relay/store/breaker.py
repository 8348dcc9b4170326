"""What policy would have done to accounts and the circuit breaker held back: staff decide, on record."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Text, cast, exists, or_, select

from relay import ids
from relay.clock import micros
from relay.model import Level, State
from relay.store import audit, decisions, findings, switch
from relay.store.schema import decision as _decision
from relay.store.standing import standing_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.store.viewed import CaseRow

#: Older ones say little about today.
LOOKED_BACK = timedelta(days=7)
MOST = 500
#: step of a case that staff looked at and left alone
DISMISSED = "dismissed"
_OURS = (decisions.POLICY, decisions.OBSERVING, "customer")
_OFF = (str(State.DEACTIVATED), str(State.SUSPENDED), str(State.CLOSED))
_HELD = '"held_back":"circuit breaker'


def held_back(tx: Connection, now: datetime) -> list[CaseRow]:
    """Return the newest such case of each account about which nobody has decided since, newest first."""
    later = _decision.alias()
    decided = exists().where(
        later.c.level == _decision.c.level,
        later.c.subject_id == _decision.c.subject_id,
        later.c.at_us > _decision.c.at_us,
        or_(later.c.set_by.not_in(_OURS), later.c.to_state.in_(_OFF)),
    )
    chosen = (
        select(_decision.c.case_id, _decision.c.subject_id)
        .where(
            _decision.c.at_us >= micros(now - LOOKED_BACK),
            _decision.c.level == str(Level.ACCOUNT),
            _decision.c.set_by == decisions.POLICY,
            cast(_decision.c.evidence, Text).contains(_HELD, autoescape=True),
            ~decided,
        )
        .order_by(_decision.c.at_us.desc())
    )
    newest: dict[int, str] = {}
    for case_id, subject in tx.execute(chosen):
        newest.setdefault(subject, case_id)
    found = [findings.case_by_id(tx, case_id) for case_id in list(newest.values())[:MOST]]
    return [case for case in found if case is not None and case.subject]


def wanted(case: CaseRow) -> tuple[State, timedelta | None]:
    """Return what the ladder asked for, and for how long."""
    until = case.evidence.get("until")
    span = datetime.fromisoformat(until) - case.at if until else None
    if case.evidence.get("action") == "suspend" or span is None:
        return State.SUSPENDED, None
    return State.DEACTIVATED, max(span, timedelta(minutes=1))


def approve(tx: Connection, now: datetime, case: CaseRow, *, who: str, reason: str) -> None:
    """Do to the account what the ladder asked for, from now on."""
    state, span = wanted(case)
    text = f"{case.evidence.get('reason') or case.reason} (confirmed by staff: {reason})"[:500]
    until = None if span is None else now + span
    switch.set_by_staff(tx, now, Level.ACCOUNT, case.subject, state, reason=text, until=until, who=who)


def reinstate(tx: Connection, now: datetime, case: CaseRow, *, who: str, reason: str) -> None:
    """Let the account send as before; only what is sent from now on counts."""
    switch.set_by_staff(tx, now, Level.ACCOUNT, case.subject, State.ACTIVE, reason=reason, who=who)


def dismiss(tx: Connection, now: datetime, case: CaseRow, *, who: str, reason: str) -> None:
    """Leave the account as it is, on record; NotFound if it is gone."""
    found = decisions.case(tx, case.case_id)
    state = standing_of(tx, Level.ACCOUNT, found.subject_id).state
    decisions.add(
        tx, now, case_id=ids.case_id(), level=Level.ACCOUNT, subject_id=found.subject_id, step=DISMISSED,
        from_state=state, to_state=state, until=None, reason=reason,
        evidence={"case_id": case.case_id, "set_by": who}, set_by=who,
    )  # fmt: skip
    details = {"case_id": case.case_id}
    audit.append(tx, now, who, "account dismissed", f"account {case.subject}", reason, details)
