"""Whose server keeps mail waiting: what was tried and will be tried again, by server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from relay.clock import moment
from relay.store.outbox import State
from relay.store.schema import outbox, server

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Backlog:
    """Mail for one server that did not get through so far."""

    server: str
    messages: int
    oldest_at: datetime


def by_server(tx: Connection, limit: int = 5) -> list[Backlog]:
    """Return the servers with the most mail that was tried in vain."""
    tried = (outbox.c.state == State.WAITING) & (outbox.c.attempts > 0)
    count = func.count().label("messages")
    query = (
        select(server.c.name, count, func.min(outbox.c.at_us).label("oldest_us"))
        .select_from(outbox.join(server, server.c.id == outbox.c.server_id))
        .where(tried)
        .group_by(server.c.name)
        .order_by(count.desc(), server.c.name)
        .limit(limit)
    )
    return [Backlog(row.name, row.messages, moment(row.oldest_us)) for row in tx.execute(query)]
