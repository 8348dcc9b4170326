from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from relay import clock
from relay.clock import micros
from relay.outbox import deliver
from relay.outbox.attempt import Outcome
from relay.outbox.envelope import Fate, WaitingEnvelope
from relay.outbox.leases import Leases
from relay.outbox.queue import Why
from relay.outbox.schedule import Steady
from relay.store import outbox as rows
from relay.store import schema
from tests.relay.outbox.conftest import BODY, LARGE, Bench, add_account, build, waiting
from tests.relay.upstream.fake import DROP, SILENT, FakeServer, until


async def test_du_34_a_message_that_kills_its_worker_is_set_aside(bench: Bench) -> None:
    await bench.outbox.accept(bench.parcel())
    for _ in range(3):
        now_us = micros(clock.now())
        wanted = rows.Claim("dead", now_us, now_us - 1, 10, suspects=bool(waiting(bench)[0].worker))
        with bench.store.begin() as tx:
            assert len(rows.claim(tx, bench.account.server.id, wanted)) == 1
    async with bench.running():
        await bench.outbox.accept(bench.parcel(b"X: innocent\r\n\r\n"))
        await until(lambda: len(bench.server.messages) == 1)
        await until(lambda: [row.state for row in waiting(bench)] == ["poison"])
    assert bench.server.messages[0].data == b"X: innocent\r\n\r\n"


async def test_du_29_a_worker_that_lost_its_lease_writes_nothing(bench: Bench) -> None:
    await bench.outbox.accept(bench.parcel())
    now_us = micros(clock.now())
    with bench.store.begin() as tx:
        (stale,) = rows.claim(tx, bench.account.server.id, rows.Claim("one", now_us, now_us - 1, 1))
        (fresh,) = rows.claim(
            tx, bench.account.server.id, rows.Claim("two", now_us, now_us + 10**9, 1, suspects=True)
        )
        assert fresh.fence == stale.fence + 1
        assert not rows.settle(tx, stale, attempts=9)
        assert not rows.finish(tx, stale)
        assert rows.extend(tx, "one", [stale.id], now_us) == []
        assert rows.settle(tx, fresh, attempts=1)


async def test_du_29_what_another_worker_took_over_is_not_renewed_and_not_sent(bench: Bench) -> None:
    for _ in range(2):
        await bench.outbox.accept(bench.parcel())
    leases = Leases(bench.outbox.ledger)
    lost, kept = await leases.claim(bench.account.server.id, 10, urgent_only=False)
    assert kept.sealed is not None
    assert [leases.may_send(one.row) for one in (lost, kept)] == [True, True]
    with bench.store.begin() as tx:
        assert rows.take_over(tx, lost.row.id, rows.State.WAITING)
    await leases.renew()
    assert [leases.may_send(one.row) for one in (lost, kept)] == [False, True]
    with bench.store.begin() as tx:
        assert rows.finish_all(tx, [lost.row, kept.row]) == {kept.row.id}
    assert [row.id for row in waiting(bench)] == [lost.row.id]


async def test_a_worker_that_slept_through_its_leases_does_not_begin_again_what_it_has(bench: Bench) -> None:
    number = await bench.outbox.accept(bench.parcel())
    leases, other = Leases(bench.outbox.ledger), Leases(bench.outbox.ledger)
    server = bench.account.server.id
    assert len(await leases.claim(server, 10, urgent_only=False)) == 1
    bench.later(timedelta(minutes=10))
    assert await leases.claim(server, 10, urgent_only=False, suspects=True) == []
    assert [one.row.id for one in await other.claim(server, 10, urgent_only=False, suspects=True)] == [number]


async def test_what_was_leased_ahead_is_given_back_when_the_server_goes(bench: Bench) -> None:
    for n in range(40):
        await bench.outbox.accept(bench.parcel(b"X: %d\r\n\r\n" % n))
    bench.server.answers["RCPT"] = [*[None] * 12, *[DROP] * 40]
    async with bench.running():
        await until(lambda: any(row.reason == Why.UNREACHABLE for row in waiting(bench)))
        await until(lambda: all(row.worker == "" for row in waiting(bench)))
        left = waiting(bench)
        sent = {message.data for message in bench.server.messages}
    assert len(sent) == len(bench.server.messages) == 40 - len(left)
    assert sum(row.attempts for row in left) <= 6
    assert all(row.deaths == 0 for row in left)


async def test_a_stopped_outbox_gives_back_what_it_had(bench: Bench) -> None:
    bench.server.gate = asyncio.Event()
    async with bench.running():
        await bench.outbox.accept(bench.parcel())
        await until(lambda: bench.server.bodies == 1)
        asyncio.get_running_loop().call_later(0.1, bench.server.gate.set)
    assert waiting(bench) == []
    assert len(bench.server.messages) == 1


async def test_a_restart_takes_up_what_a_dead_process_had(bench: Bench) -> None:
    await bench.outbox.accept(bench.parcel(LARGE))
    now_us = micros(clock.now())
    with bench.store.begin() as tx:
        rows.claim(tx, bench.account.server.id, rows.Claim("dead", now_us, now_us + 60_000_000, 1))
    if not bench.store.sqlite:
        bench.later(timedelta(seconds=61))
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 1)
        await until(lambda: not waiting(bench))


async def test_two_outboxes_on_one_store_deliver_each_message_once(bench: Bench) -> None:
    other = build(bench.store, bench.keyring, bench.config.folder, bench.server, bench.account)
    for n in range(40):
        await bench.outbox.accept(bench.parcel(b"X: %d\r\n\r\n" % n))
    async with bench.running(), other.running():
        await until(lambda: not waiting(bench))
    await other.pool.close()
    assert sorted(message.data for message in bench.server.messages) == sorted(
        b"X: %d\r\n\r\n" % n for n in range(40)
    )


async def test_a_node_whose_clock_is_ahead_takes_nothing_from_the_others(bench: Bench) -> None:
    """Its clock says that their leases are over; it goes by that of the database which they share."""
    if bench.store.sqlite:
        pytest.skip("all of it is one machine, with one clock")
    other = build(bench.store, bench.keyring, bench.config.folder, bench.server, bench.account)
    wrong = Steady(lambda: clock.now() + timedelta(minutes=20), clock.monotonic)
    other.outbox.ledger.steady = other.outbox.deliverer.steady = wrong
    bench.server.gate = asyncio.Event()
    await bench.outbox.accept(bench.parcel())
    async with bench.running():
        await until(lambda: bench.server.bodies == 1)
        async with asyncio.TaskGroup() as tasks:
            started = await other.outbox.deliverer._round(tasks)
            bench.server.gate.set()
        await until(lambda: not waiting(bench))
    await other.pool.close()
    assert (started, len(bench.server.messages)) == (False, 1)


async def test_a_suspect_that_waits_for_its_server_keeps_no_other_suspect_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash all that was in hand is suspected; one server that hangs must not stop the rest of it."""
    monkeypatch.setattr(deliver, "SUSPECT_SECONDS", 0.05)
    other = add_account(bench.store, "hanging")
    async with FakeServer(answers={"DOT": SILENT}).running() as hanging:
        alive = bench.account.server.id
        bench.outbox.deliverer.routes = lambda server: (
            bench.server if server.id == alive else hanging
        ).route(key=f"server {server.id}")
        for _ in range(3):
            await bench.outbox.accept(replace(bench.parcel(), account=other))
        await bench.outbox.accept(bench.parcel())
        with bench.store.begin() as tx:
            tx.execute(update(schema.outbox).values(deaths=1))
        async with bench.running():
            await until(lambda: bench.server.messages)
            hanging.hang_up()


async def test_an_outcome_is_written_once_though_its_commit_is_in_doubt(bench: Bench) -> None:
    """Whose commit got no answer writes again: nothing changes, and nothing is told twice."""
    number = await bench.outbox.accept(bench.parcel())
    leases = Leases(bench.outbox.ledger)
    (leased,) = await leases.claim(bench.account.server.id, 1, urgent_only=False)
    with bench.store.begin() as tx:
        assert rows.settle(tx, leased.row, attempts=1)
        assert not rows.settle(tx, leased.row, attempts=2)
    assert [(row.id, row.attempts) for row in waiting(bench)] == [(number, 1)]


async def test_an_outcome_is_written_though_the_worker_is_stopped(bench: Bench) -> None:
    """One recipient has the message: who stops while the store is busy must not send it a second copy."""
    await bench.outbox.accept(bench.parcel(BODY, "b@there.example", "c@there.example"))
    leases, ledger = Leases(bench.outbox.ledger), bench.outbox.ledger
    (leased,) = await leases.claim(bench.account.server.id, 1, urgent_only=False)
    envelope = WaitingEnvelope.unseal(bench.keyring, leased.row.id, leased.row.envelope)
    one, other = envelope.waiting
    outcome = Outcome((one.became(Fate.DELIVERED), other.became(Fate.WAITING, "4.2.0", "450 later")))
    busy = threading.Event()
    bench.store.write_later(lambda _tx: busy.wait())
    recording = asyncio.create_task(ledger.record(leased.row, envelope, BODY, outcome))
    await asyncio.sleep(0)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    busy.set()
    await bench.store.flush()
    (row,) = waiting(bench)
    left = WaitingEnvelope.unseal(bench.keyring, row.id, row.envelope)
    assert [person.address for person in left.waiting] == ["c@there.example"]
