"""Notices that wait to be told: derived from cases, so that none can be forgotten and none comes twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from relay.clock import micros
from relay.errors import NotFound
from relay.model import Level, Mode
from relay.notice import Channel, Kind, Notice, kind_of
from relay.store import accounts, decisions
from relay.store.schema import decision as _decision
from relay.store.schema import notice as _notice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import Connection, RowMapping

    from relay.model import Customer
    from relay.store.decisions import Case

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"
#: pauses between tries; after the last the notice is given up
RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240, 720))
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Due:
    """One notice to be told now."""

    id: int
    channel: Channel
    attempts: int
    #: the customer's contact address, or ""
    contact: str
    notice: Notice


def recent(tx: Connection, since: datetime) -> list[str]:
    """Return the cases since a moment, however many, oldest first."""
    statement = select(_decision.c.case_id).where(_decision.c.at_us >= micros(since))
    return list(tx.execute(statement.order_by(_decision.c.at_us, _decision.c.case_id)).scalars())


def derive(tx: Connection, case_ids: Iterable[str], now: datetime, channels: Collection[Channel]) -> int:
    """Make the notices of cases and return how many are new; a case that was erased meanwhile has none.

    At most one for each subject, kind, hour and channel.
    """
    made = 0
    for case_id in case_ids:
        try:
            case = decisions.case(tx, case_id)
        except NotFound:
            continue
        kind = kind_of(case.from_state, case.to_state, case.evidence)
        if kind is None or case.evidence.get("mode") == Mode.OBSERVE:
            continue  # nothing that anybody feels
        told = [one for one in channels if kind is not Kind.APPEAL or one is not Channel.CUSTOMER]
        made += sum(_add(tx, case, kind, channel, now) for channel in told)
    return made


def due(tx: Connection, now: datetime, most: int = 100) -> list[Due]:
    """Return the waiting notices whose time has come, `most` of each channel, oldest first."""
    statement = (
        select(_notice)
        .where(_notice.c.state == WAITING, _notice.c.next_us <= micros(now))
        .order_by(_notice.c.next_us, _notice.c.id)
        .limit(most)
    )
    found = []
    for channel in Channel:
        rows = tx.execute(statement.where(_notice.c.channel == str(channel)))
        found += [_due(tx, row) for row in rows.mappings().all()]
    return found


def sent(tx: Connection, number: int) -> None:
    """Note that a notice was taken by whoever carries it on."""
    tx.execute(update(_notice).where(_notice.c.id == number).values(state=SENT, last=""))


def failed(tx: Connection, one: Due, now: datetime, why: str) -> None:
    """Note a failed try; after the last one the notice is given up."""
    if one.attempts >= len(RETRIES):
        values: dict[str, str | int] = {"state": GIVEN_UP, "last": why}
    else:
        values = {"attempts": one.attempts + 1, "next_us": micros(now + RETRIES[one.attempts]), "last": why}
    tx.execute(update(_notice).where(_notice.c.id == one.id).values(**values))


def _add(tx: Connection, case: Case, kind: Kind, channel: Channel, now: datetime) -> int:
    make = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
    row = make(_notice).values(
        case_id=case.id,
        level=str(case.level),
        subject_id=case.subject_id,
        kind=str(kind),
        channel=str(channel),
        hour=micros(case.at) // HOUR_US,
        at_us=micros(case.at),
        state=WAITING,
        next_us=micros(now),
    )
    return tx.execute(row.on_conflict_do_nothing()).rowcount


def _due(tx: Connection, row: RowMapping) -> Due:
    case = decisions.case(tx, row["case_id"])
    subject, customer = _subject(tx, case)
    given = case.evidence.get("numbers")
    notice = Notice(
        kind=Kind(row["kind"]),
        case_id=case.id,
        at=case.at,
        level=str(case.level),
        subject=subject,
        customer=customer.name if customer else "",
        state=str(case.to_state),
        until=case.until,
        reason=case.reason,
        lifts=str(case.evidence.get("lifts", "")),
        clause=str(case.evidence.get("clause", "")),
        set_by=case.set_by,
        brand=customer.brand if customer else "",
        phone=customer.phone if customer else "",
        numbers=given if isinstance(given, dict) else {},
    )
    contact = customer.contact if customer else ""
    return Due(row["id"], Channel(row["channel"]), row["attempts"], contact, notice)


def _subject(tx: Connection, case: Case) -> tuple[str, Customer | None]:
    """Return the subject's name and its customer; of one that is gone, its number and nobody."""
    try:
        match case.level:
            case Level.ACCOUNT:
                account = accounts.account_by_id(tx, case.subject_id)
                return account.login, account.customer
            case Level.SERVER:
                server = accounts.server_of(tx, case.subject_id)
                return server.name, accounts.customer_by_id(tx, server.customer_id)
            case Level.CUSTOMER:
                customer = accounts.customer_by_id(tx, case.subject_id)
                return customer.name, customer
    except NotFound:
        return f"number {case.subject_id}", None
