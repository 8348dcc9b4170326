from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.errors import Conflict, StoreError
from relay.store import audit
from tests.relay.store.people import NOW

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.store.engine import Store


def fill(tx: Connection, number: int = 5) -> None:
    for n in range(number):
        audit.append(
            tx, NOW + timedelta(seconds=n), "admin", "suspend", f"account {n}", "spam \0\udcff é", {"n": n}
        )


def unlock(tx: Connection) -> None:
    """Do as someone who owns the database can."""
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("DROP TRIGGER audit_no_update")
        tx.exec_driver_sql("DROP TRIGGER audit_no_delete")
    else:
        tx.exec_driver_sql("DROP TRIGGER audit_no_update ON audit")
        tx.exec_driver_sql("DROP TRIGGER audit_no_delete ON audit")


def test_entries_come_back_newest_first(store: Store) -> None:
    with store.begin() as tx:
        fill(tx)
    with store.read() as tx:
        found = audit.entries(tx, limit=2)
        assert [each.seq for each in found] == [5, 4]
        assert found[0].details == {"n": 4}
        assert found[0].at == NOW + timedelta(seconds=4)
        assert found[0].reason == "spam \ufffd\ufffd é"
        assert [each.seq for each in audit.entries(tx, before=3)] == [2, 1]
        assert [each.seq for each in audit.entries(tx, object="account 3")] == [4]
        assert audit.verify(tx) is None


@pytest.mark.parametrize(
    ("tampering", "first_bad"),
    [
        ("UPDATE audit SET reason = 'other' WHERE seq = 3", 3),
        ("UPDATE audit SET at_us = at_us + 1 WHERE seq = 1", 1),
        ("UPDATE audit SET details = '{}' WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq > 3", 4),
        ("UPDATE audit SET seq = 6 WHERE seq = 5", 5),
        ("CREATE TABLE t AS SELECT * FROM audit;UPDATE t SET seq=seq+5;INSERT INTO audit SELECT * FROM t", 6),
    ],
)  # fmt: skip
def test_tampering_shows(store: Store, tampering: str, first_bad: int) -> None:
    with store.begin() as tx:
        fill(tx)
        unlock(tx)
        for statement in tampering.split(";"):
            tx.exec_driver_sql(statement)
    with store.read() as tx:
        assert audit.verify(tx) == first_bad


@pytest.mark.parametrize("slip", ["UPDATE audit SET who = 'me' WHERE seq = 1", "DELETE FROM audit"])
def test_the_database_refuses_slips(store: Store, slip: str) -> None:
    with store.begin() as tx:
        fill(tx)
    with pytest.raises((StoreError, Conflict), match="append-only"), store.begin() as tx:
        tx.exec_driver_sql(slip)
    with store.read() as tx:
        assert audit.verify(tx) is None


def test_what_was_undone_left_no_entry(store: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), store.begin() as tx:
        fill(tx, 1)
        raise ZeroDivisionError
    with store.begin() as tx:
        assert audit.append(tx, NOW, "admin", "reinstate", "account 1") == 1
        assert audit.verify(tx) is None


def test_more_entries_than_a_page_verify(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_PAGE", 7)
    with store.begin() as tx:
        fill(tx, 30)
        assert audit.verify(tx) is None
