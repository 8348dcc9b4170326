"""Answers whose arrival at the client is in doubt: a retry of the same message gets the same one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, text

from relay.clock import micros
from relay.store.schema import answer as _table

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

LASTS = timedelta(hours=24)
#: The answer to a message that was told 451 may still come for so long (RFC 5321 §4.5.3.2.6).
PENDING = timedelta(minutes=10)
MOST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client was told, or would have been."""

    code: int
    text: str
    queue_id: str = ""


#: stands for "the customer's server has not answered yet"
UNDER_WAY = Answer(451, "No answer yet; please try again later")


# one statement each, so that two nodes that take the same message at once keep one of them
_KEEP = text(
    "INSERT INTO answer (key, expires_us, code, text, queue_id) VALUES (:key, :expires, :code, :text, :id) "
    "ON CONFLICT (key) DO UPDATE SET code = excluded.code, expires_us = excluded.expires_us, "
    "text = excluded.text, queue_id = excluded.queue_id"
)
_OWE = text(f"{_KEEP.text} WHERE answer.queue_id = '' OR answer.expires_us <= :now RETURNING queue_id")


def owe(tx: Connection, now: datetime, key: bytes, queue_id: str) -> str:
    """Note that a message waits here whose client is owed a 250; return its id, or that of an earlier one."""
    values = {"key": key, "now": micros(now), "expires": micros(now + LASTS), "code": 250, "text": ""}
    if tx.execute(_OWE, values | {"id": queue_id}).scalar() is None:
        return str(tx.execute(select(_table.c.queue_id).where(_table.c.key == key)).scalar_one())
    return queue_id


def remember(tx: Connection, now: datetime, key: bytes, answer: Answer) -> None:
    """Keep an answer for 24 hours; the newest one counts."""
    values = {"key": key, "expires": micros(now + LASTS), "code": answer.code, "text": answer.text}
    tx.execute(_KEEP, values | {"id": answer.queue_id})


def expect(tx: Connection, now: datetime, key: bytes) -> None:
    """Note that a first answer is under way; one that is kept already counts."""
    if recall(tx, now, key) in (None, UNDER_WAY):
        remember(tx, now, key, UNDER_WAY)


def dismiss(tx: Connection, key: bytes) -> None:
    """Forget that an answer was under way: none came that counts. What is an answer stays known."""
    tx.execute(delete(_table).where(_table.c.key == key, _table.c.code == UNDER_WAY.code))


def recall(tx: Connection, now: datetime, key: bytes) -> Answer | None:
    """Return the answer that an earlier try of this message got, or was owed.

    A temporary one stands for "the customer's server has not answered yet", and counts for 10 minutes.
    """
    wanted = select(_table.c.code, _table.c.text, _table.c.queue_id, _table.c.expires_us)
    row = tx.execute(wanted.where(_table.c.key == key, _table.c.expires_us > micros(now))).first()
    if row is None or (
        row.code < 500 and row.code >= 400 and row.expires_us <= micros(now + LASTS - PENDING)
    ):
        return None
    return Answer(row.code, row.text, row.queue_id)


def kept_since(tx: Connection, expires_us: int) -> dict[bytes, int]:
    """Return the keys of answers that expire after a moment (µs UTC), with when they do."""
    newer = select(_table.c.key, _table.c.expires_us).where(_table.c.expires_us > expires_us)
    return {bytes(key): until for key, until in tx.execute(newer)}


def forget(tx: Connection, key: bytes) -> bool:
    """Forget an answer that has arrived: the next such message is a new one."""
    return bool(tx.execute(delete(_table).where(_table.c.key == key)).rowcount)


def purge(tx: Connection, now: datetime) -> int:
    """Forget a bounded number of old answers; return how many."""
    old = select(_table.c.key).where(_table.c.expires_us <= micros(now)).limit(MOST_ROWS)
    keys = list(tx.execute(old).scalars())
    return tx.execute(delete(_table).where(_table.c.key.in_(keys))).rowcount if keys else 0
