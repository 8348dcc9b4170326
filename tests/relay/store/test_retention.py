from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from relay.config import Retention
from relay.model import Level, State
from relay.store import decisions, journal, logins, nonces, retention, schema, suppression
from relay.store.journal import JournalRow
from tests.relay.store.people import NOW

if TYPE_CHECKING:
    from relay.store.engine import Store

KEEP = Retention()


def fill(store: Store, number: int) -> None:
    with store.begin() as tx:
        rows = [
            JournalRow(
                f"m{n}", 1, 1, NOW - timedelta(days=n), "deliver",
                recipient_count=1, recipients=b"r" * 16 + n.to_bytes(16, "big"),
            )
            for n in range(number)
        ]  # fmt: skip
        journal.append(tx, rows)
        logins.record(
            tx,
            [logins.Login(1, NOW - timedelta(days=n), "192.0.2.1", "PLAIN", ok=True) for n in range(number)],
        )


async def test_what_had_its_time_is_gone_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_ROWS", 7)
    fill(store, 200)
    gone = await retention.purge_all(store, NOW, KEEP)
    with store.read() as tx:
        left = {
            table.name: tx.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (schema.message, schema.login_event, schema.tally, schema.cohort)
        }
    # a row exactly as old as it may be stays
    assert left == {"message": 91, "login_event": 31, "tally": 3 * 40, "cohort": 131}
    assert gone == 109 + 169 + 3 * 160 + 69
    assert await retention.purge_all(store, NOW, KEEP) == 0
    later = NOW + timedelta(days=400)
    await retention.purge_all(store, later, KEEP)
    with store.read() as tx:
        assert tx.execute(select(func.count()).select_from(schema.cohort)).scalar() == 0


async def test_a_clock_that_jumps_back_deletes_nothing(store: Store) -> None:
    fill(store, 20)
    assert await retention.purge_all(store, NOW - timedelta(days=1), KEEP) == 0


async def test_wishes_stay_until_they_are_cleared_and_counts_end(store: Store) -> None:
    with store.begin() as tx:
        for kind in (suppression.MANUAL, suppression.COMPLAINT, suppression.UNSUBSCRIBE):
            suppression.add(tx, NOW, 1, b"p" * 16, kind)
        suppression.note_bounce(tx, NOW, 1, b"p" * 16)
        nonces.take(tx, "loop", "n" * 16, NOW)
    assert await retention.purge_all(store, NOW + timedelta(days=400), KEEP) == 2 + 2, (
        "changes too, but the newest"
    )
    with store.read() as tx:
        assert [one.kind for one in suppression.about(tx, 1, b"p" * 16)] == [
            "complaint",
            "manual",
            "unsubscribe",
        ]


async def test_cases_that_changed_nothing_are_forgotten_and_those_of_a_change_stay(store: Store) -> None:
    with store.begin() as tx:
        for name, to_state in (
            ("warned", State.ACTIVE),
            ("appealed", State.ACTIVE),
            ("off", State.SUSPENDED),
        ):
            decisions.add(
                tx, NOW, case_id=name, level=Level.ACCOUNT, subject_id=1, step="x", reason="", until=None,
                from_state=State.ACTIVE, to_state=to_state, evidence={}, set_by=decisions.POLICY,
            )  # fmt: skip
        tx.execute(schema.appeal.insert().values(case_id="appealed", at_us=0, sealed=b""))
    await retention.purge_all(store, NOW + retention.COHORTS, KEEP)
    with store.read() as tx:
        assert len(decisions.timeline(tx, Level.ACCOUNT, 1)) == 3
    await retention.purge_all(store, NOW + retention.COHORTS + timedelta(days=1), KEEP)
    with store.read() as tx:
        assert {case.id for case in decisions.timeline(tx, Level.ACCOUNT, 1)} == {"appealed", "off"}
