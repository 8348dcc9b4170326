"""What becomes of a screened message under what its sender agreed to: the clauses, the score, the mode."""

from __future__ import annotations

import dataclasses
import re
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from policies import acceptance, transmission
from policies.acceptance import Action
from policies.decision import Decision
from policies.transmission import Check, Enforce
from relay.events import PolicyBroken
from relay.model import Mode
from relay.outbox.parcel import FOREIGN_SENDER
from screening.magic import ending
from screening.rules.identity import identity_fault, sender_allowed
from screening.verdict import Hit

if TYPE_CHECKING:
    from collections.abc import Callable

    from policies.transmission import Breach, Clause, Transmission
    from relay.config import Config
    from relay.metrics import Metrics
    from relay.model import Account
    from screening.mail import Mail
    from screening.verdict import Verdict

#: Hits of broken clauses are this and the clause's number; they have no score.
BROKEN = "policy_"
#: What of refusals is about words and people, and so tells something of the sender.
_TELLING = (Check.SENDER_IDENTITY, Check.ATTACHMENT_KINDS)
#: what changes with every update of a mail program
_VERSION = re.compile(r"[\d.]+|\(.*")


class Conduct:
    """Adds what a message broke to its verdict, and decides; one for a process. Pure but for its events."""

    def __init__(self, config: Config, metrics: Metrics | None) -> None:
        """Take None for `metrics` where nobody is to hear of what was broken."""
        self.config = config
        self.metrics = metrics
        #: what senders agree to
        self.transmission: Transmission = transmission.load()
        #: tells whether a domain belongs to another customer than the one of this id
        self.foreign: Callable[[int, str], bool] = lambda _customer_id, _domain: False
        #: staff let everything pass for a while
        self.bypassed: Callable[[], bool] = lambda: False
        #: counts an automatic answer, and tells whether it is one too many
        self.looping: Callable[[Account, str], bool] = lambda _account, _recipient: False
        #: recipients of an account within a day, as far as a clause asks
        self.recipients_24h: Callable[[Account], int] = lambda _account: 0

    def decide(self, account: Account, verdict: Verdict) -> Decision[Action]:
        """Turn a verdict into what happens; a customer in `observe` is never refused."""
        settings = self.config.screening
        thresholds = _thresholds(settings.tag, settings.hold, settings.refuse)
        defer = settings.failure == "defer"
        decision = acceptance.judge(
            verdict.score,
            verdict.malformed,
            acceptance.Missing(len(verdict.unanswered), verdict.defers, verdict.holds)
            if verdict.unanswered
            else _NOTHING_MISSING,
            thresholds,
            screened="patterns" not in verdict.unanswered,
            defer_on_failure=defer,
        )
        if not settings.enabled and not verdict.malformed:
            decision = Decision(decision.action, "screening is off", decision.numbers)
        if verdict.hits:
            decision = self._for_hits(decision, verdict)
        if decision.action is Action.DELIVER:
            return decision
        if account.customer.mode is Mode.OBSERVE or self.bypassed():
            reason = f"observed only, would {decision.action}: {decision.reason}"
            return dataclasses.replace(decision, action=Action.DELIVER, reason=reason)
        return decision

    def _for_hits(self, decision: Decision[Action], verdict: Verdict) -> Decision[Action]:
        """Return what a foreign sender and broken clauses make of a decision."""
        foreign = next((hit.evidence for hit in verdict.hits if hit.rule == FOREIGN_SENDER), "")
        if foreign and self.config.policy.identity == "flag" and decision.action is Action.DELIVER:
            decision = dataclasses.replace(decision, action=Action.TAG, reason=foreign)
        broken = next((hit for hit in verdict.hits if hit.rule.startswith(BROKEN)), None)
        if broken and decision.action is not Action.REFUSE:
            decision = self._for_breach(decision, broken)
        return decision

    def _for_breach(self, decision: Decision[Action], broken: Hit) -> Decision[Action]:
        """Return what the strictest broken clause makes of a decision."""
        number = broken.rule.removeprefix(BROKEN)
        clause = next((one for one in self.transmission.clauses if one.number == number), None)
        if clause is None or clause.action is Enforce.FLAG:
            return decision
        numbers = {"clause": self.transmission.cite(clause.check), "breach": str(clause.action)}
        return Decision(Action.REFUSE, broken.evidence, numbers)

    def _breaches(self, account: Account, mail: Mail) -> tuple[Breach, ...]:
        """Return the clauses that a message breaks, the strictest first."""
        fault = self._identity_fault(account, mail) if self.config.policy.identity == "enforce" else ""
        policy, klass = self.transmission, str(account.klass)
        files, bulk = policy.clause(Check.ATTACHMENT_KINDS), policy.clause(Check.ONE_CLICK)
        one_click = mail.has("list-unsubscribe") and mail.has("list-unsubscribe-post")
        asks = not one_click and bulk is not None and bulk.binds(klass)
        return policy.breaches(
            transmission.Message(
                klass=klass,
                recipients=len(mail.envelope.recipients),
                size_bytes=len(mail.raw),
                tls=bool(mail.envelope.tls),
                attachment_kinds=_kinds(mail) if self._looks_inside(files, klass) else (),
                one_click=one_click,
                recipients_24h=self.recipients_24h(account) if asks else 0,
                identity_fault=fault,
            )
        )

    def _looks_inside(self, clause: Clause | None, klass: str) -> bool:
        """Return whether a clause asks for the files in a message; nobody does where screening is off."""
        return self.config.screening.enabled and clause is not None and clause.binds(klass)

    def _identity_fault(self, account: Account, mail: Mail) -> str:
        return identity_fault(mail, account.senders, self._stranger_to(account))

    def _stranger_to(self, account: Account) -> Callable[[str], bool]:
        return lambda domain: self.foreign(account.customer.id, domain)

    def identified(self, account: Account, mail: Mail, verdict: Verdict) -> Verdict:
        """Add a hit for every broken clause, and for a foreign sender that is flagged or only observed."""
        if breaches := () if verdict.malformed else self._breaches(account, mail):
            hits = [Hit(f"{BROKEN}{one.clause.number}", 0.0, one.reason) for one in breaches]
            verdict = dataclasses.replace(verdict, hits=(*verdict.hits, *hits))
            self._tell(account, breaches)
        if self.config.policy.identity == "enforce":
            return verdict
        sender = mail.envelope.sender
        fault = self._identity_fault(account, mail)
        if not fault and sender and not sender_allowed(sender, account.senders, self._stranger_to(account)):
            fault = "The envelope sender does not belong to this account."
        if not fault:
            return verdict
        return dataclasses.replace(verdict, hits=(*verdict.hits, Hit(FOREIGN_SENDER, 0.0, fault)))

    def _tell(self, account: Account, breaches: tuple[Breach, ...]) -> None:
        if self.metrics is None:
            return
        for one in breaches:
            self.metrics.emit(
                PolicyBroken(account.login, one.citation, one.clause.check, one.clause.action, one.reason)
            )

    def loops(self, account: Account, mail: Mail) -> bool:
        """Return whether an automatic answer is one of too many to the same address: braked, not punished.

        RFC 3834 §4: what answers by itself says so in Auto-Submitted.
        """
        people = mail.envelope.recipients
        if len(people) != 1 or not mail.has("auto-submitted"):
            return False
        if mail.header("auto-submitted").strip().lower().startswith("no") or self.bypassed():
            return False
        return account.customer.mode is Mode.ENFORCE and self.looping(account, people[0])

    def reports_spam(self, mail: Mail) -> bool:
        """Return whether a message goes to addresses for reports of spam alone: it does not count as spam."""
        samples = self.config.policy.sample_addresses
        people = mail.envelope.recipients
        return bool(people) and all(to.lower().startswith("abuse@") or to.lower() in samples for to in people)

    def tells(self, decision: Decision[Action]) -> bool:
        """Return whether a message was refused for what it said or whom it named."""
        if decision.action is not Action.REFUSE:
            return False
        cited = decision.numbers.get("clause", "")
        return "threshold" in decision.numbers or cited in {self.transmission.cite(one) for one in _TELLING}


_thresholds = lru_cache(maxsize=8)(acceptance.Thresholds)
_NOTHING_MISSING = acceptance.Missing()


def _kinds(mail: Mail) -> tuple[str, ...]:
    """Return what the attachments are, by their bytes and by their names."""
    files = mail.attachments
    return tuple(kind for one in files for kind in (one.kind, *(ending(name) for name in one.filenames)))


def program(mail: Mail) -> str:
    """Return the hashed name of the mail program, without its version; "" where it has none."""
    return _program((mail.header("user-agent") or mail.header("x-mailer"))[:200])


@lru_cache(maxsize=1024)
def _program(name: str) -> str:
    words = _VERSION.sub("", name).strip().lower()
    return blake2b(words.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest() if words else ""
