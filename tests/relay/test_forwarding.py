from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from policies.acceptance import Action
from relay import clock
from relay.answering import from_upstream
from relay.forwarding import Forwarder, Stamped
from relay.upstream.errors import Unreachable
from relay.upstream.reply import UpstreamReply

if TYPE_CHECKING:
    from relay.metrics import Metrics
    from relay.outbox.queue import Outbox
    from relay.signing.returns import Returns
    from relay.store.answers import Answer


@pytest.mark.parametrize(
    ("said", "code"),
    [(200, 250), (221, 250), (251, 250), (299, 250), (334, 451), (354, 451), (550, 550), (452, 452)],
)
def test_a_client_hears_250_or_a_no_and_nothing_between(said: int, code: int) -> None:
    assert from_upstream(UpstreamReply(said, "", "words")).code == code


class Memory:
    """Keeps answers as the outbox does."""

    def __init__(self) -> None:
        self.kept: dict[bytes, int] = {}

    async def remember(self, key: bytes, answer: Answer) -> None:
        self.kept[key] = answer.code

    async def expect(self, key: bytes) -> None:
        self.kept[key] = 451

    def dismiss(self, key: bytes) -> None:
        del self.kept[key]


@pytest.mark.parametrize(("late", "kept"), [(250, {b"k": 250}), (554, {b"k": 554}), (451, {}), (0, {})])
def test_a_late_answer_counts_for_the_retry_unless_it_is_later_itself(
    late: int, kept: dict[bytes, int]
) -> None:
    memory = Memory()
    forwarder = Forwarder(
        cast("Outbox", SimpleNamespace(doubts=memory)), cast("Metrics", None), cast("Returns", None)
    )

    async def main() -> None:
        answer: asyncio.Future[UpstreamReply] = asyncio.get_running_loop().create_future()
        message = Stamped([b""], Action.DELIVER, "", 0.0, (), "", False, b"k", clock.monotonic())  # noqa: FBT003
        await forwarder._remember_late(message, answer)
        # until it comes no second copy is offered, here or in any other process
        assert forwarder.unanswered(b"k")
        assert memory.kept == {b"k": 451}
        if late:
            answer.set_result(UpstreamReply(late, "", "words"))
        else:
            answer.set_exception(Unreachable("gone"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not forwarder.unanswered(b"k")

    asyncio.run(main())
    assert memory.kept == kept
