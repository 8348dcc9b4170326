"""The one way in which the console and the API change a standing: the same checks, case, audit and event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

from relay.console.desk import Refused
from relay.console.roles import SWITCH, May
from relay.errors import NotFound
from relay.events import StandingChanged
from relay.model import Level, State
from relay.store import accounts, switch
from relay.store.changes import Change
from relay.values import parse_duration

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.console.desk import Desk, Visitor
    from relay.model import Standing

#: A switch-off that comes back by itself does so within a month; for longer there is `suspended`.
LONGEST = timedelta(days=30)
SHORTEST = timedelta(minutes=1)
#: What staff may choose; closing an account is for the command line.
CHOICES = (State.ACTIVE, State.DEACTIVATED, State.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to become of a standing; `version` is that of the standing they looked at."""

    level: Level
    name: str
    state: State
    reason: str
    span: str = ""
    version: int | None = None


def _span(wish: Wish) -> timedelta | None:
    if wish.state is not State.DEACTIVATED:
        return None
    try:
        span = parse_duration(wish.span or "24h")
    except PydanticCustomError:
        raise Refused(422, f"{wish.span[:40]!r} is no length of time: write 6h or 2d.") from None
    if not SHORTEST <= span <= LONGEST:
        raise Refused(422, "Deactivate for a minute at least and 30 days at most.")
    return span


def _owner(tx: Connection, level: Level, name: str) -> int:
    if level is Level.ACCOUNT:
        return accounts.account(tx, name).customer.id
    return accounts.server(tx, name).customer_id if level is Level.SERVER else accounts.customer(tx, name).id


async def pause(desk: Desk, visitor: Visitor, login: str, *, paused: bool, reason: str) -> Standing:
    """Turn the owner's own switch of an account and return what holds; Forbidden, NotFound."""
    visitor.needs(May.PAUSE)

    def work(tx: Connection) -> tuple[int, Standing]:
        if visitor.only is not None and _owner(tx, Level.ACCOUNT, login) != visitor.only:
            raise NotFound(login)
        standing = switch.set_by_owner(
            tx, desk.now(), Level.ACCOUNT, login, paused=paused, who=visitor.mark, reason=reason
        )
        return accounts.account(tx, login).id, standing.binding

    number, standing = await desk.store.write(work)
    if desk.directory is not None:
        desk.directory.forget([Change(0, str(Level.ACCOUNT), str(number))])
    return standing


async def change(desk: Desk, visitor: Visitor, wish: Wish) -> Standing:
    """Set the standing and return it, effective everywhere within a second.

    Forbidden by role, NotFound for what is not there or not theirs, Refused for a wrong wish, Conflict if
    somebody else changed the standing after it was looked at.
    """
    visitor.needs(SWITCH[wish.level])
    if wish.state not in CHOICES:
        raise Refused(422, "Choose active, deactivated or suspended.")
    reason = " ".join(wish.reason.split())
    if len(reason) < 3:
        raise Refused(422, "Say why: sender and colleagues will ask.")
    span, now = _span(wish), desk.now()

    def work(tx: Connection) -> tuple[int, Standing]:
        if visitor.only is not None and _owner(tx, wish.level, wish.name) != visitor.only:
            raise NotFound(wish.name)
        number = switch.subject_id(tx, wish.level, wish.name)
        return number, switch.set_by_staff(
            tx,
            now,
            wish.level,
            wish.name,
            wish.state,
            reason=reason[:500],
            until=None if span is None else now + span,
            who=visitor.mark,
            expected_version=wish.version,
        )

    number, standing = await desk.store.write(work)
    if desk.directory is not None:
        # this process need not wait for its next look at the changes
        desk.directory.forget([Change(0, str(wish.level), str(number))])
    desk.emit(
        StandingChanged(
            wish.name, str(standing.state), standing.set_by, standing.case_id or "", standing.reason
        )
    )
    return standing
