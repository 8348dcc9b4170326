"""What the submission door keeps of a session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from relay.outbox.doubts import UnderWay
from relay.smtp import reply as replies
from relay.smtp.session import Session
from relay.submission import Notes, SubmissionDoor

if TYPE_CHECKING:
    from relay.pipeline import Pipeline
    from relay.store.answers import Answer


class Memory:
    """Keeps answers as the outbox does."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.forgotten: list[bytes] = []

    def remember_later(self, key: bytes, _answer: Answer) -> None:
        self.kept.append(key)

    def forget(self, key: bytes) -> None:
        self.forgotten.append(key)


@pytest.mark.parametrize("heard", [True, False])
def test_every_answer_of_a_client_that_does_not_wait_for_them_is_settled(*, heard: bool) -> None:
    """It sends the next message behind the dot of the first: two answers are on their way at once."""
    memory, door = Memory(), object.__new__(SubmissionDoor)
    outbox = SimpleNamespace(doubts=memory)
    door.pipeline = cast(
        "Pipeline", SimpleNamespace(forwarder=SimpleNamespace(outbox=outbox), under_way=UnderWay())
    )
    owed = {b"1": replies.DONE, b"2": replies.BUG, b"3": replies.DONE}
    session = Session("s", "submission", "192.0.2.7", notes=Notes(owed=owed))
    door.answered(session, heard=heard)
    assert (memory.forgotten if heard else memory.kept) == [b"1", b"3"]
    assert (memory.kept if heard else memory.forgotten) == []
    door.answered(session, heard=heard)
    assert len(memory.kept + memory.forgotten) == 2
