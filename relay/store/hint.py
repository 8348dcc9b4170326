"""PostgreSQL tells at once that something changed (LISTEN/NOTIFY): a hint, beside the poll that counts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from relay.store.engine import Store

CHANNEL = "gatepost_change"
AGAIN_SECONDS = 5.0


def tell(tx: Connection) -> None:
    """Give the hint when this transaction commits; nothing on SQLite."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"NOTIFY {CHANNEL}")


async def listen_forever(store: Store, heard: Callable[[], None]) -> None:
    """Call `heard` at every hint, over a connection of its own; returns at once on SQLite."""
    if store.sqlite:
        return
    import psycopg  # an extra: only who uses PostgreSQL has it

    address = store.url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(address, autocommit=True)
            async with connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                async for _ in connection.notifies():
                    heard()
        except (psycopg.Error, OSError):
            pass  # the poll goes on; the store's own health says what is wrong
        await asyncio.sleep(AGAIN_SECONDS)
