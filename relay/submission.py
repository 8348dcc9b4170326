"""The submission door: what a mail client's commands mean, from AUTH to the dot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policies.transmission import Check, Enforce
from relay import clock, ids
from relay.errors import ConfigError, StoreError
from relay.events import LocalProblem, LoginGuessed, LoginTried, RecipientRefused
from relay.forwarding import Transaction
from relay.model import UpstreamAuth
from relay.smtp import reply as replies
from relay.smtp.auth import Busy
from relay.store import logins
from relay.store.recipients import Recipients, is_unknown
from screening.rules.identity import sender_allowed

if TYPE_CHECKING:
    from datetime import datetime

    from relay.authentication import Authentication
    from relay.config import Config
    from relay.gate import Gate
    from relay.model import Account
    from relay.pipeline import Pipeline
    from relay.smtp.content import Content
    from relay.smtp.grammar import MailFrom, RcptTo
    from relay.smtp.reply import Reply
    from relay.smtp.session import Session
    from relay.store.directory import Directory


#: Replies that a client which never waits for one has not shown to have heard.
MOST_OWED = 100


@dataclass(slots=True)
class Notes:
    """What the door remembers of a session."""

    #: the client's password, for a server that wants it itself; dies with the session
    password: str = field(default="", repr=False)
    transaction: Transaction | None = None
    #: replies to dots by the keys of their messages, until the client shows that it heard them
    owed: dict[bytes, Reply] = field(default_factory=dict)


def _notes(session: Session) -> Notes:
    if session.notes is None:
        session.notes = Notes()
    notes: Notes = session.notes
    return notes


class SubmissionDoor:
    """Stands behind both submission listeners."""

    needs_login = True

    def __init__(
        self,
        config: Config,
        directory: Directory,
        authentication: Authentication,
        pipeline: Pipeline,
        gate: Gate,
    ) -> None:
        self.config = config
        self.directory = directory
        self.authentication = authentication
        self.routes = authentication.routes
        self.pool = authentication.pool
        self.pipeline = pipeline
        self.gate = gate
        self.logins = logins.Batch(pipeline.store)
        self.recipients = Recipients(pipeline.store, pipeline.keyring)

    def configure(self, config: Config) -> None:
        """Take a new configuration."""
        self.config = config

    # --- AUTH

    async def authenticate(self, session: Session, login: str, password: str, mechanism: str) -> Reply:
        """Check a login, and keep when, from where and how it was tried."""
        account: Account | None = None
        try:
            reply, account = await self.authentication.judge(login, password, session.peer_ip)
        except Busy:
            reply = replies.LOGIN_BUSY
        except (StoreError, ConfigError) as error:
            self._local_problem(error)
            reply = replies.LOGIN_BUSY
        ok = reply is replies.LOGGED_IN
        if ok and account:
            keeps = account.server.auth is UpstreamAuth.PASSTHROUGH
            _notes(session).password = password if keeps else ""
        why = "" if ok else f"{reply.code} {reply.status}"
        # what is no login here may be a password in the wrong field
        known = account.login if account else ""
        self.pipeline.metrics.emit(LoginTried(known, ok, mechanism, session.peer_ip, why))
        if account:
            self.logins.add(self._login(account, session, mechanism, password if ok else ""))
        return reply

    def guessed(self, session: Session, login: str) -> None:
        """Sound the alarm: somebody tries many passwords for one login, from many addresses (AU-12)."""
        del session
        account = self.directory.peek(login)
        self.pipeline.metrics.emit(LoginGuessed(account.login if account else ""))

    def _login(self, account: Account, session: Session, mechanism: str, password: str) -> logins.Login:
        """Return one try to log in, with the credential that was right; no password stands for a failure."""
        used, fingerprint = None, b""
        if password:
            fingerprint = self.pipeline.keyring.fingerprint(account.login, password)
            same = [one.id for one in account.credentials if one.fingerprint == fingerprint]
            used = same[0] if same else None
            if used or any(one.hash for one in account.credentials):
                fingerprint = b""
        return logins.Login(
            account.id, clock.now(), session.peer_ip, mechanism, bool(password), used, fingerprint
        )

    # --- the transaction

    async def mail(self, session: Session, command: MailFrom) -> Reply:
        """Open a transaction for a sender that belongs to the account."""
        try:
            return await self._mail(session, command)
        except (StoreError, ConfigError) as error:
            return self._local_problem(error)

    async def _mail(self, session: Session, command: MailFrom) -> Reply:
        account = await self.directory.account(session.login or "")
        if account is None:
            return replies.ACCOUNT_CLOSED
        notes, now = _notes(session), clock.now()
        foreign = command.sender and not self._may_send_as(account, command.sender)
        if foreign and (refusal := self._foreign_sender(account, now)):
            return refusal
        route = self.routes(account.server)
        if notes.password:
            route = route.logged_in_as(account.login, notes.password)
        upstream = self.pool.transaction(
            route, client_ip=session.peer_ip, client_helo=session.helo, login=account.login
        )
        notes.transaction = Transaction(ids.message_id(now), account, command, now, upstream)
        return replies.SENDER_OK

    def _may_send_as(self, account: Account, sender: str) -> bool:
        customer_id = account.customer.id
        return sender_allowed(
            sender, account.senders, lambda domain: self.directory.foreign(customer_id, domain)
        )

    async def rcpt(self, session: Session, command: RcptTo) -> Reply:
        """Take a recipient if the account may send now and the customer's server takes it."""
        try:
            return await self._rcpt(session, command)
        except (StoreError, ConfigError) as error:
            return self._local_problem(error)

    async def _rcpt(self, session: Session, command: RcptTo) -> Reply:
        transaction = _notes(session).transaction
        if transaction is None:
            return replies.MAIL_FIRST
        if refusal := await self.gate.admit(transaction, (command.recipient,)):
            return refusal
        account, now = transaction.account, clock.now()
        held = await self.recipients.suppressed(account, command.recipient, now)
        if held and not self.gate.observes(account, now):
            self._refused(transaction, "suppressed", "550 5.7.1")
            return replies.make(550, "7.1", "Mail to this address is suppressed; your provider can say more")
        if held:
            fact = {"action": "refuse", "reason": "mail to a suppressed recipient", "clause": ""}
            self.gate.would(account, "suppression", fact, now)
        if refusal := await self.gate.take(transaction, command.recipient):
            return refusal
        reply = await self.pipeline.forwarder.rcpt(transaction, command)
        unknown = is_unknown(reply.code, reply.status, reply.text)
        self.recipients.tried(account, command.recipient, now, unknown=unknown)
        if reply.ok:
            transaction.recipients.append(command)
        else:
            self.gate.refused(transaction)
            self._refused(transaction, "upstream", f"{reply.code} {reply.status}")
        notes = _notes(session)
        if reply is replies.UPSTREAM_LOGIN_REFUSED and notes.password:
            self.authentication.remembered.forget(session.login or "", notes.password)
            return replies.PASSWORD_CHANGED
        return reply

    def _foreign_sender(self, account: Account, now: datetime) -> Reply | None:
        """Return the refusal of a sender that is not the account's, None where the dot decides."""
        clause = self.gate.policy.clause(Check.SENDER_IDENTITY)
        enforced = self.config.policy.identity == "enforce" and clause and clause.action is Enforce.REFUSE
        if not enforced or self.gate.observes(account, now):
            return None
        foreign = replies.SENDER_NOT_YOURS
        return replies.make(
            foreign.code, foreign.detail, f"{foreign.text} [{self.gate.policy.cite(Check.SENDER_IDENTITY)}]"
        )

    async def slow(self, session: Session) -> None:
        """Give the upstream connection back during a slow upload; the dot asks again."""
        transaction = _notes(session).transaction
        if transaction and not transaction.replay and transaction.waits is None:
            transaction.replay = True
            await transaction.upstream.abandon()

    async def data(self, session: Session, content: Content) -> Reply:
        """Ask the standing once more, then send the message on its way."""
        notes = _notes(session)
        transaction, notes.transaction = notes.transaction, None
        if transaction is None:
            return replies.MAIL_FIRST
        try:
            people = tuple(to.recipient for to in transaction.recipients)
            if refusal := await self.gate.admit(transaction, people):
                return refusal
            reply = await self.pipeline.receive(session, transaction, content)
            if len(people) == 1 and is_unknown(reply.code, reply.status, reply.text):
                account, now = transaction.account, clock.now()
                self.recipients.tried(account, people[0], now, unknown=True, again=True)
        except (StoreError, ConfigError) as error:
            return self._local_problem(error)
        else:
            self._owes(session, transaction.answer_key, reply)
            return reply
        finally:
            self.gate.ended(transaction)
            if not transaction.handed_over:
                await transaction.upstream.abandon()

    def _owes(self, session: Session, key: bytes, reply: Reply) -> None:
        """Note a reply to a dot; of very many the first is taken as heard, for the client goes on and on."""
        owed = _notes(session).owed
        if key:
            owed[key] = reply
        if len(owed) > MOST_OWED:
            first = next(iter(owed))
            self.pipeline.under_way.settled(first, session, owed.pop(first), heard=True)

    def answered(self, session: Session, *, heard: bool) -> None:
        """Hear whether the client got the reply to its dot: it said something since, or it is gone."""
        notes = _notes(session)
        owed, notes.owed = notes.owed, {}
        for key, reply in owed.items():
            self.pipeline.under_way.settled(key, session, reply, heard=heard)

    async def abandon(self, session: Session) -> None:
        """Drop the open transaction."""
        notes = _notes(session)
        transaction, notes.transaction = notes.transaction, None
        if transaction:
            self.gate.ended(transaction)
            await transaction.upstream.abandon()

    def _local_problem(self, error: StoreError | ConfigError) -> Reply:
        """Return the reply where the store, or a secret's file, cannot be read just now."""
        self.pipeline.metrics.emit(LocalProblem(type(error).__name__, str(error)))
        return replies.LOCAL_PROBLEM

    def _refused(self, transaction: Transaction, why: str, reply: str, case: str = "") -> None:
        self.pipeline.metrics.emit(RecipientRefused(transaction.account.login, why, reply, case))
