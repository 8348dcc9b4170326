"""All rows of one database brought into another, empty one, of either kind: a PostgreSQL store as one file.

The source is read in one transaction that sees one moment, the other is written in one: all or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Table, bindparam, delete, func, insert, select, text, update

from relay.errors import StoreError
from relay.store import connect, migrate, schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Row
    from sqlalchemy.engine import URL

#: Rows in memory at once; a body has 64 KiB at most.
_PART = 200


def export(source: URL, copy: URL) -> None:
    """Write what the PostgreSQL database `source` holds at this moment into the new SQLite file `copy`."""
    reading = connect.connect(source, read_only=True, size=1)
    writing = connect.connect(copy, read_only=False, size=1)
    try:
        with connect.edge():
            migrate.upgrade(writing)
            with reading.connect() as old, old.begin(), writing.begin() as new:
                _same_revision(old)
                _copy(old, new)
    finally:
        reading.dispose()
        writing.dispose()


def bring_back(old: Connection, place: URL) -> None:
    """Write all rows of a copy into the PostgreSQL database `place`; StoreError where that has tables."""
    writing = connect.connect(place, read_only=False, size=1)
    try:
        with connect.edge(), writing.begin() as new:
            _same_revision(old)
            migrate.create(new)
            _copy(old, new)
    finally:
        writing.dispose()


def is_empty(place: URL) -> bool:
    """Return whether the database `place` has no tables of ours; StoreError if it is not there."""
    engine = connect.connect(place, read_only=True, size=1)
    try:
        with connect.edge(), engine.connect() as tx, tx.begin():
            return not migrate.revision(tx)
    finally:
        engine.dispose()


def _same_revision(old: Connection) -> None:
    found = migrate.revision(old)
    if found != schema.REVISION:
        raise StoreError(
            f"the tables are of revision {found or 'none'}, this Gatepost's of {schema.REVISION}:"
            " start it on that database first"
        )


def _copy(old: Connection, new: Connection) -> None:
    new.execute(delete(schema.counter))  # a migration puts its rows in
    for table in schema.metadata.sorted_tables:
        _copy_table(old, new, table)
        if table.autoincrement_column is not None:
            _go_on_counting(old, new, table)


def _copy_table(old: Connection, new: Connection, table: Table) -> None:
    """Copy rows; what refers to a row of the same table is written when all of them are there."""
    inward = [c for c in table.columns if any(k.column.table is table for k in c.foreign_keys)]
    for part in _parts(old, table):
        rows = [dict(row._mapping) for row in part]  # noqa: SLF001 - SQLAlchemy's public name for it
        new.execute(insert(table), [row | dict.fromkeys([c.name for c in inward]) for row in rows])
    for column in inward:
        key = next(iter(table.primary_key))
        statement = update(table).where(key == bindparam("this")).values({column: bindparam("other")})
        pairs = old.execute(select(key, column).where(column.is_not(None))).all()
        if pairs:
            new.execute(statement, [{"this": this, "other": other} for this, other in pairs])


def _parts(old: Connection, table: Table) -> Iterable[Iterable[Row[tuple[object, ...]]]]:
    return old.execution_options(yield_per=_PART).execute(select(table)).partitions()


def _go_on_counting(old: Connection, new: Connection, table: Table) -> None:
    """Let new rows get numbers that none has had: tokens and hashes outlive their owners."""
    key = next(iter(table.primary_key))
    given = old.execute(select(func.max(key))).scalar() or 0
    number = max(given, _last_number(old, table))
    if not number:
        return
    values = {"name": table.name, "number": number}
    if new.dialect.name == "postgresql":
        new.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)"), values)
    elif table.dialect_options["sqlite"]["autoincrement"]:
        new.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        new.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"), values)


def _last_number(old: Connection, table: Table) -> int:
    asked = (
        "SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id')::regclass)"
        if old.dialect.name == "postgresql"
        else "SELECT seq FROM sqlite_sequence WHERE name = :name"
    )
    return int(old.execute(text(asked), {"name": table.name}).scalar() or 0)
