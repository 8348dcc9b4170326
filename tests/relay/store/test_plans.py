"""What is asked several times a second walks no table that grows with the mail."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from relay.clock import micros
from relay.store import changes, complaints, emergency, judging, tallies
from relay.store.engine import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ASKED: dict[str, Callable[[Connection], object]] = {
    "spam-like mail": lambda tx: judging.with_spam(tx, micros(NOW), 4.0),
    "counters": lambda tx: judging.recent_counts(tx, NOW),
    "changes": lambda tx: changes.since(tx, 7),
    "switches": lambda tx: emergency.switched_on(tx, NOW),
    "one account's spam": lambda tx: tallies._spam(tx, 1, NOW),
    "one account's votes": lambda tx: complaints.votes(tx, 1, NOW - timedelta(days=30)),
    "reports of an hour": lambda tx: complaints.unattributed_within(tx, NOW),
    "a reporter's hour": lambda tx: complaints.counted_of(tx, NOW, "isp.example"),
}
GROWING = re.compile(r"SCAN (message|tally|vote|complaint|bounce|cohort|change|correspondent|login_event)\b")


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Store:
    (tmp_path / "gatepost.db").write_bytes(migrated_file.read_bytes())
    return Store("sqlite:///gatepost.db", tmp_path)


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_all_the_time_is_found_by_an_index(database: Store, name: str) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with database.read() as tx:
            ASKED[name](tx)
            plans = [
                row[3]
                for statement, values in [one for one in asked if one[0].startswith("SELECT")]
                for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            ]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        database.close()
    assert plans
    assert [step for step in plans if GROWING.match(step)] == []
