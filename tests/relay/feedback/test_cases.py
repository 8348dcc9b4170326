"""CASES CF-07, 13, 14, 15 and 17 as wholes: who all complain, silence, bursts, ways back, and names."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from relay.feedback import explain
from relay.feedback.door import FeedbackDoor
from relay.feedback.intake import Intake
from relay.log import Log
from relay.metrics import Metrics
from relay.model import State
from relay.notice import Channel
from relay.smtp.content import Content
from relay.smtp.grammar import MailFrom, RcptTo
from relay.smtp.session import Session
from relay.store import audit, complaints, notices, schema
from tests.relay.feedback.scene import HUB, LADDER, LOOP, RING, STRANGER, arf

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene

EVERYBODY = (Channel.CUSTOMER, Channel.STAFF, Channel.WEBHOOK)


async def test_cf_07_fifty_subscribers_who_all_complain_are_few_of_many(scene: Scene) -> None:
    """An attacker has 50 addresses, at two providers, among the 20,000 recipients of a list."""
    sent = scene.send_many(20_000)
    assert await scene.complain(sent[:50]) == 50
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE, "0.25 % is sure to be above 0.1 %, not above 0.3 %"
    [case] = scene.cases()
    assert case.step == "complaints_warn"
    with scene.store.begin() as tx:
        notices.derive(tx, notices.recent(tx, scene.now - timedelta(hours=1)), scene.now, EVERYBODY)
        told = notices.due(tx, scene.now)
        seen = json.dumps(explain.redacted(explain.explain(tx, case.id)))
    assert {one.channel for one in told} == set(EVERYBODY), "the owner hears of it"
    for text in (seen, *(json.dumps(dict(one.notice.numbers)) + one.notice.reason for one in told)):
        assert "a.example" not in text
        assert "loop.example" not in text


async def test_cf_07_of_a_small_sender_few_complaints_at_one_provider_only_warn(scene: Scene) -> None:
    sent = [one for one in scene.send_many(60) if one.recipients[0].endswith("@a.example")]
    assert await scene.complain(sent[:4]) == 4
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE
    assert await scene.complain(sent[4:9]) == 5
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE, "nine of one reporter"


def content(raw: bytes) -> Content:
    made = Content()
    made.write(raw)
    return made


RECEIPT = b"disposition-notification"
SILENT = {
    "an automatic reply": b"From: a@b.example\r\nAuto-Submitted: auto-replied\r\nSubject: Away\r\n\r\nx\r\n",
    "our own notification": b"From: mailer-daemon@relay.example\r\nAuto-Submitted: auto-replied\r\n"
    b"Message-ID: <3b0c04j0t3m842c9.failure.0@relay.example>\r\nSubject: could not be delivered\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example\r\n\r\n"
    b"Final-Recipient: rfc822; ann@a.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--x--\r\n",
    "a read receipt": b"From: a@b.example\r\nContent-Type: multipart/report; report-type=" + RECEIPT
    + b"; boundary=x\r\n\r\n--x\r\nContent-Type: message/" + RECEIPT
    + b"\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\n\r\n--x--\r\n",
    "one that wants a receipt": b"From: a@b.example\r\nDisposition-Notification-To: victim@world.example\r\n"
    b"Return-Receipt-To: victim@world.example\r\nReply-To: victim@world.example\r\n\r\nplease\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SILENT)
async def test_cf_13_nothing_ever_goes_out_for_what_comes_in_and_loops_end(scene: Scene, name: str) -> None:
    door, session = FeedbackDoor(scene.config, scene.intake), Session("1", "feedback", "192.0.2.1")
    for _ in range(3):
        assert (await door.mail(session, MailFrom("victim@world.example"))).code == 250
        assert (await door.rcpt(session, RcptTo("victim@world.example"))).code == 550
        assert (await door.rcpt(session, RcptTo("fbl@relay.example"))).code == 250
        assert (await door.data(session, content(SILENT[name]))).code == 250
    assert await scene.sweep() == []
    await scene.store.flush()
    with scene.store.read() as tx:
        for table in (schema.outbox, schema.notice, schema.vote, schema.bounce):
            assert tx.execute(select(func.count()).select_from(table)).scalar_one() == 0, table.name
        waits = len(complaints.waiting(tx))
    assert waits == (1 if name == "one that wants a receipt" else 0), (
        "a person's mail waits once, a loop never"
    )


async def test_cf_14_a_burst_at_two_nodes_is_one_case_one_notice_each_and_one_entry(
    either_scene: Scene,
) -> None:
    scene = either_scene
    nodes = [Intake(scene.config, scene.store, RING, LADDER) for _ in range(2)]
    sent = scene.send_many(200)[:8]
    reports = [
        arf(one, LOOP if one.recipients[0].endswith("@a.example") else HUB, at=scene.now) for one in sent
    ]
    await asyncio.gather(*(node.take(one, scene.now) for one in reports for node in nodes))
    await asyncio.gather(*(node.sweep(scene.now) for node in nodes for _ in range(3)))
    assert [case.to_state for case in scene.cases()] == [State.DEACTIVATED]
    for _ in range(2):
        with scene.store.begin() as tx:
            notices.derive(tx, notices.recent(tx, scene.now - timedelta(hours=1)), scene.now, EVERYBODY)
    with scene.store.read() as tx:
        assert len(notices.due(tx, scene.now)) == len(EVERYBODY)
        assert len([one for one in audit.entries(tx) if one.who == "policy"]) == 1
    assert scene.tally().votes == 8


async def test_cf_15_what_policy_switched_off_comes_back_by_itself_and_says_so(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    await scene.sweep()
    until = scene.standing().until
    assert until is not None
    scene.now = until
    await scene.sweep()
    assert scene.standing().state is State.ACTIVE
    with scene.store.read() as tx:
        assert [one.who for one in audit.entries(tx)] == ["policy", "policy"]


POISON = ("<script>alert(1)</script>", "=cmd()", "\x1b[31mred", "+1+cmd|' /C calc'!A0")


@pytest.mark.parametrize("poison", POISON)
async def test_cf_17_what_a_report_calls_itself_is_inert_in_rows_and_log(scene: Scene, poison: str) -> None:
    page = io.StringIO()
    log = Log("info", page)
    scene.intake = Intake(scene.config, scene.store, RING, LADDER, Metrics(log))
    one = scene.send(("ann@a.example",))
    more = f"User-Agent: {poison}\r\nReported-Domain: {poison}\r\nOriginal-Rcpt-To: {poison}@a.example\r\n"
    for signer in (LOOP, STRANGER, None):
        await scene.take(arf(one, signer, kind="abuse", more=more, author=f'"{poison}" <fbl@loop.example>'))
        await scene.take(arf(one, signer, kind=poison, more=more))
    log.flush()
    text = page.getvalue()
    assert "\x1b" not in text
    assert "<script>" not in text
    assert all(json.loads(line) for line in text.splitlines())
    await scene.store.flush()
    with scene.store.read() as tx:
        kept = tx.execute(select(schema.complaint)).mappings().all()
    assert kept
    for row in kept:
        for value in (row["feedback_type"], row["reporter"], row["why"]):
            assert value.isprintable()
            assert "<" not in value
            assert not value.startswith(("=", "+", "-", "@"))
