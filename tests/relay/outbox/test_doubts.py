from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from policies.acceptance import Action
from relay import clock, forwarding, ids
from relay.forwarding import Forwarder, Stamped, Trouble
from relay.outbox.doubts import UnderWay
from relay.outbox.parcel import Why
from relay.smtp import reply as replies
from relay.store.answers import Answer
from relay.store.engine import Store
from relay.upstream.errors import InDoubt, Unreachable
from relay.upstream.reply import UpstreamReply
from tests.relay.outbox.conftest import BODY, LARGE, Bench, build, waiting
from tests.relay.upstream.fake import until

if TYPE_CHECKING:
    from relay.forwarding import Transaction
    from relay.signing.returns import Returns
    from relay.smtp.session import Session


def transaction(bench: Bench) -> Transaction:
    people = [SimpleNamespace(recipient="b@there.example", notify=(), orcpt=None)]
    mail_from = SimpleNamespace(sender="a@acme.example", smtputf8=False, ret=None, envid=None)
    number = ids.message_id(clock.now())
    found: Any = SimpleNamespace(
        id=number, account=bench.account, mail_from=mail_from, recipients=people, may_wait=True, note=""
    )
    return cast("Transaction", found)


@pytest.mark.parametrize("late", [UpstreamReply(451, "", "later"), Unreachable("gone")], ids=["no", "never"])
async def test_a_retry_finds_what_the_store_took_after_its_client_was_told_to_come_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, late: UpstreamReply | Unreachable
) -> None:
    """The store stalls as the message in doubt is written; it waits here in the end, and goes once."""
    monkeypatch.setattr(forwarding, "LEAST_SECONDS", 0.3)
    forwarder = Forwarder(bench.outbox, bench.metrics, cast("Returns", None))
    answer: asyncio.Future[UpstreamReply] = asyncio.get_running_loop().create_future()

    async def hangs(_transaction: Transaction, _message: Stamped) -> UpstreamReply | Trouble:
        return Trouble(Why.IN_DOUBT, InDoubt("no answer yet"), answer)

    monkeypatch.setattr(forwarder, "_attempt", hangs)
    since = clock.monotonic() - forwarding.REPLY_SECONDS
    message = Stamped([BODY], Action.DELIVER, "", 0.0, (), "", False, b"key", since)  # noqa: FBT003
    busy = threading.Event()
    bench.store.write_later(lambda _tx: busy.wait())
    reply, outcome = await forwarder._send(transaction(bench), message)
    assert (reply.code, outcome) == (451, "deferred")
    assert forwarder.unanswered(b"key")
    busy.set()
    await until(lambda: waiting(bench))
    if isinstance(late, Unreachable):
        answer.set_exception(late)
    else:
        answer.set_result(late)
    await until(lambda: not forwarder.unanswered(b"key"))
    await until(lambda: waiting(bench)[0].worker == "")
    await bench.store.flush()
    (row,) = waiting(bench)
    assert await bench.outbox.doubts.recall(b"key") == Answer(250, "", row.id)


async def test_a_client_that_went_finds_what_was_taken_though_the_answer_would_have_been_no(
    bench: Bench,
) -> None:
    number = await bench.outbox.accept(bench.parcel(answer_key=b"key"))
    session = cast("Session", SimpleNamespace(gone=True, when_gone=None))
    under_way = UnderWay(bench.outbox.doubts, lambda _key: False)
    with under_way.begun(b"key", session) as told:
        told.set_result(replies.LOCAL_PROBLEM)
    under_way.settled(b"key", session, replies.LOCAL_PROBLEM, heard=False)
    await bench.store.flush()
    assert await bench.outbox.doubts.recall(b"key") == Answer(250, "", number)
    # what was only under way is forgotten with the no
    with under_way.begun(b"other", session) as told:
        told.set_result(replies.LOCAL_PROBLEM)
    under_way.settled(b"other", session, replies.LOCAL_PROBLEM, heard=False)
    await bench.store.flush()
    assert await bench.outbox.doubts.recall(b"other") is None


async def test_two_nodes_that_take_the_same_message_at_once_keep_it_once(bench: Bench) -> None:
    store = Store(bench.store.url.render_as_string(hide_password=False), bench.config.folder)
    other = build(store, bench.keyring, bench.config.folder, bench.server, bench.account)
    for n in range(20):
        key = b"key %d" % n
        taken = [one.outbox.accept(one.parcel(LARGE, answer_key=key)) for one in (bench, other)]
        first, second = await asyncio.gather(*taken)
        assert first == second
    assert len(waiting(bench)) == 20
    assert len([path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()]) == 20
    store.close()
    await other.pool.close()
