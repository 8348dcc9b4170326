"""Collects rows that nobody waits for, so that many share one statement and one commit."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy.exc import StatementError

from relay.errors import StoreError
from relay.store.connect import describe, is_fault_of_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from relay.store.engine import Store

T = TypeVar("T")
#: While the store cannot be written, so many of the newest rows are kept.
KEPT_ROWS = 10_000
_log = logging.getLogger("gatepost.store")
#: What a single row may be to blame for.
_OF_A_ROW = (StatementError, ValueError, TypeError, OverflowError)


class Batch(Generic[T]):
    """Collects rows on the event loop and hands them to the store's writer together.

    `write` writes rows; `again` does so for rows whose first try has an unknown outcome. While the store is
    silent the newest rows are kept; a row that the store will not take costs itself alone.
    """

    def __init__(
        self,
        store: Store,
        write: Callable[[Connection, Sequence[T]], None],
        again: Callable[[Connection, Sequence[T]], None],
    ) -> None:
        self._store = store
        self._write = write
        self._again = again
        self._rows: list[T] = []
        self._kept: deque[T] = deque(maxlen=KEPT_ROWS)
        self._due = False
        store.before_close(self.flush)

    def add(self, row: T) -> None:
        """Queue a row; it is committed within about 100 ms."""
        self._rows.append(row)
        if not self._due:
            self._due = True
            self._store.soon(self.flush)

    def flush(self) -> None:
        """Hand over what waits, now."""
        self._due = False
        again = [self._kept.popleft() for _ in range(len(self._kept))] if self._store.healthy else []
        rows, self._rows = self._rows, []
        if again:
            self._hand_over(again, self._again)
        if rows:
            self._hand_over(rows, self._write)

    def _hand_over(self, rows: list[T], how: Callable[[Connection, Sequence[T]], None]) -> None:
        try:
            self._store.write_later(lambda tx: _each(tx, rows, how), lost=lambda: self._kept.extend(rows))
        except StoreError:  # closed, or too much waits
            self._kept.extend(rows)


def _each(tx: Connection, rows: Sequence[T], how: Callable[[Connection, Sequence[T]], None]) -> None:
    """Write rows together or, if one of them will not go in, each alone."""
    try:
        with tx.begin_nested():
            how(tx, rows)
    except _OF_A_ROW as error:
        if is_fault_of_store(error):
            raise
        for row in rows:
            _alone(tx, row, how)


def _alone(tx: Connection, row: T, how: Callable[[Connection, Sequence[T]], None]) -> None:
    try:
        with tx.begin_nested():
            how(tx, [row])
    except _OF_A_ROW as error:
        if is_fault_of_store(error):
            raise
        _log.error("the store does not take a %s: %s", type(row).__name__, describe(error))
