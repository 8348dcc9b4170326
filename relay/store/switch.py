"""Staff switch a standing: the case, the standing and the audit row in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import ids
from relay.errors import Conflict
from relay.model import Level, Standing, State
from relay.store import accounts, audit, decisions
from relay.store.standing import set_standing, standing_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def subject_id(tx: Connection, level: Level, name: str) -> int:
    """Return the id of a login, server or customer; NotFound."""
    match level:
        case Level.ACCOUNT:
            return accounts.account(tx, name).id
        case Level.SERVER:
            return accounts.server(tx, name).id
        case Level.CUSTOMER:
            return accounts.customer(tx, name).id


def set_by_staff(  # noqa: PLR0913 - one argument a fact
    tx: Connection,
    now: datetime,
    level: Level,
    name: str,
    state: State,
    *,
    reason: str,
    until: datetime | None = None,
    who: str = "staff:command-line",
    expected_version: int | None = None,
) -> Standing:
    """Set the standing of a login, server or customer and return it with its new case id.

    NotFound; Conflict if `expected_version` (of the standing looked at) is no longer current.
    """
    number = subject_id(tx, level, name)
    before = standing_of(tx, level, number)
    if expected_version not in (None, before.version):
        raise Conflict(f"the standing of {name} was changed meanwhile; look again")
    case = ids.case_id()
    after = Standing(state, now, until, reason, case, who)
    decisions.add(
        tx, now, case_id=case, level=level, subject_id=number, step=f"{state} by staff",
        from_state=before.state, to_state=state, until=until, reason=reason,
        evidence={"set_by": who, "before": str(before.state)}, set_by=after.set_by,
    )  # fmt: skip
    audit.append(
        tx,
        now,
        who,
        f"{level} {state}",
        f"{level} {name}",
        reason,
        {"case_id": case, "before": str(before.state)},
    )
    return set_standing(tx, now, level, number, after, expected_version=before.version)
