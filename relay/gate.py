"""Who may send now, and how much: standing, emergency switches, rates and budgets, at RCPT and the dot.

Everything is answered from memory, but for a recipient that this process does not know yet of an account with
a budget for new correspondents: that is looked up once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from policies import admission, rates, transmission
from policies.admission import Admit, Held
from policies.rates import Limit, Take
from policies.transmission import LEARNING, Check, Clause, Enforce
from relay import clock
from relay.buckets import Buckets, Want, key_of
from relay.events import PolicyBroken, RecipientRefused
from relay.model import Level, Mode, State
from relay.outbox.parcel import Why
from relay.smtp import reply as replies
from relay.store.emergency import Name
from relay.store.limits import Limits
from relay.store.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from policies.decision import Decision
    from policies.transmission import Transmission
    from relay.config import Config
    from relay.forwarding import Transaction
    from relay.model import Account
    from relay.pipeline import Pipeline
    from relay.policy_config import Rates
    from relay.smtp.reply import Reply
    from relay.store.directory import Directory
    from relay.store.emergency import Switches

#: From so much of a limit on its owner is told.
NEAR = 0.9
_RATES = (
    (Check.MESSAGE_RATE, Level.ACCOUNT, "messages"),
    (Check.RECIPIENT_RATE, Level.ACCOUNT, "recipients"),
    (Check.SERVER_RECIPIENT_RATE, Level.SERVER, "server_recipients"),
    (Check.CUSTOMER_RECIPIENT_RATE, Level.CUSTOMER, "customer_recipients"),
)


class Bound(NamedTuple):
    """One rate that binds an account: its clause, whose bucket it is, and the bucket."""

    clause: Clause
    level: Level
    want: Want


@dataclass(frozen=True, slots=True)
class Rules:
    """Every limit of one account; empty ones cost nothing."""

    #: taken once for a message, for each recipient, and for each recipient never written to before
    messages: tuple[Bound, ...] = ()
    recipients: tuple[Bound, ...] = ()
    first_time: tuple[Bound, ...] = ()
    #: recipients of one message
    most: Clause | None = None
    #: measures the recipients of a day, where a clause asks for it
    day: Want | None = None

    @property
    def nothing(self) -> bool:
        """Return whether nothing is limited."""
        return not (self.messages or self.recipients or self.first_time or self.most or self.day)


@dataclass(slots=True)
class Taken:
    """What a transaction has taken of its account's limits, to be given back if it does not go out."""

    message: list[Bound]
    #: for each recipient that was taken
    recipients: list[list[Bound]]


class Gate:
    """One for a process; shared by all doors through which customers send."""

    def __init__(
        self,
        config: Config,
        policy: Transmission,
        directory: Directory,
        pipeline: Pipeline,
        switches: Switches,
        buckets: Buckets | None = None,
    ) -> None:
        self.config = config
        self.directory = directory
        self.pipeline = pipeline
        self.switches = switches
        self.buckets = buckets or Buckets()
        self.limits = Limits(pipeline.store)
        self._observed = Observed(pipeline.store)
        self._keyring = pipeline.keyring
        self._correspondents = pipeline.correspondents
        self._rules: dict[tuple[int, str, bool], Rules] = {}
        self.configure(config, policy)

    def configure(self, config: Config, policy: Transmission) -> None:
        """Take a new configuration and policy."""
        self.config, self.policy = config, policy
        self._rules.clear()

    # --- standing

    async def admit(self, transaction: Transaction, recipients: tuple[str, ...]) -> Reply | None:
        """Return the refusal if a standing of the account, its server or its customer forbids it now.

        Mail of a throttled sender, or under the brake, is taken and waits (`transaction.waits`).
        """
        login = transaction.account.login
        account = self.directory.peek(login) or await self.directory.account(login)
        if account is None:
            return replies.ACCOUNT_CLOSED
        now = clock.now()
        braked = self.switches.on(Name.BRAKE, now)
        if account.effective.state is State.ACTIVE and not braked:
            return None
        if self.observes(account, now) and not braked:
            return None
        escape = all(self._is_escape(to) for to in recipients)
        decision = admission.judge(self._held(account, now), now, escape=escape, braked=braked)
        if decision.action is Admit.YES:
            return None
        if decision.action is Admit.PACE and transaction.may_wait:
            await self._wait(transaction, decision.reason)
            return None
        case = account.effective.case_id or "-"
        if decision.action is Admit.PACE:
            self._refused(transaction, "standing", "450 4.7.1", case)
            text = f"Sending is slowed down ({decision.reason}); try again later, case {case}"
            return replies.make(450, "7.1", text)
        self._refused(transaction, "standing", "550 5.7.1", case)
        return replies.make(
            550, "7.1", f"Sending is off ({decision.reason}). Write to {self._support()} and name case {case}"
        )

    def observes(self, account: Account, now: datetime) -> bool:
        """Return whether nothing bites: the customer is only observed, or staff bypass everything."""
        return account.customer.mode is Mode.OBSERVE or self.switches.on(Name.BYPASS, now)

    def _held(self, account: Account, now: datetime) -> list[Held]:
        if self.observes(account, now):
            return []
        levels = (
            ("account", account.standing),
            ("server", account.server.standing),
            ("customer", account.customer.standing),
        )
        found = [Held(level, standing.state, standing.until, standing.reason) for level, standing in levels]
        own = [
            Held(level, one.state, None, one.reason)
            for level, standing in levels
            if (one := standing.binding) is not standing
        ]
        return found + own

    async def _wait(self, transaction: Transaction, note: str) -> None:
        if transaction.waits is None:
            await transaction.upstream.abandon()
            transaction.waits, transaction.note = Why.PACED, note

    # --- rates and budgets

    async def take(self, transaction: Transaction, recipient: str) -> Reply | None:
        """Take one recipient from every limit that binds, or return the refusal; StoreError."""
        account, now = transaction.account, clock.now()
        rules = self._rules_of(account, now)
        half_open = account.standing.half_open(now)
        if rules.nothing and not half_open:
            return None
        if (
            rules.most
            and len(transaction.recipients) >= (rules.most.most or 0)
            and (reply := self._broken(transaction, rules.most, ""))
        ):
            return reply
        new = False
        if (rules.first_time or half_open) and all(
            to.recipient != recipient for to in transaction.recipients
        ):
            hashed = self._keyring.recipient_hash(account.customer.id, recipient)
            new = not await self._correspondents.knows(account, hashed)
        if half_open:
            await self._take_little(transaction, new=new, now=now)
        return self._take(transaction, rules, new=new, now=now)

    def _take(self, transaction: Transaction, rules: Rules, *, new: bool, now: datetime) -> Reply | None:
        taken: Taken = transaction.taken or Taken([], [])
        first = [] if transaction.taken else list(rules.messages)
        each = [*rules.recipients, *(rules.first_time if new else ())]
        if rules.day:
            self.buckets.measure(rules.day, now)
        while first or each:
            bound = [*first, *each]
            decision, blamed, used = self.buckets.take([one.want for one in bound], now)
            self._tell(transaction.account, bound, used, now)
            if blamed is None:
                break
            late = next(one for one in bound if one.want == blamed)
            if reply := self._late(transaction, late, decision, now):
                return reply
            first, each = [one for one in first if one != late], [one for one in each if one != late]
        taken.message += first
        taken.recipients.append(each)
        transaction.taken = taken
        return None

    async def _take_little(self, transaction: Transaction, *, new: bool, now: datetime) -> None:
        """Let what is too much for an account that has just come back wait; known recipients cost less."""
        cost = rates.half_open_cost(int(not new), int(new))
        want = Want(key_of("half open", transaction.account.id), rates.HALF_OPEN_PACE)
        decision, _, _ = self.buckets.take([want], now, cost)
        if decision.action is not Take.TAKEN and transaction.may_wait:
            await self._wait(transaction, "the account came back a short while ago")

    def refused(self, transaction: Transaction) -> None:
        """Give back what the newest recipient took: its server did not want it."""
        taken: Taken | None = transaction.taken
        if taken and taken.recipients:
            self._give_back(taken.recipients.pop())

    def ended(self, transaction: Transaction) -> None:
        """Give back everything of a transaction that did not go out; harmless twice."""
        taken: Taken | None = transaction.taken
        transaction.taken = None
        if taken and not transaction.relayed:
            self._give_back([*taken.message, *(one for each in taken.recipients for one in each)])

    def _give_back(self, bound: list[Bound]) -> None:
        if bound:
            now = clock.now()
            for one in bound:
                self.buckets.give_back([one.want], now)

    def recipients_today(self, account: Account) -> int:
        """Return about how many recipients an account wrote to within a day, where a clause asks for it."""
        day = self._rules_of(account, clock.now()).day
        return round(self.buckets.used(day, clock.now()) * day.limit.amount) if day else 0

    def looping(self, account: Account, recipient: str) -> bool:
        """Count an automatic answer to an address, and return whether there are too many."""
        hashed = self._keyring.recipient_hash(account.customer.id, recipient)
        want = Want(key_of("automatic answers", account.id, hashed.hex()), rates.ANSWERS)
        return self.buckets.take([want], clock.now())[0].action is not Take.TAKEN

    def _late(
        self, transaction: Transaction, late: Bound, decision: Decision[Take], now: datetime
    ) -> Reply | None:
        """Return the refusal where a limit is used up, None where that is only recorded."""
        seconds = int(decision.numbers.get("wait_seconds", 0))
        wait = f" It has room again in {_spell(seconds)}." if seconds else ""
        self._tell(transaction.account, [late], [1.0], now)
        return self._broken(transaction, late.clause, wait, never=decision.action is Take.NEVER)

    def _broken(
        self, transaction: Transaction, clause: Clause, wait: str, *, never: bool = False
    ) -> Reply | None:
        account, now = transaction.account, clock.now()
        cite = self.policy.cite(clause.check)
        action = Enforce.FLAG if self.observes(account, now) else clause.action
        text = f"{transmission.say(clause)}{wait} [{cite}]"
        if clause.action is not Enforce.FLAG:
            would = {"action": str(clause.action), "reason": text, "clause": cite}
            self.would(account, f"clause {clause.number}", would, now)
        self.pipeline.metrics.emit(PolicyBroken(account.login, cite, clause.check, action, text))
        if action is Enforce.FLAG:
            return None
        if action is Enforce.REFUSE or never:
            detail = "5.3" if clause.check is Check.RECIPIENTS else "7.1"
            self._refused(transaction, "limit", f"550 5.{detail}")
            return replies.make(550, detail, text)
        self._refused(transaction, "limit", "450 4.7.1")
        return replies.make(450, "7.1", text)

    def would(self, account: Account, by: str, fact: Mapping[str, str], now: datetime) -> None:
        """Note what would have been refused, if its customer is only observed."""
        if account.customer.mode is Mode.OBSERVE:
            self._observed.would(account.id, by, fact, now)

    def _tell(self, account: Account, bound: list[Bound], used: list[float], now: datetime) -> None:
        for one, full in zip(bound, used, strict=True):
            if full >= NEAR and not self.observes(account, now):
                subject = _subject(account, one.level)
                self.limits.reached(one.level, subject, self._fact(one, full), now)

    def _fact(self, one: Bound, full: float) -> dict[str, str | int]:
        """Return what a case of a limit keeps."""
        percent = 100 if full >= 1.0 else 90
        clause = one.clause
        text = f"{percent} % of a limit is used: {transmission.say(clause)}"
        return {
            "check": str(clause.check), "clause": self.policy.cite(clause.check), "percent": percent,
            "limit": one.want.limit.amount, "reason": text,
            "per_seconds": int(one.want.limit.per.total_seconds()),
        }  # fmt: skip

    def _rules_of(self, account: Account, now: datetime) -> Rules:
        created = account.created_at
        learns = created is not None and now - created < LEARNING
        key = (account.id, account.klass, learns)
        found = self._rules.get(key)
        if found is None:
            if len(self._rules) > 100_000:
                self._rules.clear()
            found = self._rules[key] = self._bind(account, learns=learns)
        return found

    def _bind(self, account: Account, *, learns: bool) -> Rules:
        klass = str(account.klass)
        bound = {check: self._rate(account, check, level, name) for check, level, name in _RATES}
        message = bound.pop(Check.MESSAGE_RATE)
        check = Check.FIRST_TIME_NEW if learns else Check.FIRST_TIME
        budget = self.policy.clause(check)
        first = self._bound(account, budget, Level.ACCOUNT, budget.rate) if budget else None
        most, bulk = self.policy.clause(Check.RECIPIENTS), self.policy.clause(Check.ONE_CLICK)
        day = None
        if bulk and bulk.binds(klass) and bulk.most:
            day = Want(key_of("recipients of a day", account.id), Limit(bulk.most, rates.DAY))
        return Rules(
            messages=(message,) if message else (),
            recipients=tuple(one for one in bound.values() if one),
            first_time=(first,) if first else (),
            most=most if most and most.binds(klass) else None,
            day=day,
        )

    def _rate(self, account: Account, check: Check, level: Level, name: str) -> Bound | None:
        """Return the rate of a check: as configured for the customer, the class or all, or the clause's."""
        own = self.config.rates
        configured: list[Rates | None] = [
            own.by_customer.get(account.customer.name), own.by_class.get(account.klass), own,
        ]  # fmt: skip
        clause = self.policy.clause(check)
        if clause is None:
            return None
        for one in configured:
            limit: Limit | str = getattr(one, name) if one else ""
            if isinstance(limit, Limit):
                action = Enforce.WAIT if clause.action is Enforce.OFF else clause.action
                named = replace(limit, name=clause.title)
                changed = replace(clause, rate=named, action=action, classes=())
                return self._bound(account, changed, level, named)
        return self._bound(account, clause, level, clause.rate)

    def _bound(self, account: Account, clause: Clause, level: Level, limit: Limit | None) -> Bound | None:
        if limit is None or not clause.binds(str(account.klass)):
            return None
        subject = _subject(account, level)
        return Bound(clause, level, Want(key_of(clause.check, level, subject, limit.per), limit))

    # --- words

    def _support(self) -> str:
        return next(iter(self.config.policy.support_addresses), f"postmaster@{self.config.hostname}")

    def _is_escape(self, recipient: str) -> bool:
        address = recipient.lower()
        local, _, domain = address.partition("@")
        ours = domain in ("", self.config.hostname, self.config.signing.domain)
        return (local in ("postmaster", "abuse") and ours) or address in self.config.policy.support_addresses

    def _refused(self, transaction: Transaction, why: str, reply: str, case: str = "") -> None:
        self.pipeline.metrics.emit(RecipientRefused(transaction.account.login, why, reply, case))


def _subject(account: Account, level: Level) -> int:
    match level:
        case Level.ACCOUNT:
            return account.id
        case Level.SERVER:
            return account.server.id
        case Level.CUSTOMER:
            return account.customer.id


def _spell(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return f"{minutes} minutes" if minutes < 120 else f"{-(-minutes // 60)} hours"
