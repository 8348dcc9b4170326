"""One-time numbers: each is taken once by all processes and nodes, until it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import postgresql, sqlite

from relay.clock import micros
from relay.store.schema import nonce as _nonce

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def take(tx: Connection, source: str, value: str, expires_at: datetime) -> bool:
    """Take a number; False if it was taken before."""
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    row = make(_nonce).values(source=source, value=value, expires_us=micros(expires_at))
    return bool(tx.execute(row.on_conflict_do_nothing()).rowcount)
