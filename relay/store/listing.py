"""How every list of the console is narrowed and cut into pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, tuple_

from relay.store.schema import clean

if TYPE_CHECKING:
    from sqlalchemy import Table


def like(text: str) -> str:
    """Return a LIKE pattern (escape character `!`) that finds `text` itself anywhere."""
    escaped = clean(text).replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


def older(
    table: Table, identity: ColumnElement[Any], cursor: tuple[int, str] | None
) -> ColumnElement[bool] | None:
    """Return what comes behind the cursor (at_us, id) of a list that is newest first."""
    return None if cursor is None else tuple_(table.c.at_us, identity) < tuple_(*cursor)


def narrow(query: Select[Any], *conditions: ColumnElement[bool] | None) -> Select[Any]:
    """Add those conditions that are there."""
    for condition in conditions:
        if condition is not None:
            query = query.where(condition)
    return query
