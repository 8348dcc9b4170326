"""The judge at work: nothing that it heard of gets lost, nothing of before a reinstatement counts."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import Conflict, StoreError
from relay.feedback.judge import Judge
from relay.model import Level, State
from relay.store import appeals, breaker, changes, journal, judging, suppression, switch
from relay.store.engine import Store
from tests.relay.feedback.scene import LADDER, RING, arf
from tests.relay.feedback.test_standing import spam

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene

SOON = timedelta(seconds=2)


class Failing:
    """A store whose next writes fail."""

    def __init__(self, scene: Scene, *faults: Exception) -> None:
        self._store = scene.store
        self._faults = list(faults)

    async def query(self, work: Any) -> Any:
        return await self._store.query(work)

    async def write(self, work: Any) -> Any:
        if self._faults:
            raise self._faults.pop(0)
        return await self._store.write(work)


def guess(scene: Scene, unknown: int) -> None:
    """Write to so many who do not exist."""
    with scene.store.begin() as tx:
        journal.bump(tx, scene.account.id, scene.now, "unknown_recipients", unknown)
        journal.bump(tx, scene.account.id, scene.now, "attempts", unknown)


async def test_a_fault_of_the_store_loses_no_news(scene: Scene) -> None:
    store: Any = Failing(scene, StoreError("full"))
    judge = Judge(store, RING, LADDER)
    await judge.sweep(scene.now)
    for account in (scene.account, scene.other):
        await scene.complain(scene.send_many(200, account)[:8])
    with pytest.raises(StoreError):
        await judge.sweep(scene.now)
    assert len(await judge.sweep(scene.now)) == 2


async def test_a_warning_that_two_nodes_see_at_once_is_one_case(either_scene: Scene) -> None:
    scene = either_scene
    await scene.complain(scene.send_many(2000)[:7])
    second = Judge(scene.store, RING, LADDER)
    other = Store(scene.store.url.render_as_string(hide_password=False), scene.config.folder)
    try:
        judges = [Judge(one, RING, LADDER) for one in (scene.store, other)]
        found = await asyncio.gather(*(judge.sweep(scene.now) for judge in judges), second.sweep(scene.now))
    finally:
        other.close()
    assert sum(map(len, found)) == 1
    assert [case.step for case in scene.cases()] == ["complaints_warn"]


async def test_whom_another_writer_kept_from_being_judged_is_judged_again(scene: Scene) -> None:
    store: Any = Failing(scene, Conflict("another writer was first"))
    judge = Judge(store, RING, LADDER)
    await judge.sweep(scene.now)
    await scene.complain(scene.send_many(200)[:8])
    assert await judge.sweep(scene.now) == []
    assert len(await judge.sweep(scene.now)) == 1
    assert scene.standing().state is State.DEACTIVATED


async def test_counters_of_before_a_reinstatement_count_no_more(scene: Scene) -> None:
    await scene.sweep()
    guess(scene, 45)
    scene.pass_time(SOON)
    await scene.sweep()
    assert scene.standing().state is State.DEACTIVATED
    scene.pass_time(SOON)
    scene.reinstate()
    scene.pass_time(SOON)
    guess(scene, 1)
    await scene.sweep()
    assert scene.tally().unknown_recipients_1h == 0
    assert scene.standing().state is State.ACTIVE
    scene.pass_time(timedelta(minutes=10))
    guess(scene, 45)
    await scene.sweep()
    assert scene.standing().state is State.DEACTIVATED


async def test_messages_after_a_reinstatement_are_counted_as_exactly_as_the_spam_among_them(
    scene: Scene,
) -> None:
    scene.send_many(7)
    scene.pass_time(SOON)
    scene.reinstate()
    scene.pass_time(SOON)
    scene.send_many(100)
    spam(scene, 0, 2)
    tally = scene.tally()
    assert (tally.spam_bodies_10m, tally.messages_10m, tally.messages_1h) == (2, 102, 102)


async def test_counters_are_looked_at_though_the_clock_was_set_back(scene: Scene) -> None:
    await scene.sweep()
    scene.pass_time(-timedelta(hours=1))
    await scene.sweep()
    guess(scene, 45)
    scene.pass_time(SOON)
    await scene.sweep()
    assert scene.standing().state is State.DEACTIVATED


async def test_what_the_breaker_holds_back_of_a_paced_account_waits_for_staff_too(scene: Scene) -> None:
    await scene.sweep()
    scene.pass_time(timedelta(minutes=1))
    spam(scene, 0, 6)
    scene.pass_time(SOON)
    await scene.sweep()
    assert scene.standing().state is State.THROTTLED
    for number in range(3):
        await scene.complain(scene.send_many(200, scene.add(f"user{number}@acme.example"))[:8])
    await scene.sweep()
    scene.pass_time(SOON)
    mine = scene.send_many(400)
    await scene.complain(mine[:8])
    await scene.sweep()
    assert scene.standing().state is State.THROTTLED
    with scene.store.read() as tx:
        (case,) = breaker.held_back(tx, scene.now)
    assert (case.subject, breaker.wanted(case)[0]) == (scene.account.login, State.DEACTIVATED)
    await scene.complain(mine[8:9])
    assert await scene.sweep() == [], "said once"


async def test_a_suspension_that_staff_gave_an_end_is_over_then(scene: Scene) -> None:
    until = scene.now + timedelta(hours=6)
    with scene.store.begin() as tx:
        login = scene.account.login
        switch.set_by_staff(
            tx, scene.now, Level.ACCOUNT, login, State.SUSPENDED, reason="moving house", until=until
        )
    scene.pass_time(timedelta(hours=6) - SOON)
    assert await scene.sweep() == []
    scene.pass_time(SOON)
    assert len(await scene.sweep()) == 1
    assert (scene.standing().state, scene.standing().until) == (State.ACTIVE, None)


async def test_closed_is_for_good(scene: Scene) -> None:
    with scene.store.begin() as tx:
        login = scene.account.login
        switch.set_by_staff(tx, scene.now, Level.ACCOUNT, login, State.CLOSED, reason="has left")
    with pytest.raises(Conflict, match="for good"):
        scene.reinstate()
    assert scene.standing().state is State.CLOSED


async def test_an_appeal_against_an_old_switch_off_is_no_new_one_of_its_server(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:40])
    (case_id,) = await scene.sweep()
    assert scene.standing().state is State.SUSPENDED
    scene.pass_time(timedelta(days=3))
    with scene.store.begin() as tx:
        appeals.add(tx, scene.now, case_id, b"sealed")
        server = scene.account.server.id
        assert judging.fallen(tx, server, scene.now - timedelta(days=1)) == (0, 2)
        assert judging.fallen(tx, server, scene.now - timedelta(days=4)) == (1, 2)


async def test_everybody_whom_a_report_names_is_suppressed(scene: Scene) -> None:
    sent = scene.send(("ann@a.example", "ben@a.example", "cara@b.example"))
    await scene.take(arf(sent, named=("ann@a.example", "ben@a.example")))
    customer = scene.account.customer.id
    hashes = [RING.recipient_hash(customer, one) for one in sent.recipients]
    with scene.store.read() as tx:
        assert suppression.held(tx, scene.now, customer, hashes, listed=True).keys() == set(hashes[:2])
        before = changes.latest(tx)
    await scene.take(arf(sent, kind="not-spam", named=("ann@a.example", "ben@a.example")))
    with scene.store.read() as tx:
        assert suppression.held(tx, scene.now, customer, hashes, listed=True) == {}
        assert changes.latest(tx) > before
