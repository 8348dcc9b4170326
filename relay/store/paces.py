"""Mail that waits for its sender: for a standing, or for its turn, at one pace however many nodes deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, delete, select, text, update

from relay.store.outbox import State
from relay.store.schema import outbox as _table
from relay.store.schema import pace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    tx.execute(delete(pace).where(pace.c.account_id.in_(list(accounts))))


def wake(tx: Connection, column: str, ids: Sequence[int], now_us: int) -> int:
    """Make mail due that waits for a standing: of these accounts, servers or customers (`column`)."""
    return _wake(tx, _table.c[column].in_(ids), ("paced", "standing"), now_us)


def wake_turns(tx: Connection, account_id: int, now_us: int) -> int:
    """Make mail due that waits for its turn: its account is not throttled any more."""
    return _wake(tx, _table.c.account_id == account_id, ("turn",), now_us)


def _wake(tx: Connection, whose: ColumnElement[bool], reasons: Sequence[str], now_us: int) -> int:
    waits = and_(
        _table.c.state == State.WAITING,
        whose,
        _table.c.reason.in_(reasons),
        _table.c.worker == "",
        _table.c.next_us > now_us,
    )
    return tx.execute(update(_table).where(waits).values(next_us=now_us)).rowcount


def taking_turns(tx: Connection, column: str, ids: Sequence[int]) -> list[int]:
    """Return the accounts, of these accounts, servers or customers, whose mail waits for turns."""
    mine = and_(_table.c.state == State.WAITING, _table.c[column].in_(ids), _table.c.reason == "turn")
    return list(tx.execute(select(_table.c.account_id).where(mine).distinct()).scalars())
