from __future__ import annotations

from datetime import timedelta

import pytest

from relay import clock
from relay.events import DeliveryTried
from relay.model import Account, State
from relay.outbox import hold
from relay.outbox.ledger import HELD_NOTES
from relay.outbox.parcel import Screened
from relay.outbox.queue import Recipient, WaitingEnvelope, Why
from relay.store import outbox as rows
from tests.relay.outbox.conftest import BODY, LARGE, Bench, switch, waiting
from tests.relay.upstream.fake import until


async def tried(bench: Bench, times: int) -> None:
    await until(lambda: sum(isinstance(event, DeliveryTried) for event in bench.metrics.events) >= times)


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["row", "file"])
async def test_unscreened_mail_never_leaves_as_it_came(bench: Bench, body: bytes) -> None:
    answers = ["later", "deliver"]
    asked: list[tuple[str, bytes]] = []

    async def screen(_row: rows.Row, envelope: WaitingEnvelope, raw: bytes, account: Account) -> Screened:
        asked.append((account.login, raw))
        assert envelope.unscreened
        return Screened(answers.pop(0), [b"X-Stamped: yes\r\n", raw])

    envelope = WaitingEnvelope("a@acme.example", (Recipient("b@x.example"),), unscreened=True)
    await bench.outbox.accept(bench.parcel(body, envelope=envelope, why=Why.UNSCREENED))
    bench.later(timedelta(minutes=6))
    async with bench.running():
        await until(lambda: waiting(bench)[0].last == "screening is not to be had")
        bench.outbox.deliverer.rescreen = screen
        switch(bench, State.SUSPENDED)
        await bench.outbox.standing_changed([bench.account.id])
        bench.later(timedelta(hours=1))
        bench.outbox.ledger.wake.set()
        await until(lambda: waiting(bench)[0].reason == Why.STANDING)
        switch(bench, State.ACTIVE)
        await bench.outbox.standing_changed([bench.account.id])
        await until(lambda: len(answers) == 1)
        await until(lambda: waiting(bench)[0].worker == "")
        assert bench.server.messages == []
        bench.later(timedelta(hours=1))
        bench.outbox.ledger.wake.set()
        await until(lambda: bench.server.messages)
    assert bench.server.messages[0].data == b"X-Stamped: yes\r\n" + body
    assert asked == [("a@acme.example", body)] * 2


async def test_a_campaign_that_is_held_at_last_does_not_bury_its_sender(bench: Bench) -> None:
    async def screen(*_: object) -> Screened:
        return Screened("hold", [BODY], "Looks like spam", 8.0)

    bench.outbox.deliverer.rescreen = screen
    envelope = WaitingEnvelope("a@acme.example", (Recipient("b@x.example"),), unscreened=True)
    for _ in range(HELD_NOTES + 5):
        await bench.outbox.accept(bench.parcel(envelope=envelope, why=Why.UNSCREENED))
    bench.later(timedelta(minutes=6))
    async with bench.running():
        await until(lambda: {row.state for row in waiting(bench)} == {"held"})
    assert len(bench.server.messages) == HELD_NOTES


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["row", "file"])
async def test_unscreened_mail_may_be_held_or_refused_at_last(bench: Bench, body: bytes) -> None:
    async def screen(_row: rows.Row, envelope: WaitingEnvelope, raw: bytes, _account: Account) -> Screened:
        action = "hold" if envelope.recipients[0].address.startswith("hold") else "refuse"
        return Screened(action, [b"X-Stamped: yes\r\n", raw], "Looks like spam", 8.0, [{"rule": "r"}])

    bench.outbox.deliverer.rescreen = screen
    for name in ("hold@x.example", "refuse@x.example"):
        envelope = WaitingEnvelope("a@acme.example", (Recipient(name),), unscreened=True)
        await bench.outbox.accept(bench.parcel(body, envelope=envelope, why=Why.UNSCREENED))
    bench.later(timedelta(minutes=6))
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 2)
        await until(lambda: [row.state for row in waiting(bench)] == ["held"])
    told = sorted(message.data.split(b"\r\n")[2] for message in bench.server.messages)
    assert told == [
        b"Subject: Your message could not be delivered",
        b"Subject: Your message is being checked",
    ]
    deed = hold.Deed("staff:x", clock.now(), "fine")
    with bench.store.begin() as tx:
        hold.release(tx, deed, bench.outbox.reports, [waiting(bench)[0].id])
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 3)
    assert bench.server.messages[2].data == b"X-Stamped: yes\r\n" + body
