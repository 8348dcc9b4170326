"""One-time numbers: each is taken once by all processes and nodes, until it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from relay.clock import micros
from relay.store.schema import nonce as _nonce

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def take(tx: Connection, source: str, value: str, expires_at: datetime) -> None:
    """Take a number, once or again."""
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    row = make(_nonce).values(source=source, value=value, expires_us=micros(expires_at))
    tx.execute(row.on_conflict_do_nothing())


def taken(tx: Connection, source: str, value: str) -> bool:
    """Return whether a number was taken before."""
    row = select(_nonce.c.value).where(_nonce.c.source == source, _nonce.c.value == value)
    return tx.execute(row).first() is not None
