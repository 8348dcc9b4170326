"""Bounces attribute and never count as complaints; only what is vouched for is believed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.feedback.intake import Intake
from relay.model import AccountClass, Level, Standing, State
from relay.store import accounts, complaints, reporters, suppression
from relay.store.journal import JournalRow
from relay.store.journal import append as journal_append
from relay.store.standing import set_standing, standing_of
from tests.relay.feedback.scene import LADDER, NOON, RING, STRANGER, arf

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene, Sent


def bounce(
    sent: Sent, *recipients: str, status: str = "5.1.1", author: str = "mailer-daemon@mx.example"
) -> bytes:
    fields = "".join(
        f"\r\nFinal-Recipient: rfc822; {one}\r\nAction: failed\r\nStatus: {status}\r\n" for one in recipients
    )
    return (
        f"From: {author}\r\nTo: bounces@relay.example\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n"
        f"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n{fields}\r\n"
        "--x\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: bulk@acme.example\r\n"
        f"CFBL-Feedback-ID: {sent.token}\r\n\r\n--x--\r\n"
    ).encode()


async def test_a_bounce_attributes_and_a_forged_one_counts_for_nothing(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    for _ in range(2):
        outcome = await scene.take(bounce(sent, "ann@a.example"))
        said = outcome.as_json()
        assert (said["kind"], said["attributed_to"], said["counted"]) == (
            "bounce",
            "bulk@acme.example",
            False,
        )
        assert said["recipients"] == ["ann@a.example"]
    assert scene.tally().hard_bounces == 0
    with scene.store.read() as tx:
        ann = RING.recipient_hash(scene.account.customer.id, "ann@a.example")
        assert complaints.bounced(tx, sent.id) == {ann: False}


async def test_a_bounce_that_staff_vouch_for_counts_once_and_suppresses_after_two_days(scene: Scene) -> None:
    customer = scene.account.customer.id
    hashed = RING.recipient_hash(customer, "ann@a.example")
    for _ in range(2):
        sent = scene.send(("ann@a.example", "bea@a.example"))
        for _ in range(3):
            await scene.take(bounce(sent, "ann@a.example", "eve@a.example"), trusted=True)
        scene.pass_time(timedelta(hours=25))
    assert scene.tally().hard_bounces == 2, "one a message, and none for whom it never went to"
    with scene.store.read() as tx:
        assert suppression.held(tx, scene.now, customer, [hashed], listed=True) == {hashed: "bounce"}


async def test_what_is_only_delayed_or_forged_does_not_keep_a_true_bounce_from_counting(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    await scene.take(
        bounce(sent, "ann@a.example", status="4.4.1").replace(b"failed", b"delayed"), trusted=True
    )
    await scene.take(bounce(sent, "ann@a.example"))
    assert scene.tally().hard_bounces == 0
    for _ in range(2):
        await scene.take(bounce(sent, "ann@a.example"), trusted=True)
    assert scene.tally().hard_bounces == 1


async def test_a_full_mailbox_is_no_hard_bounce(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    await scene.take(bounce(sent, "ann@a.example", status="5.2.2"), trusted=True)
    assert scene.tally().hard_bounces == 0


async def test_a_bounce_without_our_token_is_nobodys(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    outcome = await scene.take(bounce(sent, "ann@a.example").replace(sent.token.encode(), b"x"))
    assert outcome.attributed_to is None


@pytest.mark.parametrize(("klass", "held"), [(AccountClass.LIST, True), (AccountClass.PERSON, False)])
async def test_a_complaint_stops_bulk_and_list_mail_to_that_recipient(
    scene: Scene, klass: AccountClass, *, held: bool
) -> None:
    account = scene.add(f"{klass}@acme.example", klass)
    await scene.take(arf(scene.send(("ann@a.example",), account)))
    hashed = RING.recipient_hash(account.customer.id, "ann@a.example")
    with scene.store.read() as tx:
        assert bool(suppression.held(tx, scene.now, account.customer.id, [hashed], listed=True)) is held


async def test_an_opt_out_suppresses_and_is_no_complaint(scene: Scene) -> None:
    outcome = await scene.take(arf(scene.send(("ann@a.example",)), kind="opt-out"))
    assert not outcome.counted
    assert "unsubscribe" in outcome.why
    customer = scene.account.customer.id
    hashed = RING.recipient_hash(customer, "ann@a.example")
    with scene.store.read() as tx:
        assert suppression.held(tx, scene.now, customer, [hashed], listed=True) == {hashed: "unsubscribe"}


# -- the rest of the judge and the intake ------------------------------------------------------------


async def test_a_compromise_blocks_the_credential_and_slows_what_waits(scene: Scene) -> None:
    await scene.sweep()

    def rows(network: str, start: int, score: float) -> list[JournalRow]:
        return [
            JournalRow(
                f"{start + number:016d}", scene.account.id, scene.account.customer.id, scene.now, "tag",
                score=score, recipient_count=1, recipients=bytes(32), body_hash=bytes([start + number]) * 16,
                client_network=network,
            )
            for number in range(6)
        ]  # fmt: skip

    with scene.store.begin() as tx:
        journal_append(tx, rows("192.0.2.0/24", 0, 0.0))
    scene.pass_time(timedelta(days=8))
    await scene.sweep()
    with scene.store.begin() as tx:
        journal_append(tx, rows("198.51.100.0/24", 50, 6.0))
    scene.pass_time(timedelta(seconds=2))
    assert len(await scene.sweep()) == 1
    with scene.store.read() as tx:
        account = accounts.account_by_id(tx, scene.account.id)
    assert account.standing.state is State.THROTTLED
    assert [one.blocked for one in account.credentials] == [True]
    assert scene.cases()[0].step == "compromise"


@pytest.mark.parametrize("level", [Level.SERVER, Level.CUSTOMER])
async def test_timed_standings_of_servers_and_customers_end_too(scene: Scene, level: Level) -> None:
    subject = scene.account.server.id if level is Level.SERVER else scene.account.customer.id
    until = scene.now + timedelta(hours=2)
    with scene.store.begin() as tx:
        off = Standing(State.DEACTIVATED, scene.now, until, "staff", "aaaa-bbbb")
        set_standing(tx, scene.now, level, subject, off, expected_version=None)
    assert await scene.sweep() == []
    scene.pass_time(timedelta(hours=2))
    assert len(await scene.sweep()) == 1
    with scene.store.read() as tx:
        assert standing_of(tx, level, subject).state is State.ACTIVE


async def test_an_import_never_decides_and_a_reload_changes_the_ladder(scene: Scene) -> None:
    await scene.complain(scene.send_many(200)[:8])
    importing = Intake.for_import(scene.config, scene.store, RING)
    assert importing.ladder is None
    assert await importing.sweep(scene.now) == []
    importing.ladder = LADDER
    assert len(await importing.sweep(scene.now)) == 1


async def test_a_large_report_is_read_too(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    raw = arf(sent, more="X-Filling: " + "x" * 500 + "\r\n")
    assert (await scene.take(arf(sent, change=lambda text: text.replace("Buy", "Buy\r\n" * 5000)))).counted
    assert not (await scene.take(raw)).counted


def test_an_import_asks_dns_and_goes_on_without_an_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.feedback.intake._ask", lambda _: [STRANGER.dns_record()[1]])
    with scene.store.begin() as tx:
        reporters.add(tx, NOON, "stranger.example", covers=("a.example",))
    sent = scene.send_all([("ann@a.example",)] * 2)
    assert str(scene.intake.record(arf(sent[0], STRANGER), scene.now).grade) == "A"
    monkeypatch.setattr("relay.feedback.intake._ask", lambda _: [])
    assert str(scene.intake.record(arf(sent[1], STRANGER), scene.now).grade) == "B"


async def test_a_complaint_that_is_taken_back_suppresses_no_longer(scene: Scene) -> None:
    sent = scene.send(("ann@a.example",))
    hashed = RING.recipient_hash(scene.account.customer.id, "ann@a.example")

    def kinds() -> list[str]:
        with scene.store.read() as tx:
            return [one.kind for one in suppression.about(tx, scene.account.customer.id, hashed)]

    await scene.take(arf(sent))
    assert kinds() == ["complaint"]
    await scene.take(arf(sent, kind="not-spam"))
    assert kinds() == []
    await scene.take(arf(sent))
    assert kinds() == []
