"""What the submission door keeps of a session."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from relay import clock
from relay.authentication import Remembered
from relay.outbox.doubts import UnderWay
from relay.smtp import reply as replies
from relay.smtp.grammar import RcptTo
from relay.smtp.session import Session
from relay.submission import Notes, SubmissionDoor

if TYPE_CHECKING:
    from relay.forwarding import Transaction
    from relay.outbox.doubts import Doubts
    from relay.pipeline import Pipeline
    from relay.smtp.reply import Reply
    from relay.store.answers import Answer


class Memory:
    """Keeps answers as the outbox does."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.forgotten: list[bytes] = []
        self.expected: list[bytes] = []

    def expect_later(self, key: bytes) -> None:
        self.expected.append(key)

    def remember_later(self, key: bytes, _answer: Answer) -> None:
        self.kept.append(key)

    def forget(self, key: bytes) -> None:
        self.forgotten.append(key)

    dismiss = forget


@pytest.mark.parametrize("heard", [True, False])
def test_every_answer_of_a_client_that_does_not_wait_for_them_is_settled(*, heard: bool) -> None:
    """It sends the next message behind the dot of the first: two answers are on their way at once."""
    memory, door = Memory(), object.__new__(SubmissionDoor)
    under_way = UnderWay(cast("Doubts", memory), lambda _key: False)
    door.pipeline = cast("Pipeline", SimpleNamespace(under_way=under_way))
    owed = {b"1": replies.DONE, b"2": replies.BUG, b"3": replies.DONE}
    session = Session("s", "submission", "192.0.2.7", notes=Notes(owed=owed))
    door.answered(session, heard=heard)
    assert (memory.forgotten if heard else memory.kept) == [b"1", b"3"]
    assert (memory.kept if heard else memory.forgotten) == []
    door.answered(session, heard=heard)
    assert len(memory.kept + memory.forgotten) == 2


def test_a_client_that_never_waits_for_an_answer_costs_no_memory() -> None:
    memory, door = Memory(), object.__new__(SubmissionDoor)
    door.pipeline = cast(
        "Pipeline", SimpleNamespace(under_way=UnderWay(cast("Doubts", memory), lambda _key: False))
    )
    session = Session("s", "submission", "192.0.2.7")
    for number in range(1000):
        door._owes(session, str(number).encode(), replies.DONE)
    assert len(session.notes.owed) == 100
    assert len(memory.forgotten) == 900


async def test_what_is_under_way_is_forgotten_however_it_ends() -> None:
    """Answered, refused, broken by a bug, cancelled, taken up by another session: nothing is left behind."""
    memory = Memory()
    under_way = UnderWay(cast("Doubts", memory), lambda _key: False)
    sessions = [Session(f"s{n}", "submission", "192.0.2.7") for n in range(4)]
    for session, reply in zip(sessions[:2], (replies.DONE, replies.BUG), strict=True):
        with under_way.begun(b"k", session) as told:
            told.set_result(reply)
    assert len(under_way) == 1  # the newest counts
    for session, reply in zip(sessions[:2], (replies.DONE, replies.BUG), strict=True):
        under_way.settled(b"k", session, reply, heard=True)
    for end in (RuntimeError, asyncio.CancelledError):
        with pytest.raises(end), under_way.begun(b"k", sessions[2]):
            raise end
    with under_way.begun(b"", sessions[3]) as told:
        told.set_result(replies.DONE)
    assert len(under_way) == 0
    assert all(session.when_gone is None for session in sessions)


@pytest.mark.parametrize(("reply", "kept"), [(replies.DONE, True), (replies.BUG, False)])
async def test_other_processes_hear_of_a_message_whose_client_has_gone(reply: Reply, *, kept: bool) -> None:
    """And of its end: a refusal is no answer to keep, and the second try may be sent."""
    memory = Memory()
    under_way = UnderWay(cast("Doubts", memory), lambda _key: False)
    session = Session("s", "submission", "192.0.2.7")
    with under_way.begun(b"k", session) as told:
        assert not memory.expected
        session.leaves()
        session.leaves()
        assert memory.expected == [b"k"]
        told.set_result(reply)
    assert await under_way.answer(b"k", clock.monotonic()) == reply
    under_way.settled(b"k", session, reply, heard=False)
    assert (memory.kept, memory.forgotten) == (([b"k"], []) if kept else ([], [b"k"]))
    assert await under_way.answer(b"k", clock.monotonic()) is None


async def test_a_password_that_its_server_no_longer_takes_is_asked_about_again() -> None:
    """It was good some minutes ago: the owner, not the provider, has to do something."""
    remembered, door = Remembered(timedelta(minutes=5)), object.__new__(SubmissionDoor)
    remembered.add("carol@acme.example", "old", 0.0)

    async def nothing(*_: object) -> None:
        return None

    async def refused(*_: object) -> Reply:
        return replies.UPSTREAM_LOGIN_REFUSED

    door.__dict__.update(
        authentication=SimpleNamespace(remembered=remembered),
        gate=SimpleNamespace(admit=nothing, take=nothing, refused=lambda _transaction: None),
        recipients=SimpleNamespace(suppressed=nothing, tried=lambda *_, **__: None),
        pipeline=SimpleNamespace(
            forwarder=SimpleNamespace(rcpt=refused), metrics=SimpleNamespace(emit=lambda _event: None)
        ),
    )
    transaction = SimpleNamespace(account=SimpleNamespace(login="carol@acme.example"), recipients=[])
    notes = Notes(password="old", transaction=cast("Transaction", transaction))
    session = Session("s", "submission", "192.0.2.7", login="carol@acme.example", notes=notes)
    assert remembered.holds("carol@acme.example", "old", 1.0)
    assert await door.rcpt(session, RcptTo("b@there.example")) is replies.PASSWORD_CHANGED
    assert not remembered.holds("carol@acme.example", "old", 1.0)
