"""What would have happened to customers that are only observed is kept, and told by account and rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from relay.errors import NotFound
from relay.store import journal, observed
from relay.store.journal import JournalRow
from relay.store.observed import Observed, Would
from tests.relay.store.people import add_account, add_customer

if TYPE_CHECKING:
    from relay.store.engine import Store

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FACT = {"action": "wait", "reason": "3 in 1h [TP 2.1 (2026-11)]", "clause": "TP 2.1 (2026-11)"}


async def test_it_says_to_whom_by_which_rule_how_often_when_and_why(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        add_customer(tx, "other")
        first, second = add_account(tx), add_account(tx, "zoe@other.example", customer="other")
    keeps = Observed(store)
    for minutes in (0, 1, 61):
        keeps.would(first.id, "clause 2.1", FACT, NOON + timedelta(minutes=minutes))
    Observed(store).would(first.id, "clause 2.1", FACT, NOON + timedelta(minutes=2))  # another process
    await store.flush()
    with store.begin() as tx:
        rows = [
            JournalRow(
                f"{number:016d}", account.id, account.customer.id, NOON + timedelta(minutes=number),
                "deliver", recipients=b"r" * 32, recipient_count=1, hits=hits,
            )
            for number, (account, hits) in enumerate(
                [
                    (first, [{"rule": "lottery", "score": 9.0, "evidence": "won"}, said("hold: 9 points")]),
                    (first, [{"rule": "policy_4.1", "score": 0.0, "evidence": "x"}, said("refuse: foreign")]),
                    (second, [said("refuse: 13 points")]),
                    (second, [said("refuse: 14 points")]),
                    (second, [{"rule": "observed_by_nobody", "score": 1.0, "evidence": "would refuse: no"}]),
                ]
            )
        ]  # fmt: skip
        journal.append(tx, rows)
        day = timedelta(days=1)
        found = observed.report(tx, NOON - day, NOON + day)
        assert observed.report(tx, NOON - day, NOON + day, "other") == found[-1:]
        assert observed.report(tx, NOON + day, NOON + 2 * day) == []
        with pytest.raises(NotFound):
            observed.report(tx, NOON, NOON, "nobody")
    minute = timedelta(minutes=1)
    assert found == [
        Would(first.id, "clause 2.1", "wait", 2, NOON, NOON + 61 * minute, FACT["reason"]),
        Would(first.id, "screening", "hold", 1, NOON, NOON, "9 points"),
        Would(first.id, "clause 4.1", "refuse", 1, NOON + minute, NOON + minute, "foreign"),
        Would(second.id, "screening", "refuse", 2, NOON + 2 * minute, NOON + 3 * minute, "14 points"),
    ]


def said(what: str) -> dict[str, object]:
    hit = observed.hit(f"observed only, would {what}")
    assert hit is not None
    return hit


def test_a_decision_that_bites_leaves_no_such_mark() -> None:
    assert observed.hit("13 points") is None
