"""Standing is compare-and-set: two who decide at once cannot both be right."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sqlalchemy import Table, bindparam, select, update

from relay.clock import micros
from relay.errors import Conflict, NotFound
from relay.model import Level, Standing, State
from relay.store import changes, rows, schema

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

#: where the standing of each level is
TABLES: dict[Level, Table] = {
    Level.ACCOUNT: schema.account,
    Level.SERVER: schema.server,
    Level.CUSTOMER: schema.customer,
}

#: States that may end by themselves; named one by one, so that the index on (state, until_us) finds them.
_TIMED = [str(state) for state in State if state not in (State.ACTIVE, State.CLOSED)]
#: made once: they are asked four times a second
_DUE = {
    level: select(table).where(table.c.state.in_(_TIMED), table.c.until_us <= bindparam("now_us"))
    for level, table in TABLES.items()
}


def standing_of(tx: Connection, level: Level, subject_id: int) -> Standing:
    """Return the standing of one level, not the effective one; NotFound."""
    table = TABLES[level]
    row = tx.execute(select(table).where(table.c.id == subject_id)).mappings().first()
    if row is None:
        raise NotFound(f"there is no {level} with id {subject_id}")
    return rows.standing(row)


def lock(tx: Connection, level: Level, subject_id: int) -> None:
    """Keep other nodes from deciding about a subject until this transaction ends."""
    table = TABLES[level]
    tx.execute(select(table.c.id).where(table.c.id == subject_id).with_for_update())


def set_standing(
    tx: Connection,
    now: datetime,
    level: Level,
    subject_id: int,
    standing: Standing,
    *,
    expected_version: int | None,
) -> Standing:
    """Set a standing if its version is still the expected one (None: whatever it is) and return it as stored.

    Conflict if another writer was first, NotFound for an unknown subject. Every process hears of it.
    """
    table = TABLES[level]
    statement = update(table).where(table.c.id == subject_id)
    if expected_version is not None:
        statement = statement.where(table.c.standing_version == expected_version)
    values = {**rows.standing_columns(standing), "standing_version": table.c.standing_version + 1}
    version = tx.execute(statement.values(values).returning(table.c.standing_version)).scalar()
    if version is None:
        found = standing_of(tx, level, subject_id)
        raise Conflict(f"the standing of {level} {subject_id} is now {found.state}: another writer was first")
    changes.note(tx, now, str(level), subject_id)
    return dataclasses.replace(standing, version=version)


def ending(tx: Connection, now: datetime) -> list[tuple[Level, int, Standing]]:
    """Return every timed standing whose end has come, of all three levels."""
    found: list[tuple[Level, int, Standing]] = []
    for level, due in _DUE.items():
        ended = tx.execute(due, {"now_us": micros(now)}).mappings()
        found += [(level, row["id"], rows.standing(row)) for row in ended]
    return found
