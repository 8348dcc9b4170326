from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from relay.clock import micros
from relay.errors import Conflict
from relay.store import journal, schema
from relay.store.journal import DAY_US, Batch, JournalRow
from tests.relay.store.people import NOW

if TYPE_CHECKING:
    from relay.store.engine import Store

A, B = b"A" * 16, b"B" * 16
TODAY = micros(NOW) // DAY_US


def row(identifier: str = "m1", **facts: Any) -> JournalRow:
    given: dict[str, Any] = {
        "account_id": 1,
        "customer_id": 2,
        "at": NOW,
        "action": "deliver",
        "recipient_count": 2,
        "recipients": b"r" * 16 + A + b"s" * 16 + B,
        **facts,
    }
    return JournalRow(identifier, **given)


def test_a_row_comes_back_as_it_was_written(store: Store) -> None:
    full = row(
        action="tag",
        outcome="queued",
        score=4.25,
        hits=[{"rule": "lottery", "score": 4.25, "evidence": "You\0 won \udcff"}],
        malformed="two \0 From",
        reply_code=250,
        reply_text="OK",
        size=2**40,
        body_hash=b"b" * 32,
        message_id_hash=b"m" * 16,
        client_network="192.0.2.0/24",
        unanswered=["clamd"],
        ruleset="abc",
        stages={"screen": 1.5},
    )
    with store.begin() as tx:
        journal.append(tx, [full])
        found = journal.message(tx, "m1")
        assert journal.message(tx, "m2") is None
    assert found == dataclasses.replace(full, malformed="two \ufffd From")


@pytest.mark.parametrize(
    ("facts", "relayed"),
    [
        ({}, 2),
        ({"action": "tag"}, 2),
        ({"action": "refuse", "outcome": "refused"}, 0),
        ({"action": "defer", "outcome": "deferred"}, 0),
        ({"outcome": "queued"}, 2),
        ({"outcome": "refused"}, 0),
        ({"outcome": "held", "action": "hold"}, 0),
    ],
)
def test_only_what_the_server_took_counts_as_relayed(
    store: Store, facts: dict[str, Any], relayed: int
) -> None:
    with store.begin() as tx:
        journal.append(tx, [row(**facts)])
        found = journal.counts(tx, 1, ["messages", "relayed"], NOW - timedelta(hours=1))
        assert found == {"messages": 1, "relayed": relayed}
        assert journal.relayed(tx, 1, TODAY, TODAY) == relayed
        assert journal.relayed(tx, 1, TODAY, TODAY, [A]) == relayed // 2
        assert journal.relayed(tx, 1, TODAY - 2, TODAY - 1) == 0


def test_counters_fall_out_of_their_window_bucket_by_bucket(store: Store) -> None:
    with store.begin() as tx:
        for minutes in (0, 10, 20, 30):
            journal.bump(tx, 1, NOW - timedelta(minutes=minutes), "refused", 10 + minutes)
        names = ["refused", "never"]
        assert journal.counts(tx, 1, names, NOW - timedelta(minutes=10)) == {"refused": 30, "never": 0}
        assert journal.counts(tx, 1, names, NOW - timedelta(hours=1))["refused"] == 100
        assert journal.counts(tx, 1, [], NOW - timedelta(hours=1)) == {"refused": 100}
        assert journal.counts(tx, 2, names, NOW - timedelta(hours=1))["refused"] == 0
        until = NOW - timedelta(minutes=15)
        assert journal.counts(tx, 1, names, NOW - timedelta(hours=1), until)["refused"] == 70


def test_networks_of_a_day_and_those_new_to_the_account(store: Store) -> None:
    day = NOW - timedelta(days=1)

    def sent(number: int, hours_ago: float, network: str, account: int = 1) -> JournalRow:
        at = NOW - timedelta(hours=hours_ago)
        return row(f"m{number}", at=at, client_network=network, account_id=account)

    with store.begin() as tx:
        journal.append(tx, [sent(1, 5, "192.0.2.0/24"), sent(2, 3, "192.0.3.0/24"), sent(3, 3, "")])
        assert journal.networks(tx, 1, day) == (2, 0, 0)  # it has no past
        journal.append(tx, [sent(4, 200, "192.0.4.0/24", account=2), sent(5, 100, "192.0.5.0/24", account=2)])
        assert journal.networks(tx, 2, day) == (0, 0, 0)
        journal.append(tx, [sent(6, 2, "192.0.4.0/24", account=2), sent(7, 1, "198.51.100.0/24", account=2)])
        journal.append(tx, [sent(8, 300, "198.51.100.0/24", account=2)])  # an old row changes nothing
        assert journal.networks(tx, 2, day) == (2, 1, 0)
        assert journal.networks(tx, 2, NOW - timedelta(days=30)) == (3, 0, 0)
        assert journal.networks(tx, 3, day) == (0, 0, 0)


def test_a_message_is_not_counted_twice(store: Store) -> None:
    with store.begin() as tx:
        journal.append(tx, [row("m1")])
        journal.append_missing(tx, [row("m1"), row("m2")])
        assert journal.counts(tx, 1, ["messages"], NOW)["messages"] == 2
    with pytest.raises(Conflict), store.begin() as tx:
        journal.append(tx, [row("m2")])


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 5), st.lists(st.sampled_from([A, B]), max_size=4)),
        max_size=20,
    )
)
def test_sums_are_those_of_the_rows_however_they_are_grouped(
    store: Store, facts: list[tuple[int, int, list[bytes]]]
) -> None:
    with store.begin() as tx:
        for table in (schema.message, schema.tally, schema.cohort):
            tx.execute(table.delete())
        rows = [
            row(
                f"m{number}",
                account_id=account,
                at=NOW - timedelta(days=day),
                recipient_count=len(domains),
                recipients=b"".join(b"r" * 16 + domain for domain in domains),
            )
            for number, (account, day, domains) in enumerate(facts)
        ]
        journal.append(tx, rows[::2])
        for each in rows[1::2]:
            journal.append(tx, [each])
        for account in (1, 2, 3):
            mine = [(day, domains) for owner, day, domains in facts if owner == account]
            since = NOW - timedelta(days=9)
            found = journal.counts(tx, account, ["messages", "relayed"], since)
            assert found == {"messages": len(mine), "relayed": sum(len(domains) for _, domains in mine)}
            for domain in (A, B):
                expected = sum(domains.count(domain) for day, domains in mine if day <= 2)
                assert journal.relayed(tx, account, TODAY - 2, TODAY, [domain]) == expected


async def test_rows_of_a_moment_share_a_commit(store: Store) -> None:
    batch = Batch(store)
    for number in range(200):
        batch.add(row(f"m{number}"))
    batch.flush()
    await store.flush()
    assert store._writer.groups <= 2
    with store.read() as tx:
        assert journal.counts(tx, 1, ["messages"], NOW)["messages"] == 200


async def test_a_row_is_committed_without_being_asked_for(store: Store) -> None:
    batch = Batch(store)
    batch.add(row())
    async with asyncio.timeout(5):
        while await store.query(lambda tx: journal.message(tx, "m1")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_row_that_will_not_go_in_costs_itself_alone(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    batch = Batch(store)
    for identifier in ("m1", "m2", "m1", "m3"):
        batch.add(row(identifier))
    batch.add(row("m4", stages={"screen": float("nan")}))
    batch.flush()
    await store.flush()
    with store.read() as tx:
        stored = set(tx.execute(select(schema.message.c.id)).scalars())
        assert stored == {"m1", "m2", "m3"}
        assert journal.counts(tx, 1, ["messages"], NOW)["messages"] == 3
    assert caplog.text.count("does not take a JournalRow") == 2
    assert store.healthy


async def test_closing_the_store_writes_what_waits(store: Store) -> None:
    batch = Batch(store)
    batch.add(row())
    counted: list[int] = []
    store.before_close(lambda: counted.append(store.waiting))
    store.close()
    assert store._writer.committed == 1
    assert counted


async def test_rows_outlast_an_outage_and_are_counted_once(store: Store) -> None:
    batch = Batch(store)
    with store.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE message RENAME TO gone")
    for number in range(5):
        batch.add(row(f"m{number}"))
    batch.flush()
    await store.flush()
    assert not store.healthy
    assert len(batch._kept) == 5
    with store.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE gone RENAME TO message")
        journal.append(tx, [row("m0")])  # as if the commit had happened after all
    async with asyncio.timeout(10):
        while not store.healthy:  # noqa: ASYNC110 - the probe runs in a thread of its own
            await asyncio.sleep(0.02)
    batch.add(row("m9"))
    batch.flush()
    await store.flush()
    with store.read() as tx:
        assert tx.execute(select(func.count()).select_from(schema.message)).scalar() == 6
        assert journal.counts(tx, 1, ["messages"], NOW)["messages"] == 6
    assert store.lost == 0


@pytest.mark.parametrize("many", [1, 3, 21, 85, 150])
def test_batches_of_any_size_are_written_whole(store: Store, many: int) -> None:
    with store.begin() as tx:
        journal.append(tx, [row(f"m{number}") for number in range(many)])
        assert tx.execute(select(func.count()).select_from(schema.message)).scalar_one() == many
        assert journal.counts(tx, 1, ["messages"], NOW - timedelta(hours=1)) == {"messages": many}
