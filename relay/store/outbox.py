"""Waiting mail as rows: claimed by one worker at a time, written only by who holds the newest fence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from relay.store.schema import OUTBOX_SUSPECT as SUSPECT
from relay.store.schema import OUTBOX_UNSCREENED as UNSCREENED
from relay.store.schema import outbox as _table
from relay.store.schema import outbox_body as _body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, RowMapping
    from sqlalchemy import Row as SqlRow

#: The next attempt of a message that staff want tried now, whatever back-off and breakers say.
URGENT = 0
PAGE = 200


class State(StrEnum):
    """Why a message is here."""

    WAITING = "waiting"  #: for its next attempt
    HELD = "held"  #: for staff
    POISON = "poison"  #: set aside: workers died of it, or its body is gone


@dataclass(frozen=True, slots=True)
class Row:
    """One waiting message, without its body; times are integer µs UTC."""

    id: str
    state: str
    reason: str
    account_id: int
    customer_id: int
    server_id: int
    at_us: int
    next_us: int
    deadline_us: int
    size: int
    recipients: int
    envelope: bytes = field(repr=False)
    in_file: bool = False
    attempts: int = 0
    deaths: int = 0
    fence: int = 0
    worker: str = ""
    last: str = ""
    score: float = 0.0
    hits: Sequence[dict[str, Any]] = ()
    campaign: str = ""


_NAMES = tuple(Row.__dataclass_fields__)
#: built once: this is the way of every message that waits
_INSERT, _INSERT_BODY = insert(_table), insert(_body)
_COLUMNS = [_table.c[name] for name in Row.__dataclass_fields__]


def _row(mapping: RowMapping) -> Row:
    return Row(**mapping)


def add(tx: Connection, row: Row, sealed_body: bytes | None) -> None:
    """Insert a message and, unless it lies in a file, its body."""
    tx.execute(_INSERT, {name: getattr(row, name) for name in _NAMES})
    if sealed_body is not None:
        tx.execute(_INSERT_BODY, {"id": row.id, "sealed": sealed_body})


def replace_body(tx: Connection, number: str, sealed: bytes) -> None:
    """Put another body in the place of a message's."""
    tx.execute(update(_body).where(_body.c.id == number).values(sealed=sealed))


def body(tx: Connection, number: str) -> bytes | None:
    """Return the sealed body of a message whose body is a row."""
    sealed = tx.execute(_READ_BODY, {"number": number}).scalar()
    return None if sealed is None else bytes(sealed)


def bodies(tx: Connection, numbers: Sequence[str]) -> dict[str, bytes]:
    """Return the sealed bodies, by id, of those messages whose bodies are rows."""
    found = tx.execute(_READ_BODIES, {"ids": list(numbers)})
    return {number: bytes(sealed) for number, sealed in found}


def get(tx: Connection, number: str) -> Row | None:
    """Return one message."""
    found = tx.execute(select(*_COLUMNS).where(_table.c.id == number)).mappings().first()
    return None if found is None else _row(found)


# --- claiming


@dataclass(frozen=True, slots=True)
class Due:
    """A server with mail whose time has come."""

    server_id: int
    next_us: int
    #: some of it is suspected to kill workers, and is handled alone
    suspects: bool


def due(tx: Connection, now_us: int) -> list[Due]:
    """Return the servers with due mail, the longest waiting first; an index alone answers."""
    ready = (_table.c.state == State.WAITING, _table.c.next_us <= now_us)
    statement = select(_table.c.server_id, func.min(_table.c.next_us)).where(*ready)
    suspects = select(_table.c.server_id).where(*ready, text(f"({SUSPECT})")).distinct()
    suspected = set(tx.execute(suspects).scalars())
    found = tx.execute(statement.group_by(_table.c.server_id).order_by(func.min(_table.c.next_us)))
    return [Due(server_id, next_us, server_id in suspected) for server_id, next_us in found]


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants how many, and until when the lease runs."""

    worker: str
    now_us: int
    lease_until_us: int
    limit: int
    suspects: bool = False
    urgent_only: bool = False
    #: what this worker has still in hand, should its leases have run out while it slept
    in_hand: Sequence[str] = ()


def _claimable(*, suspects: bool) -> Select[str, int]:
    clear = and_(_table.c.deaths == 0, _table.c.worker == "")
    not_in_hand = _table.c.id.not_in(bindparam("in_hand", expanding=True))
    return (
        select(_table.c.id, _table.c.next_us)
        .where(
            _table.c.state == State.WAITING,
            _table.c.server_id == bindparam("server_id"),
            _table.c.next_us <= bindparam("newest"),
            and_(~clear, not_in_hand) if suspects else clear,
        )
        .order_by(_table.c.next_us, _table.c.at_us)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


# built once: these are run for every message that leaves
_CLAIM = {suspects: _claimable(suspects=suspects) for suspects in (False, True)}
_LEASE = (
    update(_table)
    .where(_table.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        fence=_table.c.fence + 1,
        worker=bindparam("worker_now"),
        next_us=bindparam("lease_until_us"),
        deaths=_table.c.deaths + case((_table.c.worker != "", 1), else_=0),
    )
    .returning(*_COLUMNS)
)
_FINISH = delete(_table).where(_table.c.id == bindparam("number"), _table.c.fence == bindparam("held"))
_DROP_BODY = delete(_body).where(_body.c.id == bindparam("number"))
_FENCES = (
    select(_table.c.id, _table.c.fence)
    .where(_table.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(_table.c.id)  # two that lock the same rows do it in the same order
    .with_for_update()
)
_FINISH_MANY = delete(_table).where(_table.c.id.in_(bindparam("ids", expanding=True)))
_DROP_BODIES = delete(_body).where(_body.c.id.in_(bindparam("ids", expanding=True)))
_READ_BODIES = select(_body.c.id, _body.c.sealed).where(_body.c.id.in_(bindparam("ids", expanding=True)))
_READ_BODY = select(_body.c.sealed).where(_body.c.id == bindparam("number"))


def claim(tx: Connection, server_id: int, wanted: Claim) -> list[Row]:
    """Lease due messages of one server, oldest first; rows that another node is claiming are skipped.

    A leased row is due again when its lease ends, so a dead worker's rows come back by themselves;
    each such return counts one death.
    """
    newest = URGENT if wanted.urgent_only else wanted.now_us
    chosen: dict[str, Any] = {"server_id": server_id, "newest": newest, "most": wanted.limit}
    if wanted.suspects:
        chosen["in_hand"] = list(wanted.in_hand)
    return _lease(tx, tx.execute(_CLAIM[wanted.suspects], chosen).all(), wanted)


def claim_overdue(tx: Connection, wanted: Claim) -> list[Row]:
    """Lease waiting and held messages whose deadline has come and that nobody has leased."""
    found = (
        select(_table.c.id, _table.c.next_us)
        .where(
            _table.c.state.in_((State.WAITING, State.HELD)),
            _table.c.deadline_us <= wanted.now_us,
            or_(_table.c.worker == "", _table.c.next_us <= wanted.now_us),
        )
        .order_by(_table.c.deadline_us)
        .limit(wanted.limit)
        .with_for_update(skip_locked=True)
    )
    return _lease(tx, tx.execute(found).all(), wanted)


def _lease(tx: Connection, found: Sequence[SqlRow[str, int]], wanted: Claim) -> list[Row]:
    """Lease the found rows and return them, in order, with the `next_us` that they had before."""
    # two statements: PostgreSQL may run a locking subquery of an UPDATE more than once
    before = {row[0]: row[1] for row in found}
    if not before:
        return []
    values = {"ids": list(before), "worker_now": wanted.worker, "lease_until_us": wanted.lease_until_us}
    rows = {mapping["id"]: _row(mapping) for mapping in tx.execute(_LEASE, values).mappings()}
    return [replace(rows[number], next_us=next_us) for number, next_us in before.items()]


def extend(tx: Connection, worker: str, chosen: Sequence[str], lease_until_us: int) -> list[str]:
    """Keep this worker's leases on these messages; return those that it still has."""
    mine = and_(_table.c.id.in_(chosen), _table.c.worker == worker)
    kept = update(_table).where(mine).values(next_us=lease_until_us).returning(_table.c.id)
    return list(tx.execute(kept).scalars())


def recover(tx: Connection, now_us: int) -> int:
    """Make what was leased due now: the only delivering process of this store has just started.

    Not what is in doubt: another process may still be reading the connection that brings its answer.
    """
    leased = and_(
        _table.c.worker != "",
        _table.c.state.in_((State.WAITING, State.HELD)),
        _table.c.reason != "in doubt",
    )
    return tx.execute(update(_table).where(leased, _table.c.next_us > now_us).values(next_us=now_us)).rowcount


# --- writing what became of it


def settle(tx: Connection, row: Row, **values: Any) -> bool:
    """Write what an attempt came to and end the lease; False when somebody else has it now, or it was done.

    Doing it again, after a commit whose outcome is unknown, changes nothing.
    """
    mine = and_(_table.c.id == row.id, _table.c.fence == row.fence)
    ended = update(_table).where(mine).values(worker="", fence=_table.c.fence + 1, **values)
    return bool(tx.execute(ended).rowcount)


def finish(tx: Connection, row: Row) -> bool:
    """Delete a message with nothing left to do; False when somebody else has it now."""
    if not tx.execute(_FINISH, {"number": row.id, "held": row.fence}).rowcount:
        return False
    if not row.in_file:
        tx.execute(_DROP_BODY, {"number": row.id})
    return True


def finish_all(tx: Connection, ended: Sequence[Row]) -> set[str]:
    """Delete messages with nothing left to do, many at once; return those that nobody else has now."""
    fences = {row.id: row.fence for row in ended}
    held = tx.execute(_FENCES, {"ids": list(fences)}).all()
    mine = [number for number, fence in held if fences[number] == fence]
    if mine:
        tx.execute(_FINISH_MANY, {"ids": mine})
        tx.execute(_DROP_BODIES, {"ids": mine})
    return set(mine)


def take_over(tx: Connection, number: str, state: str, *, idle_us: int | None = None) -> Row | None:
    """Fence off whoever has a message in this state and return it, for staff who act on it; else None.

    With `idle_us` (now), what somebody has leased is left to them: it may be on its way at this moment.
    """
    chosen = and_(_table.c.id == number, _table.c.state == state)
    if idle_us is not None:
        chosen = and_(chosen, or_(_table.c.worker == "", _table.c.next_us <= idle_us))
    changed = update(_table).where(chosen).values(fence=_table.c.fence + 1, worker="").returning(*_COLUMNS)
    found = tx.execute(changed).mappings().first()
    return None if found is None else _row(found)


def hurry(tx: Connection, chosen: Sequence[str]) -> int:
    """Make waiting messages due at once, whatever back-off and breakers say; not those that have a turn."""
    which = and_(
        _table.c.id.in_(chosen),
        _table.c.state == State.WAITING,
        _table.c.worker == "",
        _table.c.reason != "turn",
    )
    return tx.execute(update(_table).where(which).values(next_us=URGENT)).rowcount


# --- looking


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages: everything given must hold."""

    state: str | None = None
    account_id: int | None = None
    customer_id: int | None = None
    server_id: int | None = None
    campaign: str | None = None
    rule: str | None = None
    older_than_us: int | None = None
    least_score: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL of it; a rule is looked for in the rows themselves (`matches`)."""
        columns = ("state", "account_id", "customer_id", "server_id", "campaign")
        chosen = [
            _table.c[name] == getattr(self, name) for name in columns if getattr(self, name) is not None
        ]
        if self.older_than_us is not None:
            chosen.append(_table.c.at_us < self.older_than_us)
        if self.least_score is not None:
            chosen.append(_table.c.score >= self.least_score)
        return chosen

    def matches(self, row: Row) -> bool:
        """Return whether the named rule hit, where one is named."""
        return self.rule is None or any(hit.get("rule") == self.rule for hit in row.hits)


def page(tx: Connection, wanted: Filter, after: str = "", limit: int = PAGE) -> list[Row]:
    """Return messages in the order of their ids (which is that of their times), after one of them."""
    some = max(limit, PAGE)
    statement = select(*_COLUMNS).where(*wanted.conditions()).order_by(_table.c.id).limit(some)
    rows: list[Row] = []
    while len(rows) < limit:
        found = [_row(mapping) for mapping in tx.execute(statement.where(_table.c.id > after)).mappings()]
        rows += [row for row in found if wanted.matches(row)]
        if len(found) < some:
            break
        after = found[-1].id
    return rows[:limit]


def count(tx: Connection, wanted: Filter) -> int:
    """Return how many messages are chosen; a rule is not looked at."""
    return int(tx.execute(select(func.count()).select_from(_table).where(*wanted.conditions())).scalar_one())


def counts(tx: Connection) -> dict[str, int]:
    """Return how many messages are in each state."""
    statement = select(_table.c.state, func.count()).group_by(_table.c.state)
    found = {str(state): int(number) for state, number in tx.execute(statement)}
    return {str(state): found.get(state, 0) for state in State}


def known(tx: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these ids are messages."""
    return set(tx.execute(select(_table.c.id).where(_table.c.id.in_(ids))).scalars())


@dataclass(frozen=True, slots=True)
class Load:
    """How much waits."""

    states: dict[str, int]
    unscreened: int = 0
    #: when the longest waiting message came, µs UTC
    oldest_us: int | None = None


def load(tx: Connection) -> Load:
    """Return how much waits, from indexes alone: cheap with a hundred thousand messages too."""
    unscreened = select(func.count()).select_from(_table).where(text(f"({UNSCREENED})"))
    # ids sort by time, and `+ ''` keeps the index of states out of it
    oldest = select(_table.c.at_us).where(_table.c.state + "" == State.WAITING).order_by(_table.c.id).limit(1)
    return Load(counts(tx), tx.execute(unscreened).scalar_one(), tx.execute(oldest).scalar())
