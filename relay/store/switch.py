"""Staff switch a standing: case, standing and audit row in one transaction; owners have a switch apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update

from relay import ids
from relay.clock import micros
from relay.errors import Conflict
from relay.model import Level, Standing, State
from relay.store import accounts, audit, changes, decisions
from relay.store.standing import TABLES, set_standing, standing_of

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

    NotFound; Conflict if `expected_version` (of the standing looked at) is no longer current, and for what is
    closed: that is for good.
    """
    number = subject_id(tx, level, name)
    before = standing_of(tx, level, number)
    if expected_version not in (None, before.version):
        raise Conflict(f"the standing of {name} was changed meanwhile; look again")
    if before.state is State.CLOSED and state is not State.CLOSED:
        raise Conflict(f"{name} is closed, and that is for good")
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


def set_by_owner(  # noqa: PLR0913 - one argument a fact
    tx: Connection, now: datetime, level: Level, name: str, *, paused: bool, who: str, reason: str
) -> Standing:
    """Pause or resume a login, server or customer for its owner, beside the provider's switch; NotFound.

    Neither lifts the other: what the provider switched off stays off, and so does what the owner paused.
    """
    number = subject_id(tx, level, name)
    table, state = TABLES[level], State.SUSPENDED if paused else State.ACTIVE
    values = {"own_state": str(state), "own_since_us": micros(now), "own_by": who}
    tx.execute(update(table).where(table.c.id == number).values(values))
    verb = "pause" if paused else "resume"
    audit.append(tx, now, who, f"{level} {verb}", f"{level} {name}", reason)
    changes.note(tx, now, str(level), number)
    return standing_of(tx, level, number)
