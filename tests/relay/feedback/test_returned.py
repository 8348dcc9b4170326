"""What comes to a return path of ours: who it is about, what it counts for, and where it goes on to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from relay import clock
from relay.config import ReturnsConfig
from relay.errors import StoreError
from relay.feedback.door import FeedbackDoor
from relay.feedback.returned import MOST_EACH, MOST_MORE, Crowded, Returning
from relay.ids import message_id
from relay.model import Grade
from relay.signing.returns import Returns
from relay.smtp.content import Content
from relay.smtp.grammar import MailFrom, RcptTo
from relay.smtp.session import Session
from relay.store import accounts, complaints, journal
from tests.relay.feedback.scene import LOOP, RING, Sent, arf

if TYPE_CHECKING:
    from types import SimpleNamespace

    from relay.outbox.parcel import Parcel
    from relay.outbox.queue import Outbox
    from tests.relay.feedback.scene import Scene

RETURNS = ReturnsConfig(domain="return.example")
STRANGER, OWN = "192.0.2.9", "127.0.0.1"


class FakeOutbox:
    """Keeps parcels, the same thing once."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.reports = cast("SimpleNamespace", _Named())
        self.doubts = self
        self.broken = False

    def key(self, *said: object) -> bytes:
        return repr(said).encode()

    async def accept(self, parcel: Parcel) -> str:
        if self.broken:
            raise StoreError("the disk is full")
        if parcel.answer_key not in {one.answer_key for one in self.parcels}:
            self.parcels.append(parcel)
        return parcel.id


class _Named:
    hostname = "relay.example"


class Back:
    """A scene whose customers' mail has return paths of ours."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        scene.config = scene.config.model_copy(update={"returns": RETURNS})
        scene.intake.configure(scene.config)
        self.returns = Returns(scene.config, RING)
        self.outbox = FakeOutbox()
        scene.intake.returning = Returning(scene.store, cast("Outbox", self.outbox), self.returns)

    def send(self, *recipients: str, sender: str = "ann@acme.example", journalled: bool = True) -> str:
        """Relay one message; return its return path."""
        account, number = self.scene.account, message_id(self.scene.now)
        customer = account.customer.id
        people = b"".join(
            RING.recipient_hash(customer, one) + RING.domain_hash(customer, one.rpartition("@")[2])
            for one in recipients
        )
        row = journal.JournalRow(
            number, account.id, customer, self.scene.now, "deliver",
            recipient_count=len(recipients), recipients=people, body_hash=b"b" * 16,
            sender=self.returns.seal_sender(account, number, sender),
        )  # fmt: skip
        if journalled:
            with self.scene.store.begin() as tx:
                journal.append(tx, [row])
        return self.returns.of(account, number, sender)

    async def comes(self, to: str, raw: bytes, peer: str = STRANGER) -> Grade | None:
        said = self.returns.open(to, self.scene.now)
        assert said is not None
        return (await self.scene.intake.take_returned(raw, said, peer, self.scene.now)).grade

    @property
    def hard(self) -> int:
        return self.scene.tally().hard_bounces

    @property
    def waiting(self) -> int:
        with self.scene.store.read() as tx:
            return len(complaints.waiting(tx))


@pytest.fixture
def back(scene: Scene) -> Back:
    return Back(scene)


def dsn(*recipients: str, status: str = "5.1.1", action: str = "failed", to: str = "") -> bytes:
    groups = "".join(
        f"\r\nFinal-Recipient: rfc822; {one}\r\nAction: {action}\r\nStatus: {status}\r\n"
        for one in recipients
    )
    return (
        f"From: MAILER-DAEMON@mx.a.example\r\nTo: {to or 'someone@else.example'}\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n"
        f"--x\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n{groups}\r\n"
        "--x\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: bulk@acme.example\r\n\r\n--x--\r\n"
    ).encode()


async def test_a_bounce_of_a_message_to_one_counts_whoever_brings_it_and_goes_on_to_the_sender(
    back: Back,
) -> None:
    to, raw = back.send("bob@a.example"), dsn("bob@a.example")
    for _ in range(3):
        assert await back.comes(to, raw) is Grade.A
    assert back.hard == 1
    assert len(back.outbox.parcels) == 1, "the same thing goes on once"
    parcel = back.outbox.parcels[0]
    assert parcel.envelope.sender == "", "nothing comes back of it"
    assert [one.address for one in parcel.envelope.recipients] == ["ann@acme.example"]
    body = b"".join(parcel.pieces)
    assert body.endswith(raw)
    assert body.startswith(b"Received: by relay.example")
    assert back.waiting == 0


async def test_of_a_message_to_one_nobody_need_say_who(back: Back) -> None:
    await back.comes(back.send("bob@a.example"), dsn("postmaster@elsewhere.example"))
    assert back.hard == 1


async def test_of_a_message_to_several_only_the_customers_own_server_is_believed(back: Back) -> None:
    to = back.send("bob@a.example", "eve@a.example")
    assert await back.comes(to, dsn("bob@a.example"), STRANGER) is Grade.B, "it may be the other one's"
    assert back.hard == 0
    assert await back.comes(to, dsn("bob@a.example"), OWN) is Grade.A
    assert back.hard == 1
    assert await back.comes(to, dsn("zoe@a.example"), OWN) is Grade.A
    assert back.hard == 1, "the message did not go to her"
    assert len(back.outbox.parcels) == 2


@pytest.mark.parametrize(("status", "action"), [("5.2.2", "failed"), ("4.4.1", "delayed")])
async def test_what_is_soft_is_recorded_counts_for_nothing_and_goes_on(
    back: Back, status: str, action: str
) -> None:
    to = back.send("bob@a.example")
    await back.comes(to, dsn("bob@a.example", status=status, action=action))
    assert back.hard == 0
    said = back.returns.open(to, back.scene.now)
    assert said is not None
    with back.scene.store.read() as tx:
        assert list(complaints.bounced(tx, said.message_id).values()) == [False]
    assert len(back.outbox.parcels) == 1
    await back.comes(to, dsn("bob@a.example"))
    assert back.hard == 1, "what was late failed in the end"


async def test_a_reply_of_a_machine_goes_on_and_is_nothing_to_staff(back: Back) -> None:
    head = b"From: bob@a.example\r\nTo: ann@acme.example\r\nSubject: I am away\r\n"
    raw = head + b"Auto-Submitted: auto-replied\r\n\r\nhi\r\n"
    await back.comes(back.send("bob@a.example"), raw)
    assert [one.envelope.recipients[0].address for one in back.outbox.parcels] == ["ann@acme.example"]
    assert back.waiting == 0


async def test_a_complaint_that_went_to_a_return_path_is_judged_by_its_own_token_and_not_passed_on(
    back: Back,
) -> None:
    to = back.send("bob@a.example")
    await back.comes(to, arf(Sent("x", ("bob@a.example",), "a" * 80), LOOP))
    assert back.outbox.parcels == []
    assert back.scene.tally().grade_b == 0
    assert await back.comes(to, arf(back.scene.send(("bob@a.example",)), LOOP)) is Grade.A


async def test_what_comes_faster_than_the_journal_comes_again_and_what_nobody_knows_waits_for_staff(
    back: Back,
) -> None:
    to = back.send("bob@a.example", journalled=False)
    with pytest.raises(StoreError):
        await back.comes(to, dsn("bob@a.example"))
    back.scene.pass_time(timedelta(minutes=6))
    assert await back.comes(to, dsn("bob@a.example")) is Grade.B
    assert (back.hard, back.waiting, back.outbox.parcels) == (0, 1, [])


async def test_nothing_is_said_to_be_taken_that_is_not_on_its_way(back: Back) -> None:
    to = back.send("bob@a.example")
    back.outbox.broken = True
    with pytest.raises(StoreError):
        await back.comes(to, dsn("bob@a.example"))
    assert back.hard == 0
    back.outbox.broken = False
    await back.comes(to, dsn("bob@a.example"))
    assert (back.hard, len(back.outbox.parcels)) == (1, 1)


async def test_the_header_may_say_where_it_came_to_as_behind_another_server(back: Back) -> None:
    raw = dsn("bob@a.example", to=back.send("bob@a.example").upper())
    assert (await back.scene.take(raw)).grade is Grade.A
    assert (back.hard, len(back.outbox.parcels)) == (1, 1)


async def test_an_import_records_and_passes_nothing_on(back: Back) -> None:
    raw = dsn("bob@a.example", to=back.send("bob@a.example"))
    outcome = back.scene.intake.record(raw, back.scene.now)
    assert (outcome.grade, outcome.attributed_to) == (Grade.A, "bulk@acme.example")
    assert (back.hard, back.outbox.parcels, back.waiting) == (1, [], 0)


async def test_a_forged_return_path_is_refused_at_rcpt_so_nothing_goes_out_for_it(back: Back) -> None:
    door = FeedbackDoor(back.scene.config, back.scene.intake)
    session = Session("1", "feedback", STRANGER)
    genuine = back.send("bob@a.example")
    for address in (
        "bounce+" + "a" * 52 + "@return.example", "ann@return.example", "bounce@return.example",
        genuine.replace("return.example", "other.example"),
    ):  # fmt: skip
        assert (await door.rcpt(session, RcptTo(address))).code == 550
    assert (await door.mail(session, MailFrom(""))).code == 250
    assert back.outbox.parcels == []


async def test_the_door_forgets_an_address_with_its_transaction(back: Back) -> None:
    back.scene.now = clock.now()
    door = FeedbackDoor(back.scene.config, back.scene.intake)
    session = Session("1", "feedback", OWN)
    content = Content()
    content.write(dsn("bob@a.example", "eve@a.example"))
    first, second = back.send("bob@a.example", "eve@a.example"), back.send("bob@a.example", "eve@a.example")
    await door.mail(session, MailFrom(""))
    assert (await door.rcpt(session, RcptTo(first))).code == 250
    await door.abandon(session)
    await door.mail(session, MailFrom(""))
    assert (await door.rcpt(session, RcptTo(second))).code == 250
    assert (await door.data(session, content)).code == 250
    assert back.hard == 2, "the second message's two"
    assert (await door.data(session, content)).code == 250
    assert len(back.outbox.parcels) == 1


async def test_who_got_a_message_cannot_flood_its_sender_through_its_return_path(back: Back) -> None:
    back.scene.now = clock.now()
    door = FeedbackDoor(back.scene.config, back.scene.intake)
    session = Session("1", "feedback", STRANGER)
    flooded, other = back.send("bob@a.example"), back.send("bob@a.example")

    async def answer(to: str, number: int) -> int:
        content = Content()
        content.write(f"From: bob@a.example\r\nSubject: number {number}\r\n\r\nBuy this.\r\n".encode())
        await door.mail(session, MailFrom("bob@a.example"))
        assert (await door.rcpt(session, RcptTo(to))).code == 250
        return (await door.data(session, content)).code

    most = MOST_EACH + MOST_MORE
    assert [await answer(flooded, number) for number in range(most + 2)] == [250] * most + [450] * 2
    assert await answer(other, 0) == 250
    assert len(back.outbox.parcels) == most + 1


async def test_a_day_later_more_may_come_back(back: Back) -> None:
    to = back.send("bob@a.example")
    for number in range(MOST_EACH + MOST_MORE):
        await back.comes(to, dsn("bob@a.example", status=f"4.2.{number}", action="delayed"))
    with pytest.raises(Crowded):
        await back.comes(to, dsn("bob@a.example"))
    back.scene.now += timedelta(days=1)
    assert await back.comes(to, dsn("bob@a.example")) is Grade.A


async def test_an_account_that_is_gone_leaves_it_to_staff(back: Back) -> None:
    to = back.send("bob@a.example")
    said = back.returns.open(to, back.scene.now)
    assert said is not None
    other = replace(said, account_id=back.scene.other.id)
    outcome = await back.scene.intake.take_returned(
        dsn("bob@a.example"), other, OWN, back.scene.now + timedelta(hours=1)
    )
    assert back.outbox.parcels == []
    assert back.waiting == 1
    assert outcome.attributed_to == "other@acme.example"
    with back.scene.store.read() as tx:
        assert accounts.account_by_id(tx, back.scene.other.id).standing.reason == ""
