"""Throttled accounts' mail leaves one by one, at one pace however many nodes deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, text

from relay.store.schema import pace as _table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

# one statement on both databases, so that two nodes never get the same turn
_RESERVE = text(
    "INSERT INTO pace (account_id, next_us) VALUES (:account, :now + :interval) "
    "ON CONFLICT (account_id) DO UPDATE SET next_us = "
    "CASE WHEN pace.next_us > :now THEN pace.next_us ELSE :now END + :interval RETURNING next_us"
)


def reserve(tx: Connection, account_id: int, now_us: int, interval_us: int) -> int:
    """Return the moment (µs UTC) of the account's next turn, and put the one after it an interval later."""
    values = {"account": account_id, "now": now_us, "interval": interval_us}
    return int(tx.execute(_RESERVE, values).scalar_one()) - interval_us


def forget(tx: Connection, accounts: Iterable[int]) -> None:
    """Let these accounts' next turn be at once: they are not throttled any more, or their mail is gone."""
    tx.execute(delete(_table).where(_table.c.account_id.in_(list(accounts))))
