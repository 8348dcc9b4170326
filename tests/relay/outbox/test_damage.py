from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from relay import clock
from relay.errors import StoreError
from relay.events import BugFound, DeliveryTried
from relay.keyring import Keyring
from relay.outbox import envelope, hold, overdue
from relay.outbox.queue import Why
from relay.outbox.spool import BodyLost
from relay.store import schema
from tests.relay.outbox.conftest import BODY, LARGE, Bench, add_account, build, waiting
from tests.relay.upstream.fake import until


async def tried(bench: Bench, times: int) -> None:
    await until(lambda: sum(isinstance(event, DeliveryTried) for event in bench.metrics.events) >= times)


async def test_a_lost_body_is_set_aside_and_said(bench: Bench) -> None:
    number = await bench.outbox.accept(bench.parcel(LARGE))
    bench.outbox.spool.remove(number)
    async with bench.running():
        await until(lambda: waiting(bench)[0].state == "poison")
    with pytest.raises(BodyLost):
        bench.outbox.spool.load(number)


def said(bench: Bench) -> set[str]:
    return {event.where for event in bench.metrics.events if isinstance(event, BugFound)}


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["row", "file"])
async def test_what_a_key_sealed_that_is_not_here_yet_waits_for_it(bench: Bench, body: bytes) -> None:
    """A node that has rotated its keys before this one: nothing is set aside, and nothing is lost."""
    path = bench.config.folder / "master.keys"
    ahead = build(bench.store, Keyring.load(path), bench.config.folder, bench.server, bench.account)
    ahead.keyring.rotate(path)
    await ahead.outbox.accept(ahead.parcel(body))
    async with bench.running():
        await until(lambda: waiting(bench)[0].last.endswith("master key that is not here"))
        await until(lambda: waiting(bench)[0].worker == "")
        bench.keyring.renew(path)
        bench.later(timedelta(minutes=6))
        bench.outbox.ledger.wake.set()
        await until(lambda: bench.server.messages)
        await until(lambda: not waiting(bench))
    assert [message.data for message in bench.server.messages] == [body]
    await ahead.pool.close()


async def test_a_damaged_row_is_set_aside_and_stops_nobody_else(bench: Bench) -> None:
    """Waiting or held, at an attempt, in the sweep and at a deed of staff's."""
    bad = [await bench.outbox.hold(bench.parcel(why=Why.HELD), tell_sender=False) for _ in range(2)]
    bad.append(await bench.outbox.accept(bench.parcel()))
    good = await bench.outbox.hold(bench.parcel(b"X: good\r\n\r\n", why=Why.HELD), tell_sender=False)
    with bench.store.begin() as tx:
        for number in bad:
            tx.execute(
                update(schema.outbox).where(schema.outbox.c.id == number).values(envelope=b"\1damaged")
            )
        deed = hold.Deed("staff:x", clock.now(), "fine")
        done = hold.release(tx, deed, bench.outbox.reports, [bad[0], good])
        assert (done.ids, done.skipped) == ([good], [bad[0]])
        done = hold.bounce(tx, deed, bench.outbox.reports, [bad[1]])
        assert (done.ids, done.skipped) == ([], [bad[1]])
    async with bench.running():
        await until(lambda: [message.data for message in bench.server.messages] == [b"X: good\r\n\r\n"])
        await until(lambda: {row.id: row.state for row in waiting(bench)}[bad[2]] == "poison")
    bench.later(timedelta(days=6, minutes=1))
    assert await bench.outbox.overdue.sweep()
    assert {row.id: row.state for row in waiting(bench)} == dict.fromkeys(bad, "poison")
    with bench.store.begin() as tx:
        assert hold.delete(tx, deed, bad).ids == bad


async def test_a_row_that_cannot_be_read_stops_nobody_else(bench: Bench) -> None:
    """Neither the delivery of other servers' mail nor the process: it is a bug, and is said."""
    if not bench.store.sqlite:
        pytest.skip("PostgreSQL takes no such value")
    other = add_account(bench.store, "other")
    bad = await bench.outbox.accept(bench.parcel())
    with bench.store.begin() as tx:
        tx.execute(text("UPDATE outbox SET hits = 'no JSON', deadline_us = 0"))
    good = bench.parcel(b"X: good\r\n\r\n")
    async with bench.running():
        await bench.outbox.accept(replace(good, account=other))
        await until(lambda: [message.data for message in bench.server.messages] == [b"X: good\r\n\r\n"])
        await until(lambda: {"outbox", "outbox sweep"} == said(bench))
    with bench.store.read() as tx:
        assert tx.execute(text("SELECT id FROM outbox")).scalars().all() == [bad]


async def test_a_store_that_is_away_is_no_bug_of_the_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[int] = []

    async def away() -> bool:
        swept.append(1)
        raise StoreError("the store is away")

    monkeypatch.setattr(overdue, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(bench.outbox.overdue, "sweep", away)
    sweeping = asyncio.create_task(bench.outbox.overdue.run())
    await until(lambda: len(swept) > 1)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    assert said(bench) == set()


async def test_what_cannot_be_looked_at_for_now_stops_no_notices(bench: Bench) -> None:
    """Its key is not here yet: it is looked at again, and what came after it is told of."""
    path = bench.config.folder / "master.keys"
    ahead = build(bench.store, Keyring.load(path), bench.config.folder, bench.server, bench.account)
    ahead.keyring.rotate(path)
    await ahead.outbox.hold(ahead.parcel(why=Why.HELD), tell_sender=False)
    await bench.outbox.hold(bench.parcel(why=Why.HELD), tell_sender=False)
    bench.later(timedelta(days=6, minutes=1))
    assert await bench.outbox.overdue.sweep()
    assert [row.reason for row in waiting(bench)] == [Why.HELD, Why.HELD, Why.REPORT]
    assert not await bench.outbox.overdue.sweep()
    bench.keyring.renew(path)
    bench.later(timedelta(hours=2))
    assert await bench.outbox.overdue.sweep()
    assert sum(row.reason == Why.REPORT for row in waiting(bench)) == 2
    await ahead.pool.close()


async def test_a_failing_disk_takes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(StoreError):
        await bench.outbox.accept(bench.parcel(LARGE))
    monkeypatch.undo()
    assert not bench.outbox.healthy
    with pytest.raises(StoreError):
        await bench.outbox.accept(bench.parcel())
    assert waiting(bench) == []
    assert [path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()] == []


async def test_a_bug_with_one_message_stops_no_notices(bench: Bench) -> None:
    """An envelope of a newer version, say, after a step back: delivery goes on, and the message stays."""
    strange = await bench.outbox.hold(bench.parcel(why=Why.HELD), tell_sender=False)
    sealed = bench.keyring.seal(envelope.PURPOSE, b'{"recipients": [], "of tomorrow": 1}', strange.encode())
    with bench.store.begin() as tx:
        tx.execute(
            update(schema.outbox).where(schema.outbox.c.id == strange).values(envelope=sealed, deadline_us=1)
        )
    assert await bench.outbox.overdue.sweep()
    (row,) = waiting(bench)
    assert (row.id, row.worker, row.last) == (strange, "", "a bug; see the log")
    assert not await bench.outbox.overdue.sweep()
