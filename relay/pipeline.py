"""The way of a message, on one page (`Pipeline.receive`).

1. admit     standing, asked again at the dot (`submission.py` asks at RCPT)
2. screen    parse once, run the rules, then the scanners under one deadline → Verdict
3. decide    verdict and policy → deliver | tag | hold | refuse | defer
4. stamp     Received, feedback token, DKIM signatures
5. forward   to the customer's server, whose reply becomes ours
6. record    one event → journal row, metrics, canonical log line

Nothing after the customer's server has said 250 may turn our answer into a refusal: the store's health is
asked before forwarding, and the row is queued after the reply is known.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policies import acceptance
from policies.acceptance import Action
from relay import clock, forwarding
from relay.errors import Deferred, Failed
from relay.events import MessageHandled, UpstreamFailed
from relay.model import Mode
from relay.smtp import reply as replies
from relay.store.journal import Batch, JournalRow
from screening.mail import Envelope, Mail
from screening.rules.identity import identity_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from policies.decision import Decision
    from relay.config import Config
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.model import Account
    from relay.signing.stamp import Stamper
    from relay.smtp.content import Content
    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from relay.store.engine import Store
    from relay.upstream.transaction import Transaction as Upstream
    from screening.screen import Screen
    from screening.verdict import Verdict

#: Beyond this the work of reading and signing leaves the event loop.
LARGE_BYTES = 256 << 10


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


@dataclass(slots=True)
class Handling:
    """What becomes of one message, filled in on its way."""

    mail: Mail
    verdict: Verdict
    decision: Decision[Action]
    reply: Reply = replies.LOCAL_PROBLEM
    stages_ms: dict[str, float] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """Return forwarded, refused or deferred."""
        if self.reply.ok:
            return "forwarded"
        return "deferred" if self.reply.temporary else "refused"


class Pipeline:
    """Takes a whole message to its reply; one for all doors of a process."""

    def __init__(
        self,
        config: Config,
        screen: Screen,
        stamper: Stamper,
        store: Store,
        keyring: Keyring,
        metrics: Metrics,
    ) -> None:
        self.config = config
        self.screen = screen
        self.stamper = stamper
        self.store = store
        self.keyring = keyring
        self.metrics = metrics
        self.journal = Batch(store)
        #: tells whether a domain belongs to another customer than the one of this id
        self.foreign: Callable[[int, str], bool] = lambda _customer_id, _domain: False

    async def receive(self, session: Session, transaction: Transaction, content: Content) -> Reply:
        """Screen, decide, stamp, forward and record one message whose recipients were all taken."""
        started = clock.monotonic()
        raw = await asyncio.to_thread(content.read) if content.size > LARGE_BYTES else content.read()
        mail = Mail(_envelope(session, transaction), raw)
        verdict = await self.screen.screen(mail)
        handling = Handling(mail, verdict, self.decide(transaction.account, mail, verdict))
        screened = clock.monotonic()
        if refusal := self._refusal(transaction, content, handling):
            await transaction.upstream.abandon()
            handling.reply = refusal
        else:
            pieces = await self.stamp(transaction.account, handling)
            stamped = clock.monotonic()
            handling.reply = await self.forward(transaction, pieces)
            handling.stages_ms["stamp"] = (stamped - screened) * 1000
            handling.stages_ms["forward"] = (clock.monotonic() - stamped) * 1000
        handling.stages_ms["screen"] = (screened - started) * 1000
        handling.stages_ms["total"] = (clock.monotonic() - started) * 1000
        self.record(session, transaction, handling)
        return handling.reply

    def decide(self, account: Account, mail: Mail, verdict: Verdict) -> Decision[Action]:
        """Turn a verdict into what happens; a customer in `observe` is never refused."""
        settings = self.config.screening
        fault = verdict.malformed
        if not fault and self.config.policy.identity == "enforce":
            fault = identity_fault(
                mail, account.senders, lambda domain: self.foreign(account.customer.id, domain)
            )
        thresholds = acceptance.Thresholds(settings.tag, settings.hold, settings.refuse)
        defer = settings.failure == "defer"
        decision = acceptance.judge(
            verdict.score,
            fault,
            len(verdict.unanswered),
            thresholds,
            screened="patterns" not in verdict.unanswered,
            defer_on_failure=defer,
        )
        if account.customer.mode is Mode.OBSERVE and decision.action is not Action.DELIVER:
            reason = f"observed only, would {decision.action}: {decision.reason}"
            return dataclasses.replace(decision, action=Action.DELIVER, reason=reason)
        return decision

    def _refusal(self, transaction: Transaction, content: Content, handling: Handling) -> Reply | None:
        """Return the reply if the message goes no further."""
        decision, verdict = handling.decision, handling.verdict
        if decision.action is Action.DEFER:
            return replies.NOT_SCREENED
        if decision.action is Action.REFUSE and "threshold" not in decision.numbers:
            return replies.make(550, "7.1", f"{decision.reason} (message {transaction.id})")
        if decision.action is Action.REFUSE:
            because = "; ".join(dict.fromkeys(self._why(hit.rule) for hit in verdict.top[:3]))
            text = f"Refused as spam or unsafe: {because}. Is this wrong? Tell your provider {transaction.id}"
            return replies.make(554, "7.1", text)
        if not self.store.healthy:
            return replies.LOCAL_PROBLEM
        if content.eight_bit and not transaction.replay and "8BITMIME" not in transaction.upstream.extensions:
            return replies.NO_EIGHT_BIT
        return None

    def _why(self, rule: str) -> str:
        """Return what a rule found, in words for the sender."""
        if rule == "classifier":
            return "its words are those of spam"
        return next((known.why for known in self.screen.ruleset.rules if known.id == rule), rule).rstrip(".")

    async def stamp(self, account: Account, handling: Handling) -> list[bytes]:
        """Return the message as it goes out, in pieces."""
        tagged = handling.decision.action in (Action.TAG, Action.HOLD)
        mail, now = handling.mail, clock.now()
        if len(mail.raw) > LARGE_BYTES:
            return await asyncio.to_thread(
                self.stamper.stamp, mail, account, now, verdict=handling.verdict, tagged=tagged
            )
        return self.stamper.stamp(mail, account, now, verdict=handling.verdict, tagged=tagged)

    async def forward(self, transaction: Transaction, pieces: list[bytes]) -> Reply:
        """Hand the message to the customer's server and turn its answer into ours."""
        try:
            if transaction.replay:
                await forwarding.replay(transaction.upstream, transaction.mail_from, transaction.recipients)
            return forwarding.from_upstream(await forwarding.hand_over(transaction.upstream, pieces))
        except (Deferred, Failed, TimeoutError) as error:
            self.metrics.emit(
                UpstreamFailed(transaction.account.server.name, str(error) or "no answer to the message")
            )
            return forwarding.from_error(error)

    def record(self, session: Session, transaction: Transaction, handling: Handling) -> None:
        """Queue the journal row and emit the event; nobody waits for either."""
        row = self._row(session, transaction, handling)
        self.journal.add(row)
        self.metrics.emit(
            MessageHandled(
                id=row.id,
                login=transaction.account.login,
                action=row.action,
                outcome=handling.outcome,
                score=row.score,
                rules=tuple(hit.rule for hit in handling.verdict.hits),
                reply=f"{handling.reply.code} {handling.reply.status}",
                size_bytes=row.size,
                recipients=len(transaction.recipients),
                reason=handling.decision.reason,
                stages_ms=dict(row.stages),
            )
        )

    def _row(self, session: Session, transaction: Transaction, handling: Handling) -> JournalRow:
        account, mail, verdict = transaction.account, handling.mail, handling.verdict
        customer_id = account.customer.id
        return JournalRow(
            id=transaction.id,
            account_id=account.id,
            customer_id=customer_id,
            at=transaction.received_at,
            action=str(handling.decision.action),
            outcome=handling.outcome,
            score=verdict.score,
            hits=verdict.as_json(),
            malformed=verdict.malformed,
            reply_code=handling.reply.code,
            reply_text=handling.reply.text,
            size=len(mail.raw),
            recipient_count=len(transaction.recipients),
            recipients=b"".join(
                self.keyring.recipient_hash(customer_id, to.recipient)
                + self.keyring.domain_hash(customer_id, to.recipient.rpartition("@")[2])
                for to in transaction.recipients
            ),
            body_hash=_digest(memoryview(mail.raw)[mail.body_start :]),
            message_id_hash=_digest(mail.header("message-id").encode("utf-8", "surrogateescape")),
            client_network=_network(session.peer_ip),
            unanswered=list(verdict.unanswered),
            ruleset=verdict.ruleset,
            stages={stage: round(span, 3) for stage, span in handling.stages_ms.items()},
        )


def _envelope(session: Session, transaction: Transaction) -> Envelope:
    return Envelope(
        id=transaction.id,
        peer_ip=session.peer_ip,
        helo=session.helo,
        tls=session.tls,
        login=session.login,
        sender=transaction.mail_from.sender,
        recipients=tuple(to.recipient for to in transaction.recipients),
        received_at=transaction.received_at,
    )


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _network(address: str) -> str:
    """Return the /24 or /48 of a client: enough to see a stranger, not enough to follow a person."""
    if not address:
        return ""
    bits = 48 if ":" in address else 24
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
