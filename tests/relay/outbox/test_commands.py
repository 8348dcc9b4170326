from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay import clock
from relay.commands.context import Context
from relay.commands.held import held
from relay.commands.keys import keys
from relay.commands.outbox import outbox
from relay.commands.reports import audit_log
from relay.model import State
from relay.outbox import hold
from relay.outbox.parcel import FOREIGN_SENDER, Screened
from relay.outbox.queue import Recipient, WaitingEnvelope, Why
from relay.store import audit, suppression
from relay.store import outbox as rows
from relay.store.engine import Store
from relay.upstream.reply import UpstreamReply
from tests.relay.outbox.conftest import BODY, LARGE, Bench, switch, waiting
from tests.relay.upstream.fake import until


@pytest.fixture
def url() -> str:
    return "sqlite:///gatepost.db"


class Line:
    """The command line on a bench's store and keys."""

    def __init__(self, bench: Bench) -> None:
        folder = bench.config.folder
        self.path = folder / "gatepost.toml"
        self.path.write_text('hostname = "gate.example"\n[keys]\nmaster = "master.keys"\n')

    def __call__(self, group: Any, *words: str) -> Result:
        result = CliRunner().invoke(group, list(words), obj=Context(self.path), catch_exceptions=False)
        self.printed = result.stdout
        self.lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        return result


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    yield store
    store.close()


HITS = ({"rule": "lottery_win", "score": 8.0, "evidence": "You won"},)


async def test_held_mail_is_listed_shown_and_released(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.hold(bench.parcel(BODY, "b@x.example", why=Why.HELD, score=8.0, hits=HITS))
    assert line(held, "list", "--json").exit_code == 0
    assert [(item["id"], item["login"], item["rules"]) for item in line.lines] == [
        (number, "a@acme.example", ["lottery_win"])
    ]
    line(held, "show", number, "--json")
    assert line.lines[0]["recipients"][0]["address"] == "…@x.example"
    taken, ends = (datetime.fromisoformat(line.lines[0][name]) for name in ("at", "ends"))
    assert (line.lines[0]["next"], ends - taken) == (None, timedelta(days=7))
    line(held, "show", number, "--json", "--reason", "the customer asked")
    assert line.lines[0]["recipients"][0]["address"] == "b@x.example"
    assert line(held, "list", "--json", "--rule", "other").stdout == ""
    assert line(held, "list", "--json", "--score", "9").stdout == ""
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 1)
        assert b"is being checked" in bench.server.messages[0].data
        assert line(held, "release", number, "--reason", "looked fine", "--json").exit_code == 0
        assert line.lines == [{"done": [number], "skipped": []}]
        bench.outbox.ledger.wake.set()
        await until(lambda: len(bench.server.messages) == 2)
    assert bench.server.messages[1].data == BODY
    assert line(held, "release", number).exit_code == 1
    with bench.store.read() as tx:
        entry = audit.entries(tx)[0]
    assert (entry.action, entry.object, entry.reason) == ("held.release", f"message {number}", "looked fine")


async def test_content_is_shown_for_a_reason_only_and_each_look_is_audited(bench: Bench) -> None:
    line = Line(bench)
    for body in (BODY, LARGE):
        number = await bench.outbox.hold(bench.parcel(body, why=Why.HELD), tell_sender=False)
        assert line(held, "show", number, "--content").exit_code == 2
        shown = line(held, "show", number, "--content", "--reason", "ticket 7")
        assert shown.stdout_bytes == body
        with bench.store.read() as tx:
            entry = audit.entries(tx)[0]
        assert (entry.action, entry.object) == ("mail.look", f"message {number}")
        assert entry.details["customer"] == bench.account.customer.id


async def test_releasing_asks_suppression_again(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.hold(
        bench.parcel(BODY, "ok@x.example", "no@x.example", why=Why.HELD), tell_sender=False
    )
    gone = await bench.outbox.hold(bench.parcel(BODY, "no@x.example", why=Why.HELD), tell_sender=False)
    hashed = bench.keyring.recipient_hash(bench.account.customer.id, "no@x.example")
    with bench.store.begin() as tx:
        suppression.add(tx, clock.now(), bench.account.customer.id, hashed)
    line(held, "release", number, gone)
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 3)
        await until(lambda: not waiting(bench))
    sent = [message for message in bench.server.messages if message.data == BODY]
    assert [message.rcpts for message in sent] == [["RCPT TO:<ok@x.example>"]]
    assert all(b"no@x.example" in message.data for message in bench.server.messages if message not in sent)


async def test_held_mail_expires_after_a_notice_and_its_sender_is_told(bench: Bench) -> None:
    await bench.outbox.hold(bench.parcel(BODY, "b@x.example", why=Why.HELD), tell_sender=False)
    bench.later(timedelta(days=6, minutes=1))
    assert await bench.outbox.overdue.sweep()
    assert not await bench.outbox.overdue.sweep()
    assert sorted(row.state for row in waiting(bench)) == ["held", "waiting"]
    bench.later(timedelta(days=1))
    assert await bench.outbox.overdue.sweep()
    async with bench.running():
        await until(lambda: len(bench.server.messages) == 2)
    assert b"still being checked" in bench.server.messages[0].data
    assert b"not released" in bench.server.messages[1].data


async def test_whose_address_was_only_named_hears_nothing_of_held_mail(bench: Bench) -> None:
    """The sender of what is held is not the account's: at its end the account is told, no stranger."""
    hits = [{"rule": FOREIGN_SENDER, "score": 0.0, "evidence": "not theirs"}]
    await bench.outbox.hold(bench.parcel(why=Why.HELD, hits=hits), tell_sender=False)

    async def screen(*_: object) -> Screened:
        return Screened("hold", [BODY], "Looks like spam", 8.0, hits)

    bench.outbox.deliverer.rescreen = screen
    envelope = WaitingEnvelope("stranger@else.example", (Recipient("b@x.example"),), unscreened=True)
    await bench.outbox.accept(bench.parcel(envelope=envelope, why=Why.UNSCREENED))
    bench.later(timedelta(minutes=6))
    async with bench.running():
        await until(lambda: [row.state for row in waiting(bench)] == ["held", "held"])
    bench.later(timedelta(days=6, minutes=1))
    assert await bench.outbox.overdue.sweep()
    assert [row.state for row in waiting(bench)] == ["held", "held"]
    bench.later(timedelta(days=1))
    assert await bench.outbox.overdue.sweep()
    assert bench.server.messages == []
    async with bench.running():
        await until(lambda: not waiting(bench))
    assert [message.rcpts for message in bench.server.messages] == [
        ["RCPT TO:<a@acme.example> NOTIFY=NEVER"]
    ] * 2


async def test_a_compromised_queue_is_deleted_with_one_digest_and_no_reports(bench: Bench) -> None:
    line = Line(bench)
    for n in range(250):
        await bench.outbox.accept(bench.parcel(b"X: %d\r\n\r\n" % n, why=Why.LATER))
    await bench.outbox.accept(bench.parcel(LARGE, why=Why.LATER))
    assert line(outbox, "cancel").exit_code == 2
    result = line(outbox, "cancel", "--account", "a@acme.example", "--digest", "--reason", "stolen", "--json")
    assert len(line.lines[0]["done"]) == 251
    assert "200 done" in result.stderr
    assert [path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()] == []
    left = waiting(bench)
    assert {row.reason for row in left} == {Why.REPORT}
    assert len(left) == 1
    async with bench.running():
        await until(lambda: bench.server.messages)
    assert b"messages of yours were deleted" in bench.server.messages[0].data


async def test_cf_15_cancelling_with_bounce_reports_each_message(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.accept(bench.parcel(why=Why.LATER))
    assert line(outbox, "cancel", number, "--bounce").exit_code == 0
    async with bench.running():
        await until(lambda: bench.server.messages)
    assert b"Status: 5.7.1" in bench.server.messages[0].data


async def test_retry_does_not_wait_for_back_off_or_breakers(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.accept(bench.parcel(why=Why.UNREACHABLE))
    bench.outbox.deliverer.servers.failed(bench.account.server.id, clock.monotonic(), 0.5)
    async with bench.running():
        assert line(outbox, "retry", number, "--json").exit_code == 0
        await until(lambda: bench.server.messages)
    assert line(outbox, "retry", number).exit_code == 1
    assert line(outbox, "show", number).exit_code == 1


async def test_mail_that_is_on_its_way_fails_a_retry_of_it_and_not_one_of_all(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.accept(bench.parcel())
    now_us = clock.micros(clock.now())
    with bench.store.begin() as tx:
        assert rows.claim(tx, bench.account.server.id, rows.Claim("one", now_us, now_us + 60_000_000, 1))
    for words, code in (((number,), 1), (("--all",), 0)):
        assert line(outbox, "retry", *words, "--json").exit_code == code
        assert line.lines == [{"done": [], "skipped": [number]}]


async def test_poison_gets_new_lives_by_retry(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.accept(bench.parcel(why=Why.LATER))
    with bench.store.begin() as tx:
        row = rows.take_over(tx, number, "waiting")
        assert row is not None
        rows.settle(tx, row, state="poison", deaths=3)
    line(outbox, "list", "--state", "poison", "--json")
    assert [item["id"] for item in line.lines] == [number]
    line(outbox, "retry", "--all")
    async with bench.running():
        await until(lambda: bench.server.messages)


async def test_who_looked_is_shown_to_the_customer(bench: Bench) -> None:
    line = Line(bench)
    number = await bench.outbox.hold(bench.parcel(BODY, why=Why.HELD), tell_sender=False)
    line(held, "show", number)
    line(audit_log, "list", "--customer", "acme", "--json")
    assert json.loads(line.printed) == []
    line(held, "show", number, "--reason", "ticket 7")
    line(held, "show", number, "--content", "--reason", "ticket 8")
    line(audit_log, "list", "--customer", "acme", "--json")
    looks = json.loads(line.printed)
    assert [(one["object"], one["reason"]) for one in looks] == [
        (f"message {number}", "ticket 8"), (f"message {number}", "ticket 7"),
    ]  # fmt: skip


@pytest.mark.parametrize(("deed", "kind"), [("release", "ham"), ("delete", "spam")])
async def test_held_mail_teaches_the_classifier_on_request(bench: Bench, deed: str, kind: str) -> None:
    line = Line(bench)
    stamped = b"Received: by us;\r\n today\r\nX-Gatepost-Verdict: tag\r\n" + BODY
    for text in (stamped, stamped.replace(b"body", b"other words"), b"X: lost\r\n\r\n"):
        await bench.outbox.hold(bench.parcel(text, why=Why.HELD), tell_sender=False)
    done = line(held, deed, "--all", "--learn", kind, "--json")
    assert done.exit_code == 0
    assert f"learned as {kind}: 3 new" in done.stderr
    assert (bench.config.folder / "classifier.model").exists()
    assert hold.lesson(stamped) == BODY


async def test_cf_15_staff_let_mail_of_a_suspended_sender_go(bench: Bench) -> None:
    line = Line(bench)
    switch(bench, State.SUSPENDED)
    good = await bench.outbox.accept(bench.parcel(BODY))
    await bench.outbox.accept(bench.parcel(b"X: bad\r\n\r\n"))
    async with bench.running():
        await until(lambda: [row.reason for row in waiting(bench)] == [Why.STANDING] * 2)
        await until(lambda: all(row.worker == "" for row in waiting(bench)))
        line(outbox, "release", good, "--reason", "an invoice", "--json")
        assert line.lines == [{"done": [good], "skipped": []}]
        bench.outbox.ledger.wake.set()
        await until(lambda: bench.server.messages)
        await until(lambda: len(waiting(bench)) == 1)
    assert [message.data for message in bench.server.messages] == [BODY]


async def test_what_is_on_its_way_is_neither_released_nor_bounced(bench: Bench) -> None:
    line = Line(bench)
    late: asyncio.Future[UpstreamReply] = asyncio.get_running_loop().create_future()
    number = await bench.outbox.accept(bench.parcel(BODY, why=Why.IN_DOUBT), late=late)
    assert line(outbox, "release", number).exit_code == 1
    assert line(outbox, "cancel", number, "--bounce").exit_code == 1
    late.set_result(UpstreamReply(250, "2.0.0", "ok"))
    await until(lambda: not waiting(bench))


async def test_keys_are_rotated_and_listed(bench: Bench) -> None:
    line = Line(bench)
    assert line(keys, "rotate").exit_code == 0
    assert "copy the file to every node" in line.printed
    line(keys, "list", "--json")
    assert line.lines == [{"keys": [1, 2], "seals": 2}]
    assert line(keys, "list").stdout == "1  opens\n2  seals\n"
    with bench.store.read() as tx:
        assert audit.entries(tx)[0].action == "keys rotated"
