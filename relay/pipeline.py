"""The way of a message, on one page (`Pipeline.receive`).

1. admit     standing, asked again at the dot (`submission.py` asks at RCPT)
2. screen    parse once, run the rules, then the scanners under one deadline → Verdict
3. decide    verdict and policy → deliver | tag | hold | refuse | defer
4. stamp     Received, feedback token, DKIM signatures
5. forward   to the customer's server, whose reply becomes ours; or to the outbox (`forwarding.py`)
6. record    one event → journal row, metrics, canonical log line

Nothing after the customer's server has said 250 may turn our answer into a refusal: the store's health is
asked before forwarding, and the row is queued after the reply is known.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from policies.acceptance import Action
from policies.decision import Decision
from policies.habits import Act
from policies.transmission import Enforce
from relay import clock, forwarding
from relay.conduct import Conduct, program
from relay.events import MessageHandled
from relay.familiar import Familiar
from relay.forwarding import Stamped
from relay.log import nameless
from relay.outbox.doubts import UnderWay
from relay.outbox.parcel import Screened, is_foreign
from relay.smtp import reply as replies
from relay.store import journal, observed
from relay.store.correspondents import Correspondents
from relay.store.journal import Batch, JournalRow
from screening.mail import Envelope, Mail
from screening.verdict import Hit, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from relay.config import Config
    from relay.forwarding import Forwarder, Transaction
    from relay.keyring import Keyring
    from relay.model import Account
    from relay.outbox.envelope import WaitingEnvelope
    from relay.signing.stamp import Stamper
    from relay.smtp.content import Content
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from relay.store.engine import Store
    from relay.store.outbox import Row
    from screening.screen import Screen

#: Beyond this the work of reading and signing leaves the event loop.
LARGE_BYTES = 256 << 10
CANNOT_BE_HELD = "It looks unusual, and cannot be held here to be checked. Is this wrong? Tell your provider"


@dataclass(slots=True)
class Handling:
    """What becomes of one message, filled in on its way."""

    mail: Mail
    verdict: Verdict
    decision: Decision[Action]
    act: Act
    body_hash: bytes = b""
    message_id_hash: bytes = b""
    reply: Reply = replies.LOCAL_PROBLEM
    #: forwarded, queued, held, refused or deferred
    outcome: str = "deferred"
    stages_ms: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """Takes a whole message to its reply; one for all doors of a process."""

    def __init__(
        self,
        config: Config,
        screen: Screen,
        stamper: Stamper,
        store: Store,
        keyring: Keyring,
        forwarder: Forwarder,
    ) -> None:
        self.config = config
        self.screen = screen
        self.stamper = stamper
        self.store = store
        self.keyring = keyring
        self.forwarder = forwarder
        self.metrics = forwarder.metrics
        self.journal = Batch(store)
        self.correspondents = Correspondents(store)
        self.conduct = Conduct(config, forwarder.metrics)
        self.familiar = Familiar(store, forwarder.metrics)
        self.under_way = UnderWay(forwarder.outbox.doubts, forwarder.unanswered)
        #: where a client is, as ISO 3166; "" where nobody knows
        self.country: Callable[[str], str] = lambda _address: ""

    async def receive(self, session: Session, transaction: Transaction, content: Content) -> Reply:
        """Screen, decide, stamp, forward and record one message whose recipients were all taken."""
        started = clock.monotonic()
        since = content.whole_at or started
        raw = await asyncio.to_thread(content.read) if content.size > LARGE_BYTES else content.read()
        mail = Mail(self._envelope(session, transaction), raw)
        body_hash, message_id_hash = _digest(memoryview(raw)[mail.body_start :]), _message_id_hash(mail)
        key = transaction.answer_key = self._answer_key(
            session, transaction, mail, message_id_hash, body_hash
        )
        if known := await self._first_answer(key, since):
            return known
        with self.under_way.begun(key, session) as told:
            verdict = await self._screened(mail, since + forwarding.SCREEN_SECONDS - started)
            act = _act(mail, transaction.received_at)
            verdict = self._weighed(transaction.account, mail, verdict, act)
            decision = self.conduct.decide(transaction.account, verdict)
            handling = Handling(mail, verdict, decision, act, body_hash, message_id_hash)
            handling.stages_ms["screen"] = forwarding.elapsed_ms(started)
            if refusal := self._refusal(transaction, handling):
                handling.reply, handling.outcome = refusal, "deferred" if refusal.temporary else "refused"
            else:
                await self._hand_on(session, transaction, content, handling, since)
            handling.stages_ms["total"] = forwarding.elapsed_ms(started)
            try:
                self.record(session, transaction, handling)
            except Exception as error:  # noqa: BLE001 - the message is out or waits: the answer stands
                self.metrics.bug("record", error)
            told.set_result(handling.reply)
        return handling.reply

    async def _screened(self, mail: Mail, seconds: float) -> Verdict:
        """Return the verdict of all checks; one that took too long, or a bug, is no verdict."""
        try:
            if self.screen.is_instant(mail):
                return self.screen.offline(mail)
            async with asyncio.timeout(seconds):
                return await self.screen.screen(mail)
        except TimeoutError:
            return Verdict(unanswered=("patterns", "deadline"))
        except Exception as error:  # noqa: BLE001 - a bug in screening loses nothing and lets nothing through
            self.metrics.bug("screening", error)
            return Verdict(unanswered=("patterns", "bug"))

    def _weighed(self, account: Account, mail: Mail, verdict: Verdict, act: Act) -> Verdict:
        """Add to what was found in the message what is known of its sender and of messages like it."""
        verdict = self.conduct.identified(account, mail, verdict)
        return self.familiar.judge(account, mail, verdict, act) if self.config.screening.enabled else verdict

    def _envelope(self, session: Session, transaction: Transaction) -> Envelope:
        account = transaction.account
        return Envelope(
            id=transaction.id,
            peer_ip=session.peer_ip,
            helo=session.helo,
            tls=session.tls,
            login=session.login,
            sender=transaction.mail_from.sender,
            recipients=tuple(to.recipient for to in transaction.recipients),
            received_at=transaction.received_at,
            leaves_from=_hosts(account),
            signed_as=partial(self.stamper.signed_as, account),
        )

    async def _hand_on(
        self, session: Session, transaction: Transaction, content: Content, handling: Handling, since: float
    ) -> None:
        """Stamp the message and give it to the customer's server, to staff or to the outbox.

        What could not be screened waits as it came in, and is stamped once it has been screened.
        """
        started = clock.monotonic()
        unscreened = handling.decision.action is Action.DEFER
        pieces = [handling.mail.raw] if unscreened else await self.stamp(transaction.account, handling)
        handling.stages_ms["stamp"] = forwarding.elapsed_ms(started)
        started = clock.monotonic()
        hits = handling.verdict.as_json(handling.mail.envelope.recipients)
        stamped = Stamped(
            pieces=pieces,
            action=handling.decision.action,
            reason=handling.decision.reason,
            score=handling.verdict.score,
            hits=hits,
            campaign=handling.body_hash.hex(),
            eight_bit=content.eight_bit,
            answer_key=transaction.answer_key,
            since=since,
            undotted=content.undotted,
            own_sender=not is_foreign(hits),
            client=(session.peer_ip, session.helo, session.tls) if unscreened else None,
        )
        handling.reply, handling.outcome = await self.forwarder.deliver(transaction, stamped)
        handling.stages_ms["forward"] = forwarding.elapsed_ms(started)

    def _answer_key(
        self,
        session: Session,
        transaction: Transaction,
        mail: Mail,
        message_id_hash: bytes,
        body_hash: bytes,
    ) -> bytes:
        """Return the key by which a client's second try is known, empty where nothing tells it from new mail.

        Machines that write no Message-ID say the same thing again and again; a Date tells their mails apart.
        """
        if not mail.has("message-id"):
            if not mail.has("date"):
                return b""
            message_id_hash = _digest(memoryview(mail.raw)[: mail.body_start])
        people = [to.recipient for to in transaction.recipients]
        return self.forwarder.outbox.doubts.key(
            session.listener, transaction.account.id, message_id_hash.hex(), body_hash, people
        )

    async def _first_answer(self, key: bytes, since: float) -> Reply | None:
        """Return what an earlier try of the same message was told, where its arrival was in doubt."""
        if not key:
            return None
        doubts = self.forwarder.outbox.doubts
        if earlier := await self.under_way.answer(key, since + forwarding.REPLY_SECONDS):
            return earlier
        if self.forwarder.unanswered(key):
            return replies.UPSTREAM_SILENT
        known = await doubts.recall(key) if doubts.may_know(key) else None
        if known is None:
            return None
        text = known.text or f"Accepted before, message {known.queue_id}"
        return replies.make(known.code, "0.0", text)

    def _refusal(self, transaction: Transaction, handling: Handling) -> Reply | None:
        """Return the reply if the message goes no further."""
        decision, verdict = handling.decision, handling.verdict
        if decision.action is Action.DEFER and not transaction.may_wait:
            return replies.NOT_SCREENED
        if self.conduct.loops(transaction.account, handling.mail):
            return replies.LOOP_OF_TWO
        if decision.numbers.get("breach") == Enforce.WAIT:
            return replies.make(450, "7.1", f"{decision.reason} (message {transaction.id})")
        if decision.action is Action.HOLD and not transaction.may_wait:
            # released, it would be refused for want of a login, and so would be the news of that
            return replies.make(550, "7.1", f"{CANNOT_BE_HELD} {transaction.id}")
        if decision.action is Action.REFUSE:
            code = 554 if "threshold" in decision.numbers else 550
            return replies.make(code, "7.1", self._refused(transaction.id, decision, verdict))
        if not self.store.healthy:
            return replies.LOCAL_PROBLEM if self.forwarder.outbox.room_for(0) else replies.DISK_FULL
        return None

    def _refused(self, number: str, decision: Decision[Action], verdict: Verdict) -> str:
        """Return why a message is refused, in words for its sender."""
        if "threshold" not in decision.numbers:
            return f"{decision.reason} (message {number})"
        because = "; ".join(dict.fromkeys(self._why(hit) for hit in verdict.top[:3]))
        return f"Refused as spam or unsafe: {because}. Is this wrong? Tell your provider {number}"

    def _why(self, hit: Hit) -> str:
        """Return what a rule found, in words for the sender; a scanner's own words where it was one."""
        if hit.rule == "classifier":
            return "its words are those of spam"
        known = next((rule.why for rule in self.screen.ruleset.rules if rule.id == hit.rule), "")
        return (known or f"{hit.rule} found {hit.evidence}").rstrip(".")

    async def stamp(self, account: Account, handling: Handling) -> list[bytes]:
        """Return the message as it goes out, in pieces."""
        tagged = handling.decision.action in (Action.TAG, Action.HOLD)  # staff may release what was held
        mail, now = handling.mail, clock.now()
        if len(mail.raw) > LARGE_BYTES:
            return await asyncio.to_thread(
                self.stamper.stamp, mail, account, now, verdict=handling.verdict, tagged=tagged
            )
        return self.stamper.stamp(mail, account, now, verdict=handling.verdict, tagged=tagged)

    async def rescreen(self, row: Row, waiting: WaitingEnvelope, body: bytes, account: Account) -> Screened:
        """Screen what was taken unscreened, before each attempt to deliver it; the journal hears of it."""
        peer_ip, helo, tls = waiting.client
        people = tuple(one.address for one in waiting.recipients)
        at = clock.moment(row.at_us)
        envelope = Envelope(
            row.id, peer_ip, helo, tls, account.login, waiting.sender, people, at,
            leaves_from=_hosts(account), signed_as=partial(self.stamper.signed_as, account),
        )  # fmt: skip
        mail = Mail(envelope, body)
        act = _act(mail, at)
        verdict = await self._screened(mail, forwarding.SCREEN_SECONDS)
        verdict = self._weighed(account, mail, verdict, act)
        decision = self.conduct.decide(account, verdict)
        if decision.action is Action.DEFER or decision.numbers.get("breach") == Enforce.WAIT:
            return Screened("later", reason=decision.reason)
        outcome = {Action.HOLD: "held", Action.REFUSE: "refused"}.get(decision.action, "queued")
        hits = verdict.as_json(people)
        found = {
            "action": str(decision.action), "outcome": outcome, "score": verdict.score, "hits": hits,
            "unanswered": list(verdict.unanswered), "ruleset": verdict.ruleset,
        }  # fmt: skip
        self.store.write_later(lambda tx: journal.amend(tx, row.id, **found))
        if decision.action is Action.REFUSE:
            return Screened("refuse", reason=self._refused(row.id, decision, verdict))
        pieces = await self.stamp(account, Handling(mail, verdict, decision, act))
        return Screened(
            "hold" if decision.action is Action.HOLD else "deliver",
            pieces, decision.reason, verdict.score, hits,
        )  # fmt: skip

    def record(self, session: Session, transaction: Transaction, handling: Handling) -> None:
        """Queue the journal row and emit the event; nobody waits for either."""
        row = self._row(session, transaction, handling)
        self.journal.add(row)
        if row.relayed:
            transaction.relayed = True
            self.familiar.sent(transaction.account, row.recipient_count, row.at)
            self.correspondents.wrote(transaction.account, row.recipient_hashes, row.at)
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
        customer_id, would = account.customer.id, observed.hit(handling.decision.reason)
        return JournalRow(
            id=transaction.id,
            account_id=account.id,
            customer_id=customer_id,
            at=transaction.received_at,
            action=str(handling.decision.action),
            outcome=handling.outcome,
            score=verdict.score,
            hits=[*verdict.as_json(mail.envelope.recipients), *([would] if would else ())],
            malformed=verdict.malformed,
            reply_code=handling.reply.code,
            reply_text=nameless(handling.reply.text),
            size=len(mail.raw),
            recipient_count=len(transaction.recipients),
            recipients=b"".join(
                self.keyring.recipient_hash(customer_id, to.recipient)
                + self.keyring.domain_hash(customer_id, to.recipient.rpartition("@")[2])
                for to in transaction.recipients
            ),
            # a body that does not count as spam-like has no hash: reports of spam look like spam
            body_hash=None if self.conduct.reports_spam(mail) else handling.body_hash,
            message_id_hash=handling.message_id_hash,
            # 0: says too little; reading text and HTML for it is a part of screening
            fingerprint=mail.fingerprint if self.config.screening.enabled else 0,
            client_network=handling.act.network,
            unanswered=list(verdict.unanswered),
            ruleset=verdict.ruleset,
            stages={stage: round(span, 3) for stage, span in handling.stages_ms.items()},
            country=self.country(session.peer_ip),
            program=handling.act.program,
            sender=self.forwarder.returns.seal_sender(account, transaction.id, transaction.mail_from.sender),
            counts={"refusals": 1} if self.conduct.tells(handling.decision) else {},
        )


def _act(mail: Mail, at: datetime) -> Act:
    envelope = mail.envelope
    return Act(at, _network(envelope.peer_ip), program(mail), len(envelope.recipients))


def _hosts(account: Account) -> tuple[str, ...]:
    return tuple(address.rpartition(":")[0].strip("[]") for address in account.server.hosts)


def _digest(data: bytes | memoryview) -> bytes:
    """Return 16 bytes of SHA-256, which processors have built in: half the time of blake2b."""
    return hashlib.sha256(data).digest()[:16]


def _message_id_hash(mail: Mail) -> bytes:
    written = mail.raw_header("message-id")
    if written.isascii() and b"=?" not in written:  # as it stands: nothing to decode
        return _digest(written)
    return _digest(mail.header("message-id").encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    """Return the /24 or /48 of a client: enough to see a stranger, not enough to follow a person."""
    if not address:
        return ""
    bits = 48 if ":" in address else 24
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
