"""What customers say against a case: opens a case of its own for staff, once for each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from relay import ids
from relay.clock import micros, moment
from relay.errors import Conflict, NotFound
from relay.store import audit, decisions
from relay.store.schema import appeal as _appeal

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: who opens the case
CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Appeal:
    """One appeal; `sealed` are the customer's words."""

    case_id: str
    at: datetime
    sealed: bytes
    closed_at: datetime | None
    closed_by: str
    answer: str


def add(tx: Connection, now: datetime, case_id: str, sealed: bytes) -> str:
    """Keep an appeal against a case and open its own for staff, whose id is returned.

    NotFound for an unknown case, Conflict where there is an appeal already.
    """
    case = decisions.case(tx, case_id)
    try:
        with tx.begin_nested():
            tx.execute(insert(_appeal).values(case_id=case_id, at_us=micros(now), sealed=sealed))
    except IntegrityError:
        raise Conflict(f"there is an appeal against {case_id} already") from None
    opened = ids.case_id()
    decisions.add(
        tx, now, case_id=opened, level=case.level, subject_id=case.subject_id, step="appeal",
        from_state=case.to_state, to_state=case.to_state, until=None,
        reason=f"the customer appeals against case {case_id}",
        evidence={"action": "appeal", "case_id": case_id}, set_by=CUSTOMER,
    )  # fmt: skip
    return opened


def appeals(tx: Connection, *, open_only: bool = True, limit: int = 200) -> list[Appeal]:
    """Return appeals, oldest first."""
    statement = select(_appeal).order_by(_appeal.c.at_us).limit(limit)
    if open_only:
        statement = statement.where(_appeal.c.closed_us.is_(None))
    return [
        Appeal(
            row.case_id, moment(row.at_us), row.sealed,
            moment(row.closed_us) if row.closed_us is not None else None, row.closed_by, row.answer,
        )
        for row in tx.execute(statement)
    ]  # fmt: skip


def close(tx: Connection, now: datetime, case_id: str, *, who: str, answer: str) -> None:
    """Note what staff answered; audited. NotFound unless the appeal is open."""
    values = {"closed_us": micros(now), "closed_by": who, "answer": answer}
    statement = update(_appeal).where(_appeal.c.case_id == case_id, _appeal.c.closed_us.is_(None))
    if not tx.execute(statement.values(values)).rowcount:
        raise NotFound(f"there is no open appeal against {case_id}")
    audit.append(tx, now, who, "appeal closed", f"case {case_id}", answer)
