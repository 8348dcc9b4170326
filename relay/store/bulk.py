"""Many rows in one statement, past SQLAlchemy's care for each value: the journal counts microseconds."""

from __future__ import annotations

import json
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def json_text(value: Sequence[Any] | dict[str, Any]) -> str:
    """Return JSON as the JSON columns keep it; ValueError for a number that is none."""
    if value:
        return _encode(value)
    return "{}" if isinstance(value, dict) else "[]"


#: Rows of one SQLite statement, the largest first. Each step of a statement lets go of the interpreter and
#: asks for it again: row by row, that would stop the event loop's thread a hundred times a batch.
_ROWS = (64, 16, 4, 1)


@cache
def _statement(
    table: Table, columns: tuple[str, ...], placeholder: str, summed: str, latest: str, rows: int
) -> str:
    names = ", ".join(columns)
    values = f"({', '.join([placeholder] * len(columns))})"
    text = f"INSERT INTO {table.name} ({names}) VALUES {', '.join([values] * rows)}"  # noqa: S608
    key = ", ".join(column.name for column in table.primary_key.columns)
    if summed:
        return (
            f"{text} ON CONFLICT ({key}) DO UPDATE SET {summed} = {table.name}.{summed} + excluded.{summed}"
        )
    if latest:
        update = f"{latest} = excluded.{latest} WHERE excluded.{latest} > {table.name}.{latest}"
        return f"{text} ON CONFLICT ({key}) DO UPDATE SET {update}"
    return text


def insert(
    tx: Connection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[tuple[Any, ...]],
    *,
    summed: str = "",
    latest: str = "",
) -> None:
    """Insert rows of plain values, in this order of columns.

    Where a key exists, add up the column `summed`, or keep the higher of `latest`. The caller cleans
    texts (schema.clean) and encodes JSON (`json_text`).
    """
    if tx.dialect.name != "sqlite":
        if rows:
            tx.exec_driver_sql(_statement(table, columns, "%s", summed, latest, 1), list(rows))
        return
    place = 0
    for size in _ROWS:
        while len(rows) - place >= size:
            values = tuple(chain.from_iterable(rows[place : place + size]))
            tx.exec_driver_sql(_statement(table, columns, "?", summed, latest, size), values)
            place += size
