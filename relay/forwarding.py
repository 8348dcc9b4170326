"""The customer's server asked on behalf of one transaction, and the outbox where it cannot answer now."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from policies.acceptance import Action
from relay import clock
from relay.answering import from_error, from_upstream
from relay.errors import ConfigError, Deferred, Failed, StoreError
from relay.events import UpstreamFailed
from relay.model import Forward
from relay.outbox.envelope import Recipient, WaitingEnvelope
from relay.outbox.parcel import Parcel, Why
from relay.smtp import reply as replies
from relay.store.answers import Answer
from relay.upstream.errors import InDoubt, Unreachable
from relay.upstream.reply import UpstreamReply

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import datetime

    from relay.metrics import Metrics
    from relay.model import Account
    from relay.outbox.queue import Outbox
    from relay.signing.returns import Returns
    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply
    from relay.upstream.transaction import Transaction as Upstream

T = TypeVar("T")

#: Mail clients give up at 60 s. Counted from the client's dot: when screening is over, when the customer's
#: server's answer is "in doubt", and when the client has our reply, whatever the store does.
SCREEN_SECONDS = 35.0
ANSWER_SECONDS = 40.0
REPLY_SECONDS = 44.0
#: With less time left the server is not asked at all: better late than in doubt.
LEAST_SECONDS = 3.0
#: Our own headers make a message larger than the client declared.
ADDED_BYTES = 8192


@dataclass(slots=True)
class Transaction:
    """One message on its way: what the client said so far, and the open transaction upstream."""

    id: str
    account: Account
    mail_from: MailFrom
    received_at: datetime
    upstream: Upstream
    recipients: list[RcptTo] = field(default_factory=list)
    #: upstream was given back (slow upload) and is asked again at the dot
    replay: bool = False
    #: why the message goes to the outbox instead of to the server; None while the server answers
    waits: Why | None = None
    #: more words about it for staff
    note: str = ""
    #: the message is out, or waits: `upstream` ends by itself
    handed_over: bool = False
    #: keyed hash by which a client's retry of the same message is known
    answer_key: bytes = b""
    #: what was taken of the sender's limits (relay.gate.Taken), given back unless the message is relayed
    taken: Any = None
    relayed: bool = False

    @property
    def may_wait(self) -> bool:
        """Return whether it can be delivered later: not with a password that dies with the session."""
        return self.account.server.takes_later


@dataclass(frozen=True, slots=True)
class Stamped:
    """A message as it goes out, and what screening said of it."""

    pieces: Sequence[bytes]
    action: Action
    reason: str
    score: float
    hits: Sequence[dict[str, Any]]
    campaign: str
    eight_bit: bool
    answer_key: bytes
    #: monotonic moment of the client's dot
    since: float
    #: all pieces but the first are lines as they came, whole, none of them with a dot in front
    undotted: bool = False
    #: the sender may be told of it: otherwise it may be an innocent third party's address
    own_sender: bool = True
    #: of what could not be screened, as it came in: address, HELO and TLS of the client
    client: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the server gave no final answer; `late` may still bring one."""

    why: Why
    error: Exception
    late: asyncio.Future[UpstreamReply] | None = None


class Forwarder:
    """Hands messages to customers' servers, or to the outbox; one for a process."""

    def __init__(self, outbox: Outbox, metrics: Metrics, returns: Returns) -> None:
        self.outbox = outbox
        self.returns = returns
        self.metrics = metrics
        self._late: set[asyncio.Task[Any]] = set()
        self._unanswered: set[bytes] = set()

    def unanswered(self, key: bytes) -> bool:
        """Return whether the answer to an earlier try of this message, told 451, may still come."""
        return key in self._unanswered

    async def rcpt(self, transaction: Transaction, to: RcptTo) -> Reply:
        """Ask the server about a recipient; take it ourselves when the message goes to the outbox anyway."""
        if transaction.waits is None and transaction.account.server.forward is Forward.QUEUE:
            transaction.waits = Why.QUEUE
        if transaction.waits is None:
            try:
                answer = await self._asked(transaction, to)
            except (Deferred, Failed, ConfigError) as error:
                self._failed(transaction, error)
                if not isinstance(error, Deferred) or not transaction.may_wait:
                    return from_error(error)
                transaction.waits, transaction.note = Why.UNREACHABLE, str(error)
            else:
                if not answer.temporary or not transaction.may_wait:
                    return from_upstream(answer)
                # mail clients show a 4xx as a failure and do not try again: we do, for all recipients alike
                await transaction.upstream.abandon()
                transaction.waits, transaction.note = Why.LATER, f"{answer.code} {answer.text}"
        declared = transaction.mail_from.size or 0
        return replies.RECIPIENT_OK if self.outbox.room_for(declared) else replies.DISK_FULL

    async def _asked(self, transaction: Transaction, to: RcptTo) -> UpstreamReply:
        """Ask for as long as the client listens; what comes later must not count for what it was told."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._ask(transaction, to)
        except TimeoutError:
            transaction.replay = True
            await transaction.upstream.abandon()
            raise Unreachable("no answer in time", "4.4.2") from None

    async def _ask(self, transaction: Transaction, to: RcptTo) -> UpstreamReply:
        if transaction.replay:
            await self._again(transaction)
        if transaction.recipients:
            return await transaction.upstream.rcpt(to.recipient, notify=to.notify, orcpt=to.orcpt)
        return await self._offer(transaction, to)

    async def _offer(self, transaction: Transaction, to: RcptTo) -> UpstreamReply:
        """Say MAIL and the first RCPT in one write; return the answer that decides about the recipient."""
        mail_from = transaction.mail_from
        mail, rcpt = await transaction.upstream.mail_rcpt(
            self.returns.of(transaction.account, transaction.id, mail_from.sender),
            to.recipient,
            size=mail_from.size + ADDED_BYTES if mail_from.size else None,
            eight_bit=mail_from.body != "7BIT",
            smtputf8=mail_from.smtputf8,
            ret=mail_from.ret,
            envid=mail_from.envid,
            notify=to.notify,
            orcpt=to.orcpt,
        )
        return rcpt if mail.ok else mail

    async def deliver(self, transaction: Transaction, message: Stamped) -> tuple[Reply, str]:
        """Hand a message on, hold it or let it wait; returns our reply and what came of it."""
        transaction.handed_over = True
        if message.action is Action.DEFER:
            transaction.waits = Why.UNSCREENED
        try:
            if message.action is Action.HOLD:
                await transaction.upstream.abandon()
                parcel = self._parcel(transaction, message, Why.HELD)
                held = self.outbox.hold(parcel, tell_sender=message.own_sender)
                number = await self._kept(message.since, held)
                return replies.make(
                    250, "0.0", f"Held until your provider has looked at it, message {number}"
                ), "held"
            if transaction.waits is None and transaction.may_wait and _left(message) < LEAST_SECONDS:
                transaction.waits = Why.QUEUE
            if transaction.waits is not None:
                await transaction.upstream.abandon()
                return await self._wait(transaction, message, transaction.waits)
        except StoreError as error:
            return from_error(error), "deferred"
        return await self._send(transaction, message)

    async def _kept(self, since: float, work: Coroutine[Any, Any, T]) -> T:
        """Return what durable work comes to while the client still listens; StoreError when it takes longer.

        The work goes on all the same: the client's retry is told what came of it.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._late.add(task)
        task.add_done_callback(self._ended)
        seconds = max(since + REPLY_SECONDS - clock.monotonic(), LEAST_SECONDS / 3)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise StoreError("the store takes longer than the client waits")
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # who waited has heard of it

    async def _send(self, transaction: Transaction, message: Stamped) -> tuple[Reply, str]:
        answer = await self._attempt(transaction, message)
        if isinstance(answer, UpstreamReply):
            if answer.ok:
                self._report(transaction, message)
            if not answer.temporary:
                return from_upstream(answer), "forwarded" if answer.ok else "refused"
            if not transaction.may_wait:
                return from_upstream(answer), "deferred"
            answer = Trouble(Why.LATER, Deferred(f"{answer.code} {answer.text}"))
        self._failed(transaction, answer.error)
        if isinstance(answer.error, Failed):
            return from_error(answer.error), "refused"
        if not transaction.may_wait:
            if answer.late is not None:
                await self._remember_late(message, answer.late)
            return from_error(answer.error), "deferred"
        transaction.note = str(answer.error)
        try:
            return await self._wait(transaction, message, answer.why, answer.late)
        except StoreError as error:
            if answer.late is not None:
                await self._remember_late(message, answer.late)
            return from_error(error), "deferred"

    def _report(self, transaction: Transaction, message: Stamped) -> None:
        """Say "relayed" to who asked for news of success, where the server reports none (RFC 3461 §5.2.2)."""
        asked = any("SUCCESS" in to.notify for to in transaction.recipients)
        if not asked or "DSN" in transaction.upstream.extensions:
            return
        try:
            self.outbox.relayed(self._parcel(transaction, message, Why.QUEUE))
        except Exception as error:  # noqa: BLE001 - the message is out: the answer stands
            self.metrics.bug("report", error)

    async def _attempt(self, transaction: Transaction, message: Stamped) -> UpstreamReply | Trouble:
        left = _left(message)
        if left < LEAST_SECONDS:
            await transaction.upstream.abandon()
            return Trouble(Why.UNREACHABLE, TimeoutError("screening took all the time there was"))
        try:
            async with asyncio.timeout(left):
                return await self._data(transaction, message)
        except TimeoutError as error:
            late = transaction.upstream.late
            if late is None:
                await transaction.upstream.abandon()  # it hung before DATA
            return Trouble(Why.UNREACHABLE if late is None else Why.IN_DOUBT, error, late)
        except InDoubt as error:
            return Trouble(Why.IN_DOUBT, error)
        except (Deferred, Failed) as error:
            return Trouble(Why.UNREACHABLE, error)

    async def _remember_late(self, message: Stamped, late: asyncio.Future[UpstreamReply]) -> None:
        """Keep an answer that comes after our 451: the client's retry gets it instead of a second copy.

        Until it comes, or 10 minutes have passed, every process tells the retry to come later, and so does
        the next one after a crash: that is durable before our 451, or the store is away.
        """
        if not (key := message.answer_key):
            return

        async def remember() -> None:
            try:
                answer = await late
            except Exception:  # noqa: BLE001 - whatever it is, no answer will come: the retry may be sent
                self.outbox.doubts.dismiss(key)
                return
            if answer.temporary:  # after "later" the retry is what is wanted
                self.outbox.doubts.dismiss(key)
                return
            reply = from_upstream(answer)
            await self.outbox.doubts.remember(key, Answer(reply.code, reply.text))

        def ended(task: asyncio.Task[None]) -> None:
            self._unanswered.discard(key)
            self._ended(task)

        self._unanswered.add(key)
        with suppress(StoreError):
            await self._kept(message.since, self.outbox.doubts.expect(key))
        task = asyncio.get_running_loop().create_task(remember())
        self._late.add(task)
        task.add_done_callback(ended)

    async def _data(self, transaction: Transaction, message: Stamped) -> UpstreamReply:
        """Send the message (after a slow upload MAIL and RCPT once more) and return the answer to its dot."""
        if transaction.replay:
            await self._again(transaction)
        return await transaction.upstream.data(message.pieces, undotted=message.undotted)

    async def _again(self, transaction: Transaction) -> None:
        """Name sender and recipients once more; Deferred if one that was taken before is refused now."""
        for number, to in enumerate(transaction.recipients):
            if number:
                answer = await transaction.upstream.rcpt(to.recipient, notify=to.notify, orcpt=to.orcpt)
            else:
                answer = await self._offer(transaction, to)
            if not answer.ok:
                await transaction.upstream.abandon()
                raise Deferred(f"a recipient that was taken before was refused then: {answer.code}")
        transaction.replay = False

    async def _wait(
        self,
        transaction: Transaction,
        message: Stamped,
        why: Why,
        late: asyncio.Future[UpstreamReply] | None = None,
    ) -> tuple[Reply, str]:
        parcel = self._parcel(transaction, message, why)
        number = await self._kept(message.since, self.outbox.accept(parcel, late=late))
        return replies.make(
            250, "0.0", f"Accepted, will be delivered as soon as possible, message {number}"
        ), "queued"

    @staticmethod
    def _parcel(transaction: Transaction, message: Stamped, why: Why) -> Parcel:
        mail_from = transaction.mail_from
        envelope = WaitingEnvelope(
            sender=mail_from.sender,
            recipients=tuple(Recipient(to.recipient, to.notify, to.orcpt) for to in transaction.recipients),
            smtputf8=mail_from.smtputf8,
            eight_bit=message.eight_bit,
            ret=mail_from.ret,
            envid=mail_from.envid,
            unscreened=message.client is not None,
            client=message.client or ("", "", ""),
        )
        return Parcel(
            id=transaction.id,
            account=transaction.account,
            envelope=envelope,
            pieces=message.pieces,
            why=why,
            note=message.reason if why in (Why.HELD, Why.UNSCREENED) else transaction.note,
            score=message.score,
            hits=message.hits,
            campaign=message.campaign,
            answer_key=message.answer_key,
        )

    def _failed(self, transaction: Transaction, error: Exception) -> None:
        why = str(error) or "no answer to the message in time"
        self.metrics.emit(UpstreamFailed(transaction.account.server.name, why))


def _left(message: Stamped) -> float:
    """Return the seconds in which the server's answer still reaches the client in time."""
    return message.since + ANSWER_SECONDS - clock.monotonic()


def elapsed_ms(since: float) -> float:
    """Return milliseconds since a monotonic moment."""
    return (clock.monotonic() - since) * 1000
