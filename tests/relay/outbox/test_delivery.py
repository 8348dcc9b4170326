from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from relay import clock
from relay.clock import micros
from relay.events import DeliveryTried
from relay.model import State
from relay.outbox.queue import Recipient, WaitingEnvelope, Why
from relay.store import changes, journal, paces, schema
from relay.store import outbox as rows
from relay.upstream.errors import Unreachable
from relay.upstream.reply import UpstreamReply
from tests.relay.outbox.conftest import BODY, LARGE, Bench, add_account, build, switch, waiting
from tests.relay.upstream.fake import DROP, SILENT, FakeServer, until


async def tried(bench: Bench, times: int) -> None:
    await until(lambda: sum(isinstance(event, DeliveryTried) for event in bench.metrics.events) >= times)


@pytest.mark.parametrize("body", [BODY, LARGE], ids=["row", "file"])
async def test_an_accepted_message_is_delivered_once_byte_for_byte(bench: Bench, body: bytes) -> None:
    async with bench.running():
        await bench.outbox.accept(bench.parcel(body, "b@there.example", "c@there.example"))
        await until(lambda: bench.server.messages)
        await until(lambda: not waiting(bench))
    assert [message.data for message in bench.server.messages] == [body]
    assert bench.server.messages[0].rcpts == ["RCPT TO:<b@there.example>", "RCPT TO:<c@there.example>"]
    assert [path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()] == []


async def test_large_bodies_lie_in_the_database_where_nodes_share_no_folder(
    bench: Bench, tmp_path: Path
) -> None:
    bench.outbox.all_in_rows = True
    await bench.outbox.accept(bench.parcel(LARGE))
    assert [path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()] == []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = build(bench.store, bench.keyring, elsewhere, bench.server, bench.account)
    async with other.running():
        await until(lambda: bench.server.messages)
        await until(lambda: not waiting(bench))
    await other.pool.close()
    assert bench.server.messages[0].data == LARGE


async def test_nothing_of_it_can_be_read_at_rest(bench: Bench) -> None:
    secret = b"X-Canary: 9f8e7d6c\r\n\r\n"
    await bench.outbox.accept(bench.parcel(secret + BODY, "canary-9f8e@there.example"))
    await bench.outbox.accept(bench.parcel(secret + LARGE))
    bench.store.close()
    folder = bench.config.folder
    assert not [path for path in folder.rglob("*") if path.is_file() and b"canary-9f8e" in path.read_bytes()]
    assert not [path for path in folder.rglob("*") if path.is_file() and b"9f8e7d6c" in path.read_bytes()]


async def test_each_recipient_has_its_own_end(bench: Bench) -> None:
    bench.server.answers["RCPT"] = [None, b"550 5.1.1 no such user\r\n", b"450 4.2.2 mailbox full\r\n"]
    async with bench.running():
        await bench.outbox.accept(bench.parcel(BODY, "ok@x.example", "gone@x.example", "full@x.example"))
        await until(lambda: len(bench.server.messages) == 2)
        await until(lambda: len(waiting(bench)) == 1)
        first, report = bench.server.messages
        assert first.rcpts == ["RCPT TO:<ok@x.example>"]
        assert report.mail.startswith("MAIL FROM:<>")
        assert report.rcpts == ["RCPT TO:<a@acme.example> NOTIFY=NEVER"]
        assert b"Final-Recipient: rfc822; gone@x.example\r\nAction: failed\r\nStatus: 5.1.1" in report.data
        assert b"full@x.example" not in report.data
        assert b"Subject: hi" in report.data
        assert b"body\r\n" not in report.data
        (row,) = waiting(bench)
        assert (row.recipients, row.attempts, row.worker) == (1, 1, "")
        assert row.last == "450 4.2.2 mailbox full"  # why it waits, not what became of the others
        bench.later(timedelta(minutes=6))
        bench.outbox.ledger.wake.set()
        await until(lambda: len(bench.server.messages) == 3)
        assert bench.server.messages[2].rcpts == ["RCPT TO:<full@x.example>"]
        await until(lambda: not waiting(bench))


@pytest.mark.parametrize("word", [b"552 too many recipients", b"550 5.5.3 too many recipients"])
async def test_recipients_beyond_what_a_server_takes_at_once_follow(bench: Bench, word: bytes) -> None:
    """RFC 5321 §4.5.3.1.10: a 552 that means "too many" is temporary; nobody gets a bounce."""
    bench.server.answers["RCPT"] = [None, word + b"\r\n"]
    async with bench.running():
        await bench.outbox.accept(bench.parcel(BODY, "one@x.example", "two@x.example"))
        await until(lambda: [row.recipients for row in waiting(bench)] == [1])
        await until(lambda: waiting(bench)[0].worker == "")
        bench.later(timedelta(minutes=6))
        bench.outbox.ledger.wake.set()
        await until(lambda: not waiting(bench))
    assert [message.rcpts for message in bench.server.messages] == [
        ["RCPT TO:<one@x.example>"], ["RCPT TO:<two@x.example>"],
    ]  # fmt: skip


async def test_retries_follow_the_schedule_and_end_with_a_report(bench: Bench) -> None:
    bench.server.answers["RCPT"] = b"451 4.3.0 later\r\n"
    async with bench.running():
        await bench.outbox.accept(bench.parcel())
        await tried(bench, 1)
        await until(lambda: waiting(bench)[0].attempts == 1)
        (row,) = waiting(bench)
        assert (
            timedelta(minutes=4, seconds=50)
            < timedelta(microseconds=row.next_us - row.at_us)
            < timedelta(minutes=6)
        )
        assert row.last == "451 4.3.0 later"
        bench.later(timedelta(days=6))
        bench.server.answers["RCPT"] = [b"451 4.3.0 later\r\n"]
        bench.outbox.ledger.wake.set()
        await until(lambda: bench.server.messages)
        await until(lambda: not waiting(bench))
    assert (
        b"Status: 5.3.0" in bench.server.messages[0].data or b"Status: 5.4.7" in bench.server.messages[0].data
    )


async def test_du_35_the_end_of_mail_that_nobody_is_told_of_is_logged(bench: Bench) -> None:
    people = (Recipient("b@x.example"), Recipient("c@x.example"))
    number = await bench.outbox.accept(bench.parcel(envelope=WaitingEnvelope("", people)))
    bench.later(timedelta(days=5, minutes=1))
    assert await bench.outbox.overdue.sweep()
    assert waiting(bench) == []
    (said,) = [event for event in bench.metrics.events if isinstance(event, DeliveryTried)]
    assert (said.id, said.login, said.outcome, said.failed) == (number, "a@acme.example", "failed", 2)
    assert said.answer == "5.4.7 It could not be delivered in time"


async def test_a_delay_is_told_once(bench: Bench) -> None:
    bench.server.answers["RCPT"] = [b"451 4.3.0 later\r\n"]
    async with bench.running():
        await bench.outbox.accept(bench.parcel(BODY, "slow@x.example"))
        await tried(bench, 1)
        await until(lambda: waiting(bench)[0].worker == "")
    bench.later(timedelta(hours=4, minutes=1))
    assert await bench.outbox.overdue.sweep()
    assert not await bench.outbox.overdue.sweep()
    assert [row.reason for row in waiting(bench)] == [Why.LATER, Why.REPORT]
    async with bench.running():
        await until(lambda: not waiting(bench))
    told = next(message.data for message in bench.server.messages if message.mail.startswith("MAIL FROM:<>"))
    assert b"Action: delayed" in told
    assert b"Will-Retry-Until:" in told


async def test_a_suspended_senders_mail_makes_no_notices_of_delay(bench: Bench) -> None:
    switch(bench, State.SUSPENDED)
    async with bench.running():
        await bench.outbox.accept(bench.parcel())
        await until(lambda: waiting(bench)[0].reason == Why.STANDING)
    bench.later(timedelta(hours=4, minutes=1))
    await until(lambda: waiting(bench)[0].worker == "")
    assert await bench.outbox.overdue.sweep()
    (row,) = waiting(bench)
    assert row.deadline_us - row.at_us == bench.config.outbox.lifetime // timedelta(microseconds=1)


async def test_a_body_is_not_kept_in_memory_while_its_answer_is_waited_for(bench: Bench) -> None:
    class Pieces(list[bytes]):
        """A list that says when it is gone."""

    late: asyncio.Future[UpstreamReply] = asyncio.get_running_loop().create_future()
    pieces = Pieces([LARGE])
    gone = weakref.finalize(pieces, lambda: None)
    parcel = replace(bench.parcel(why=Why.IN_DOUBT), pieces=pieces)
    await bench.outbox.accept(parcel, late=late)
    del pieces, parcel
    gc.collect()
    assert not gone.alive
    late.set_result(UpstreamReply(550, "5.7.1", "no"))
    await until(lambda: [row.reason for row in waiting(bench)] == [Why.REPORT])


async def test_du_35_a_null_sender_is_never_told_anything(bench: Bench) -> None:
    bench.server.answers["RCPT"] = [b"550 5.1.1 no\r\n"]
    async with bench.running():
        envelope = WaitingEnvelope("", (Recipient("b@there.example"),))
        await bench.outbox.accept(bench.parcel(envelope=envelope))
        await until(lambda: not waiting(bench))
    assert bench.server.messages == []


async def test_a_server_that_is_down_is_left_alone_and_others_are_not(bench: Bench) -> None:
    bench.server.answers["GREETING"] = b"421 4.3.2 down\r\n"
    for _ in range(20):
        await bench.outbox.accept(bench.parcel())
    async with bench.running():
        await tried(bench, 1)
        await until(lambda: bench.outbox.deliverer.servers.left_alone(clock.monotonic()) == 1)
        await until(lambda: not bench.outbox.deliverer._running)
    assert bench.server.connections <= 20
    assert len(waiting(bench)) == 20


async def test_du_30_an_answer_that_comes_late_settles_the_message_without_a_second_try(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    good, bad, lost = (loop.create_future() for _ in range(3))
    for late in (good, bad, lost):
        await bench.outbox.accept(bench.parcel(why=Why.IN_DOUBT), late=late)
    assert len(waiting(bench)) == 3
    async with bench.running():
        good.set_result(UpstreamReply(250, "2.0.0", "ok"))
        bad.set_result(UpstreamReply(550, "5.7.1", "spam"))
        lost.set_exception(Unreachable("gone"))
        await until(lambda: bench.server.messages)
        await until(lambda: len(waiting(bench)) == 1)
        assert [message.mail[:12] for message in bench.server.messages] == ["MAIL FROM:<>"]
        assert waiting(bench)[0].reason == Why.IN_DOUBT


async def test_du_14_the_retry_of_a_message_in_doubt_finds_the_first_one(bench: Bench) -> None:
    key = bench.outbox.doubts.key("submission", 1, "<1@acme.example>", b"h", ["b@x", "a@x"])
    same = bench.outbox.doubts.key("submission", 1, "<1@acme.example>", b"h", ["A@x", "b@x"])
    first = await bench.outbox.accept(bench.parcel(LARGE, answer_key=key))
    assert await bench.outbox.accept(bench.parcel(LARGE, answer_key=same)) == first
    assert len(waiting(bench)) == 1
    assert len([path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()]) == 1
    bench.outbox.doubts.forget(key)
    await bench.store.flush()
    assert await bench.outbox.accept(bench.parcel(LARGE, answer_key=key)) != first
    bench.later(timedelta(hours=25))
    assert await bench.outbox.doubts.recall(key) is None


async def test_a_suspended_senders_mail_waits_until_the_standing_changes(bench: Bench) -> None:
    switch(bench, State.SUSPENDED)
    async with bench.running():
        await bench.outbox.accept(bench.parcel())
        await until(lambda: waiting(bench)[0].reason == Why.STANDING)
        assert bench.server.connections == 0
        switch(bench, State.ACTIVE)
        with bench.store.read() as tx:
            bench.outbox.heard(changes.since(tx, 0))
        await until(lambda: bench.server.messages)


async def test_a_throttled_senders_mail_leaves_at_its_pace_oldest_first(bench: Bench) -> None:
    switch(bench, State.THROTTLED)
    sent = [await bench.outbox.accept(bench.parcel(b"X: %d\r\n\r\n" % n, why=Why.PACED)) for n in range(4)]
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 1)
        await until(lambda: all(row.reason == Why.TURN and row.worker == "" for row in waiting(bench)))
        left = sorted(waiting(bench), key=lambda row: row.next_us)
        assert [row.id for row in left] == sent[1:]
        spans = [timedelta(microseconds=b.next_us - a.next_us) for a, b in itertools.pairwise(left)]
        assert all(timedelta(seconds=55) < span < timedelta(seconds=65) for span in spans)
        assert bench.server.messages[0].data == b"X: 0\r\n\r\n"


async def test_several_nodes_keep_one_pace_and_a_reinstatement_ends_it(bench: Bench) -> None:
    switch(bench, State.THROTTLED)
    for n in range(4):
        await bench.outbox.accept(bench.parcel(b"X: %d\r\n\r\n" % n, why=Why.PACED))
    other = build(bench.store, bench.keyring, bench.config.folder, bench.server, bench.account)
    async with bench.running(), other.running():
        await until(lambda: {row.reason for row in waiting(bench)} == {Why.TURN})
        await until(lambda: all(row.worker == "" for row in waiting(bench)))
        assert len(bench.server.messages) == 1
        turns = sorted(row.next_us for row in waiting(bench))
        assert [(b - a) // 1_000_000 for a, b in itertools.pairwise(turns)] == [60, 60]
        with bench.store.begin() as tx:
            assert rows.hurry(tx, [row.id for row in waiting(bench)]) == 0
        switch(bench, State.ACTIVE)
        with bench.store.read() as tx:
            heard = changes.since(tx, 0)
        bench.outbox.heard(heard)
        other.outbox.heard(heard)
        await until(lambda: len(bench.server.messages) == 4)
    await other.pool.close()
    with bench.store.begin() as tx:
        now_us = micros(clock.now())
        assert paces.reserve(tx, bench.account.id, now_us, 60) == now_us


async def test_the_load_is_shown_in_the_metrics(bench: Bench) -> None:
    unscreened = WaitingEnvelope("a@acme.example", (Recipient("b@x.example"),), unscreened=True)
    await bench.outbox.accept(bench.parcel(why=Why.LATER))
    await bench.outbox.accept(bench.parcel(envelope=unscreened, why=Why.UNSCREENED))
    await bench.outbox.hold(bench.parcel(why=Why.HELD), tell_sender=False)
    bench.later(timedelta(minutes=2))

    def shown(name: str) -> float:
        lines = bench.metrics.render().decode().splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).split()[1])

    async with bench.running():
        await until(lambda: shown('gatepost_outbox_messages{state="waiting"}') == 2)
    assert shown('gatepost_outbox_messages{state="held"}') == 1
    assert shown("gatepost_outbox_unscreened_messages") == 1
    assert 115 < shown("gatepost_outbox_oldest_seconds") < 130


async def test_a_broken_connection_after_the_dot_is_tried_again_later_not_at_once(bench: Bench) -> None:
    bench.server.answers["DOT"] = [DROP]
    async with bench.running():
        await bench.outbox.accept(bench.parcel())
        await tried(bench, 1)
        await until(lambda: waiting(bench)[0].worker == "")
    (row,) = waiting(bench)
    assert (row.reason, row.attempts) == (Why.IN_DOUBT, 1)
    assert bench.outbox.deliverer.possible_duplicates == 1
    assert row.next_us > micros(clock.now() + timedelta(minutes=4))


async def test_success_is_passed_on_or_reported_as_relayed(bench: Bench) -> None:
    asked = WaitingEnvelope(
        "a@acme.example", (Recipient("b@x.example", ("SUCCESS",), "rfc822;b@x.example"),), envid="q1"
    )
    async with bench.running():
        await bench.outbox.accept(bench.parcel(envelope=asked))
        await until(lambda: not waiting(bench))
        assert bench.server.messages[0].rcpts == [
            "RCPT TO:<b@x.example> NOTIFY=SUCCESS ORCPT=rfc822;b@x.example"
        ]
        bench.server.extensions = ("PIPELINING",)
        bench.server.hang_up()
        await bench.pool.close()
        other = build(bench.store, bench.keyring, bench.config.folder, bench.server, bench.account)
    async with other.running():
        await other.outbox.accept(bench.parcel(envelope=asked))
        await until(lambda: len(bench.server.messages) == 3)
    await other.pool.close()
    assert b"Action: relayed\r\nStatus: 2.0.0" in bench.server.messages[2].data
    assert b"Original-Envelope-Id: q1" in bench.server.messages[2].data


async def test_recipients_that_the_server_does_not_know_are_counted_as_at_rcpt(bench: Bench) -> None:
    gone, full = b"550 5.1.1 no such user\r\n", b"552 5.2.2 mailbox full\r\n"
    bench.server.answers["RCPT"] = [None, gone, full]
    async with bench.running():
        await bench.outbox.accept(bench.parcel(BODY, "ok@x.example", "gone@x.example", "full@x.example"))
        await until(lambda: len(bench.server.messages) == 2)
        await bench.store.flush()
    hashed = bench.keyring.recipient_hash(bench.account.customer.id, "gone@x.example")
    hour_ago = clock.now() - timedelta(hours=1)
    with bench.store.read() as tx:
        found = tx.execute(schema.bounce.select()).mappings().all()
        counts = journal.counts(tx, bench.account.id, ("unknown_recipients", "attempts"), hour_ago)
    assert [(bytes(one["recipient_hash"]), one["permanent"]) for one in found] == [(hashed, True)]
    assert counts == {"unknown_recipients": 1, "attempts": 0}


@pytest.mark.parametrize(("body", "customers"), [(BODY, 12), (LARGE * 8, 3)], ids=["small", "large"])
async def test_servers_that_never_answer_the_dot_stop_no_other_customers_mail(
    bench: Bench, body: bytes, customers: int
) -> None:
    """Each of their messages takes ten minutes, and they have many."""
    others = [add_account(bench.store, f"customer{n}") for n in range(customers)]
    bench.server.extensions = ("PIPELINING",)
    hanging = FakeServer(extensions=("PIPELINING",), answers={"DOT": SILENT})
    async with hanging.running():
        alive = bench.account.server.id
        bench.outbox.deliverer.routes = lambda server: (
            bench.server if server.id == alive else hanging
        ).route(key=f"server {server.id}")
        for account in others:
            for _ in range(6):
                await bench.outbox.accept(replace(bench.parcel(body), account=account))
        async with bench.running():
            await until(lambda: hanging.bodies >= customers)
            await bench.outbox.accept(bench.parcel(body))
            await until(lambda: bench.server.messages)
            hanging.hang_up()
