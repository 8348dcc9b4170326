"""The way of a message where something on it is slow or broken: nothing lost, nothing out unscreened."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from relay import clock, forwarding, ids
from relay.errors import StoreError
from relay.forwarding import Forwarder, Transaction
from relay.model import Forward, UpstreamAuth
from relay.outbox.queue import Why
from relay.pipeline import Pipeline
from relay.signing.dkim import Signer
from relay.signing.returns import Returns
from relay.signing.stamp import Stamper
from relay.smtp.content import Content
from relay.smtp.grammar import MailFrom, RcptTo
from relay.smtp.session import Session
from relay.store import outbox as rows
from relay.store.answers import Answer
from screening import ruleset
from screening.verdict import Hit, Verdict
from tests.relay.outbox.conftest import Bench, bench, keyring, migrated_file, store
from tests.relay.upstream.fake import SILENT, until

if TYPE_CHECKING:
    from pathlib import Path

    from relay.smtp.reply import Reply
    from screening.mail import Mail
    from screening.screen import Screen

__all__ = ["bench", "keyring", "migrated_file", "store"]

RAW = b"From: a@acme.example\r\nTo: b@there.example\r\nSubject: hi\r\nMessage-ID: <1@acme>\r\n\r\nbody\r\n"
TO = RcptTo("b@there.example")


@pytest.fixture
def url(migrated_file: Path, tmp_path: Path) -> str:
    shutil.copyfile(migrated_file, tmp_path / "gatepost.db")
    return "sqlite:///gatepost.db"


class FakeScreen:
    """Screening as a test wants it: it answers, hangs or breaks."""

    def __init__(self, verdict: Verdict | Exception | None) -> None:
        self.verdict = verdict
        self.ruleset = ruleset.load()
        self.seen: list[Mail] = []

    def is_instant(self, _mail: Mail) -> bool:
        return False

    async def screen(self, mail: Mail) -> Verdict:
        self.seen.append(mail)
        if self.verdict is None:
            await asyncio.Event().wait()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        assert self.verdict is not None
        return self.verdict


CLEAN = Verdict(ruleset="1")
NO_ANSWER = Verdict(unanswered=("patterns",))


class Way:
    """A pipeline on an outbox, and one client's transaction at a time."""

    def __init__(self, bench: Bench, verdict: Verdict | Exception | None) -> None:
        self.bench = bench
        self.screen = FakeScreen(verdict)
        pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        signer = Signer("relay.example", "g1", pem)
        stamper = Stamper(
            "relay.example", bench.keyring, "fbl@relay.example", "gatepost", signer, lambda _c, _d: None
        )
        self.forwarder = Forwarder(bench.outbox, bench.metrics, Returns(bench.config, bench.keyring))
        self.pipeline = Pipeline(
            bench.config, cast("Screen", self.screen), stamper, bench.store, bench.keyring, self.forwarder
        )
        bench.outbox.deliverer.rescreen = self.pipeline.rescreen

    async def say(
        self,
        *,
        gone: float = 0.0,
        raw: bytes = RAW,
        gone_client: bool = False,
        to: RcptTo = TO,
        **server: Any,
    ) -> tuple[list[Reply], Transaction]:
        """Send RAW, its dot `gone` seconds ago; return the replies to RCPT and to the dot."""
        account = replace(self.bench.account, server=replace(self.bench.account.server, **server))
        upstream = self.bench.pool.transaction(self.bench.server.route())
        now = clock.now()
        transaction = Transaction(ids.message_id(now), account, MailFrom("a@acme.example"), now, upstream)
        said = [await self.forwarder.rcpt(transaction, to)]
        transaction.recipients.append(to)
        content = Content()
        content.write(raw)
        content.whole_at = clock.monotonic() - gone
        session = Session(
            "s", "submission", "192.0.2.7", helo="laptop", tls="TLSv1.3", login="a@acme.example"
        )
        session.gone = gone_client
        said.append(await self.pipeline.receive(session, transaction, content))
        return said, transaction

    def waiting(self) -> list[rows.Row]:
        with self.bench.store.read() as tx:
            return rows.page(tx, rows.Filter())


async def test_in_queue_mode_the_server_is_not_asked_and_the_outbox_delivers(bench: Bench) -> None:
    way = Way(bench, CLEAN)
    said, _ = await way.say(forward=Forward.QUEUE)
    assert [reply.code for reply in said] == [250, 250]
    assert bench.server.messages == []
    assert [row.reason for row in way.waiting()] == [Why.QUEUE]
    async with bench.running():
        await until(lambda: bench.server.messages)
    assert bench.server.messages[0].data.endswith(RAW)
    assert bench.server.messages[0].data.startswith(b"Received: ")


@pytest.mark.parametrize("fault", [NO_ANSWER, RuntimeError("a bug")], ids=["no answer", "bug"])
async def test_re_29_what_cannot_be_screened_waits_as_it_came_and_leaves_stamped(
    bench: Bench, fault: Verdict | Exception
) -> None:
    way = Way(bench, fault)
    said, _ = await way.say()
    assert said[-1].code == 250
    (row,) = way.waiting()
    assert (row.reason, row.size) == (Why.UNSCREENED, len(RAW))
    async with bench.running():
        with bench.store.begin() as tx:
            rows.hurry(tx, [row.id])
        bench.outbox.ledger.wake.set()
        await until(lambda: way.waiting()[0].attempts == 1)
        assert (way.waiting()[0].reason, bench.server.messages) == (Why.UNSCREENED, [])
        way.screen.verdict = CLEAN
        with bench.store.begin() as tx:
            rows.hurry(tx, [row.id])
        bench.outbox.ledger.wake.set()
        await until(lambda: bench.server.messages)
    assert bench.server.messages[0].data.endswith(RAW)
    assert bench.server.messages[0].data.startswith(b"Received: by relay.example (Gatepost) with ESMTPSA")
    assert [mail.envelope.peer_ip for mail in way.screen.seen] == ["192.0.2.7"] * 3


@pytest.mark.parametrize(("score", "told"), [(50.0, b"Status: 5.7.1"), (8.0, b"being checked")])
async def test_what_was_unscreened_is_refused_or_held_when_it_turns_out_bad(
    bench: Bench, score: float, told: bytes
) -> None:
    way = Way(bench, NO_ANSWER)
    await way.say()
    way.screen.verdict = Verdict((Hit("bad", score, "words"),))
    async with bench.running():
        with bench.store.begin() as tx:
            rows.hurry(tx, [way.waiting()[0].id])
        bench.outbox.ledger.wake.set()
        await until(lambda: bench.server.messages)
    (report,) = bench.server.messages
    assert report.mail.startswith("MAIL FROM:<>")
    assert told in report.data
    assert [row.state for row in way.waiting()] == (["held"] if score < 12 else [])


async def test_without_a_way_to_deliver_later_what_cannot_be_screened_is_put_off(bench: Bench) -> None:
    way = Way(bench, NO_ANSWER)
    said, transaction = await way.say(auth=UpstreamAuth.PASSTHROUGH)
    assert [reply.code for reply in said] == [250, 451]
    await transaction.upstream.abandon()
    assert way.waiting() == []
    assert bench.server.messages == []


async def test_re_29_screening_that_hangs_does_not_hold_the_reply_up(bench: Bench) -> None:
    way = Way(bench, None)
    async with asyncio.timeout(10):
        said, _ = await way.say(gone=forwarding.SCREEN_SECONDS - 0.1)
    assert said[-1].code == 250
    assert [row.reason for row in way.waiting()] == [Why.UNSCREENED]


@pytest.mark.parametrize("auth", [UpstreamAuth.NONE, UpstreamAuth.PASSTHROUGH])
async def test_a_server_is_not_asked_when_there_is_no_time_for_its_answer(
    bench: Bench, auth: UpstreamAuth
) -> None:
    way = Way(bench, CLEAN)
    said, _ = await way.say(gone=forwarding.ANSWER_SECONDS - 1, auth=auth)
    assert said[-1].code == (250 if auth is UpstreamAuth.NONE else 451)
    assert bench.server.messages == []
    assert [row.reason for row in way.waiting()] == ([Why.QUEUE] if auth is UpstreamAuth.NONE else [])


async def test_a_slow_store_does_not_hold_the_reply_up_and_the_retry_is_the_same_message(
    bench: Bench,
) -> None:
    way = Way(bench, CLEAN)
    slow, accept = asyncio.Event(), bench.outbox.accept

    async def slowly(*given: Any, **more: Any) -> str:
        await slow.wait()
        return await accept(*given, **more)

    bench.outbox.accept = slowly  # type: ignore[method-assign]
    said, _ = await way.say(gone=forwarding.REPLY_SECONDS, forward=Forward.QUEUE)
    assert said[-1].code == 451
    slow.set()
    await until(lambda: way.waiting())
    again, _ = await way.say(forward=Forward.QUEUE)
    assert again[-1].code == 250
    assert len(way.waiting()) == 1


@pytest.mark.parametrize(("answer", "told"), [(b"250 2.0.0 ok\r\n", 250), (b"554 5.6.0 no\r\n", 554)])
async def test_a_late_answer_is_waited_for_in_every_process_and_after_a_crash(
    bench: Bench, answer: bytes, told: int
) -> None:
    release = bench.server.gate = asyncio.Event()
    bench.server.answers["DOT"] = [answer]
    way = Way(bench, CLEAN)
    said, _ = await way.say(gone=forwarding.ANSWER_SECONDS - 3.2, auth=UpstreamAuth.PASSTHROUGH)
    assert said[-1].code == 451
    # another process, or the next one: it knows what is in the store alone
    other = Way(replace(bench, outbox=type(bench.outbox)(
        bench.config, bench.store, bench.keyring, bench.pool, lambda _s: bench.server.route(), bench.metrics
    )), CLEAN)  # fmt: skip
    again, transaction = await other.say(auth=UpstreamAuth.PASSTHROUGH)
    assert again[-1].code == 451
    await transaction.upstream.abandon()
    assert len(bench.server.messages) <= 1
    release.set()
    key = transaction.answer_key

    async def known() -> int:
        found = await other.forwarder.outbox.doubts.recall(key)
        return found.code if found else 0

    for _ in range(1000):
        if await known() == told:
            break
        await asyncio.sleep(0.01)
    again, transaction = await other.say(auth=UpstreamAuth.PASSTHROUGH)
    await transaction.upstream.abandon()
    assert again[-1].code == told
    assert len(bench.server.messages) <= 1


async def test_a_store_that_is_away_takes_nothing(bench: Bench) -> None:
    way = Way(bench, CLEAN)

    async def away(*_given: Any, **_more: Any) -> str:
        raise StoreError("away")

    bench.outbox.accept = away  # type: ignore[method-assign]
    said, _ = await way.say(forward=Forward.QUEUE)
    assert said[-1].code == 451


async def test_where_screening_is_off_nobody_reads_parts_and_text(bench: Bench) -> None:
    way = Way(bench, CLEAN)
    way.pipeline.config = bench.config.model_copy(
        update={"screening": bench.config.screening.model_copy(update={"enabled": False})}
    )
    way.pipeline.conduct.config = way.pipeline.config
    said, _ = await way.say()
    assert said[-1].code == 250
    assert not {"_structure", "_texts", "folded", "fingerprint"} & way.screen.seen[0].__dict__.keys()


async def test_a_client_that_lost_its_connection_gets_the_answer_of_its_first_try(bench: Bench) -> None:
    """Its second try comes while the customer's server still thinks about the first."""
    way, bench.server.gate = Way(bench, CLEAN), asyncio.Event()
    lost = asyncio.create_task(way.say(gone_client=True))
    await until(lambda: bench.server.bodies == 1)
    again = asyncio.create_task(way.say())
    await until(lambda: "RSET" in bench.server.verbs() or bench.server.verbs().count("RCPT") == 2)
    bench.server.gate.set()
    (_, first), _ = await lost
    (_, second), _ = await again
    assert first == second
    assert first.code == 250
    assert len(bench.server.messages) == 1


async def test_two_clients_that_say_the_same_at_once_send_two_messages(bench: Bench) -> None:
    way, bench.server.gate = Way(bench, CLEAN), asyncio.Event()
    both = [asyncio.create_task(way.say()) for _ in range(2)]
    await until(lambda: bench.server.bodies == 2)
    bench.server.gate.set()
    assert [said[1].code for said, _ in await asyncio.gather(*both)] == [250, 250]
    assert len(bench.server.messages) == 2


@pytest.mark.parametrize(
    ("head", "copies"),
    [
        (b"Subject: alarm\r\n", 2),  # a machine that says the same each hour, and hangs up
        (b"Subject: alarm\r\nDate: Sun, 22 Nov 2026 09:00:00 +0000\r\n", 1),
        (b"Subject: alarm\r\nMessage-ID: <1@acme>\r\n", 1),
    ],
)
async def test_only_what_can_be_told_from_new_mail_is_taken_for_a_second_try(
    bench: Bench, head: bytes, copies: int
) -> None:
    way, raw = Way(bench, CLEAN), b"From: a@acme.example\r\n" + head + b"\r\nfire\r\n"
    for _ in range(2):
        (_, reply), transaction = await way.say(raw=raw)
        assert reply.code == 250
        if transaction.answer_key:
            bench.outbox.doubts.remember_later(transaction.answer_key, Answer(250, "kept"))
    assert len(bench.server.messages) == copies


@pytest.mark.parametrize(("offered", "notify", "told"), [
    ((), ("SUCCESS",), 1), ((), ("FAILURE",), 0), (("DSN",), ("SUCCESS",), 0),
])  # fmt: skip
async def test_news_of_success_are_ours_to_tell_where_the_server_tells_none(
    bench: Bench, offered: tuple[str, ...], notify: tuple[str, ...], told: int
) -> None:
    """RFC 3461 §5.2.2: "relayed", as for what goes through the outbox."""
    bench.server.extensions = offered
    said, _ = await Way(bench, CLEAN).say(to=RcptTo("b@there.example", notify))
    assert said[-1].code == 250
    await bench.store.write(lambda _tx: None)  # behind what nobody waits for
    with bench.store.read() as tx:
        found = rows.page(tx, rows.Filter())
    assert [row.reason for row in found] == [Why.REPORT] * told


async def test_what_was_given_back_while_the_client_was_silent_is_asked_for_again(bench: Bench) -> None:
    """Between two recipients, and before the dot; a recipient that is refused only then defers all."""
    way, account = Way(bench, CLEAN), bench.account
    upstream = bench.pool.transaction(bench.server.route())
    now = clock.now()
    transaction = Transaction(ids.message_id(now), account, MailFrom("a@acme.example"), now, upstream)
    for name in ("b", "c", "d"):
        to = RcptTo(f"{name}@there.example")
        assert (await way.forwarder.rcpt(transaction, to)).code == 250
        transaction.recipients.append(to)
        if name != "d":
            transaction.replay = True
            await upstream.abandon()
            await until(lambda: bench.pool.statistics()["servers"][bench.server.route().key]["busy"] == 0)
    assert not transaction.replay
    assert (await upstream.data([RAW])).code == 250
    assert [line[9:10] for line in bench.server.messages[0].rcpts] == ["b", "c", "d"]
    assert bench.server.violations == []


@pytest.mark.parametrize(("auth", "code"), [(UpstreamAuth.NONE, 250), (UpstreamAuth.PASSTHROUGH, 451)])
@pytest.mark.parametrize("verb", ["GREETING", "RCPT"])
async def test_a_server_that_says_nothing_does_not_cost_the_client_its_patience(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str, auth: UpstreamAuth, code: int
) -> None:
    """Before the dot too: mail clients give up at 60 s, and each step of a connection may take that long."""
    monkeypatch.setattr(forwarding, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(forwarding, "LEAST_SECONDS", 0.0)
    bench.server.answers[verb] = SILENT
    (rcpt, dot), transaction = await Way(bench, CLEAN).say(auth=auth)
    assert (rcpt.code, dot.code) == (code, code)
    assert not bench.server.messages
    assert transaction.upstream._connection is None


@pytest.mark.parametrize(("auth", "code"), [(UpstreamAuth.NONE, 250), (UpstreamAuth.PASSTHROUGH, 550)])
async def test_what_could_never_be_delivered_is_not_held(bench: Bench, auth: UpstreamAuth, code: int) -> None:
    """Without a login of ours its server takes neither the message, once released, nor a report of it."""
    said, _ = await Way(bench, Verdict((Hit("bad", 8.0, "words"),))).say(auth=auth)
    assert said[-1].code == code
    with bench.store.read() as tx:
        assert [row.state for row in rows.page(tx, rows.Filter(state="held"))] == ["held"] * (code == 250)
