"""The control process decides: numbers of an account through the ladder to a standing, with its evidence.

Compare-and-set in one transaction with case, audit entry and change row: two processes that see the same
storm make one suspension. Standings that have had their time end here too.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from policies import ladder as ladders
from policies import transmission
from policies.standing import (
    HALF_OPEN,
    Move,
    Next,
    StandingNow,
    after,
    breaker,
    falling_together,
    half_open,
    returned,
    returns_within,
    soften,
)
from policies.transmission import Check
from relay import ids
from relay.clock import micros
from relay.errors import Conflict, NotFound, StoreError
from relay.events import BreakerOpened, StandingChanged
from relay.model import Level, Mode, Standing, State
from relay.store import accounts, audit, changes, complaints, decisions, journal, judging, logins, tallies
from relay.store.schema import SPAM_SCORE
from relay.store.standing import ending, lock, set_standing, standing_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from policies.decision import Decision
    from policies.ladder import Ladder, Step
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.model import Account
    from relay.store.engine import Store
    from relay.store.tallies import Counted

#: A warning about the same thing is given once in this time.
WARN_AGAIN = timedelta(hours=24)
#: So many accounts of before a restart are judged with each sweep.
BACKLOG_PER_SWEEP = 50
#: Counters are looked at so often; spam-like messages and reports with every sweep.
COUNT_AGAIN = timedelta(seconds=1)
#: Rows of the journal may be so late.
_LATE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the ladder says of an account now, and from what."""

    account: Account
    counted: Counted
    decision: Decision[Step]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about an account: the next standing (None: words alone), and what holds it back."""

    judged: Judged
    following: Next | None
    held: str


class Judge:
    """Holds the ladder and how far it has read; one in the control process."""

    def __init__(
        self, store: Store, keyring: Keyring, ladder: Ladder | None, metrics: Metrics | None = None
    ) -> None:
        self.ladder = ladder
        #: what senders agree to, for decisions to cite
        self.policy = transmission.load()
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._seq: int | None = None
        self._seen_us = 0
        #: counters of the last minutes as they were when they were last looked at
        self._counts: dict[tuple[int, str], int] = {}
        self._counted_at: datetime | None = None
        #: accounts still to be judged, a few at a time behind the news: those that had reports before this
        #: process began, and those that a fault of the store, or another writer, kept from their turn
        self._backlog: set[int] = set()

    async def sweep(self, now: datetime) -> list[str]:
        """End standings whose time is over, judge every account with news; the ids of the cases made."""
        if self.ladder is None:
            return []
        cases: list[str] = []
        over, news = await self._store.query(lambda tx: (ending(tx, now), self._news(tx, now)))
        for level, subject, standing in over:
            with suppress(Conflict):  # somebody else was first; the next sweep looks again
                case = await self._write(
                    lambda tx, a=level, b=subject, c=standing: self._end(tx, a, b, c, now)
                )
                cases += [case] if case else []
        behind = sorted(self._backlog.difference(news))[:BACKLOG_PER_SWEEP]
        for account_id in (*news, *behind):
            cases += await self._consider(account_id, now)
        return cases

    async def _consider(self, account_id: int, now: datetime) -> list[str]:
        """Judge by a read first: most accounts with news keep their standing, and cost no commit."""
        self._backlog.discard(account_id)
        try:
            if await self._store.query(lambda tx: self._plan(tx, account_id, now)) is None:
                return []
            case = await self._write(lambda tx: self._decide(tx, account_id, now))
        except Conflict:
            self._backlog.add(account_id)
            return []
        except StoreError:
            self._backlog.add(account_id)
            raise
        return [case] if case else []

    async def _write(self, work: Any) -> str | None:
        made: tuple[str, StandingChanged] | None = await self._store.write(work)
        if made is None:
            return None
        if self._metrics is not None:
            self._metrics.emit(made[1])
        return made[0]

    def _news(self, tx: Connection, now: datetime) -> list[int]:
        """Return accounts with new reports, spam-like messages or unknown recipients since the last sweep."""
        if self._seq is None:
            self._seq = changes.latest(tx)
            self._backlog = complaints.accounts_with_reports(tx, now - tallies.WINDOW)
            found: set[int] = set()
        else:
            found = set()
            while heard := changes.since(tx, self._seq):
                found |= {int(one.key) for one in heard if one.kind == changes.JUDGE}
                self._seq = heard[-1].seq
                self._backlog |= found  # news are told once: who is not judged now is judged later
        found |= self._active(tx, now)
        self._backlog |= found
        self._seen_us = micros(now)
        return sorted(found)

    def _active(self, tx: Connection, now: datetime) -> set[int]:
        """Return accounts whose fast numbers have moved."""
        found: set[int] = set()
        if self._seen_us:
            start = max(self._seen_us - micros_of(_LATE), micros(now - timedelta(minutes=10)))
            found = judging.with_spam(tx, start, SPAM_SCORE)
        # abs: after the clock was set back, too
        if self._counted_at is None or abs(now - self._counted_at) >= COUNT_AGAIN:
            counts, first = judging.recent_counts(tx, now), self._counted_at is None
            found |= set() if first else judging.grown(self._counts, counts)
            self._counts, self._counted_at = counts, now
        return found

    # -- one account -------------------------------------------------------------------------------

    def _judged(self, tx: Connection, account_id: int, now: datetime) -> Judged | None:
        try:
            account = accounts.account_by_id(tx, account_id)
        except NotFound:
            return None
        if account.standing.state is State.CLOSED or self.ladder is None:
            return None
        counted = tallies.count(tx, self._keyring, account, now)
        decision = ladders.judge(self.ladder, counted.tally, _standing_now(tx, account, now), now)
        return Judged(account, counted, decision)

    def _plan(self, tx: Connection, account_id: int, now: datetime) -> Plan | None:
        """Return what the ladder asks for, None where that is in force or said already."""
        judged = self._judged(tx, account_id, now)
        if judged is None or judged.decision.action.action is Move.KEEP:
            return None
        account, step = judged.account, judged.decision.action
        move, held = self._softened(tx, now, step.action)
        state = account.standing.state
        following = after(str(state), move, now, step.duration)
        # what the breaker holds back is said even of an account that is paced or off already: staff decide
        kept = bool(held) and after(str(state), step.action, now, step.duration) is not None
        says = kept or (move is Move.WARN and state.may_send)
        if following is None and not says and not step.blocks_credential:
            return None
        said_only = following is None or account.customer.mode is Mode.OBSERVE
        if said_only and self._said_before(tx, account, step.name, now):
            return None
        return Plan(judged, following, held)

    def _decide(self, tx: Connection, account_id: int, now: datetime) -> tuple[str, StandingChanged] | None:
        lock(tx, Level.ACCOUNT, account_id)  # two nodes give one warning
        plan = self._plan(tx, account_id, now)
        if plan is None:
            return None
        judged, following, held = plan.judged, plan.following, plan.held
        account, step = judged.account, judged.decision.action
        observed = account.customer.mode is Mode.OBSERVE
        if step.blocks_credential and not observed:
            self._block_credentials(tx, account, now)
        state = following.state if following and not observed else account.standing.state
        standing = Standing(
            state=state,
            since=now,
            until=following.until if following else None,
            reason=judged.decision.reason,
            case_id=ids.case_id(),
            set_by=decisions.POLICY,
            version=account.standing.version,
        )
        evidence = self._evidence(tx, judged, now, held=held, observed=observed)
        self._write_case(tx, now, account, step.name, standing, evidence)
        if state is not account.standing.state:
            set_standing(
                tx, now, Level.ACCOUNT, account.id, standing, expected_version=account.standing.version
            )
            self._server_falls(tx, account, now)
        if held and self._metrics is not None:
            self._metrics.emit(BreakerOpened(str(standing.case_id), held))
        return str(standing.case_id), _changed(f"account {account.login}", standing)

    def _softened(self, tx: Connection, now: datetime, move: Move) -> tuple[Move, str]:
        """Return the move that the circuit breaker leaves, and why it holds back."""
        if move not in (Move.DEACTIVATE, Move.SUSPEND):
            return move, ""
        state = breaker(decisions.switched_off(tx, now), judging.active_accounts(tx))
        left = soften(move, state.action)
        return left, "" if left is move else f"circuit breaker: {state.reason}; staff decide"

    def _said_before(self, tx: Connection, account: Account, step: str, now: datetime) -> bool:
        recent = decisions.timeline(tx, Level.ACCOUNT, account.id, since=now - WARN_AGAIN)
        return any(case.step == step for case in recent)

    def _block_credentials(self, tx: Connection, account: Account, now: datetime) -> None:
        """Block what was used within a day; if nobody knows which, all of them: the owner sets a new one."""
        used = {
            login.credential_id
            for login in logins.history(tx, account.id)
            if login.ok and login.credential_id is not None and now - login.at < timedelta(days=1)
        }
        for credential in account.credentials:
            if not credential.blocked and (not used or credential.id in used):
                accounts.block_credential(tx, now, credential.id, True)  # noqa: FBT003

    def _evidence(
        self, tx: Connection, judged: Judged, now: datetime, *, held: str, observed: bool
    ) -> dict[str, Any]:
        """Return everything that the decision was made from, for `explain`."""
        counted, account = judged.counted, judged.account
        if self.ladder is None:
            return {}
        day = journal.DAY_US
        first, last = micros(counted.since) // day, micros(now) // day
        cohort = tallies.by_day(tx, account.id, first, last, counted.covered)
        return {
            **ladders.evidence(self.ladder, judged.decision, now),
            **counted.facts(),
            "window_days": tallies.WINDOW.days,
            "cohort": {str(number): relayed for number, relayed in sorted(cohort.items())},
            "complaints": complaints.vote_ids(tx, account.id, counted.since),
            "mode": str(account.customer.mode),
            "clause": self._clause(judged.decision.numbers),
            "held_back": held or ("the customer is observed only" if observed else ""),
        }

    def _clause(self, numbers: Mapping[str, object]) -> str:
        """Return the clause that a step rests on, from the numbers that it looked at."""
        if any(name in numbers for name in ("votes", "hard_bounces", "unknown_recipients_1h")):
            return self.policy.cite(Check.COMPLAINTS)
        return self.policy.cite(Check.SPAM)

    def _write_case(
        self,
        tx: Connection,
        now: datetime,
        account: Account,
        step: str,
        standing: Standing,
        evidence: Mapping[str, Any],
    ) -> None:
        before = account.standing.state
        set_by = decisions.OBSERVING if account.customer.mode is Mode.OBSERVE else decisions.POLICY
        decisions.add(
            tx, now, case_id=str(standing.case_id), level=Level.ACCOUNT, subject_id=account.id, step=step,
            from_state=before, to_state=standing.state, until=standing.until, reason=standing.reason,
            evidence=evidence, set_by=set_by,
        )  # fmt: skip
        audit.append(
            tx,
            now,
            decisions.POLICY,
            f"account {step}",
            f"account {account.login}",
            standing.reason,
            {
                "case_id": standing.case_id,
                "before": str(before),
                "after": str(standing.state),
                "evidence_sha256": fingerprint(evidence),
            },
        )

    def _server_falls(self, tx: Connection, account: Account, now: datetime) -> None:
        """Raise the server's own case when many of its accounts fall within a day."""
        server = account.server
        number, total = judging.fallen(tx, server.id, now - timedelta(hours=24))
        recent = decisions.timeline(tx, Level.SERVER, server.id, since=now - WARN_AGAIN)
        if not falling_together(number, total) or any(case.step == "accounts_fall" for case in recent):
            return
        reason = f"{number} of its {total} accounts were switched off within 24 h: look at the server itself"
        decisions.add(
            tx, now, case_id=ids.case_id(), level=Level.SERVER, subject_id=server.id, step="accounts_fall",
            from_state=server.standing.state, to_state=server.standing.state, until=None, reason=reason,
            evidence={"fallen_24h": number, "accounts": total}, set_by=decisions.POLICY,
        )  # fmt: skip
        audit.append(tx, now, decisions.POLICY, "server accounts_fall", f"server {server.name}", reason)

    # -- the end of a timed standing -----------------------------------------------------------

    def _end(
        self, tx: Connection, level: Level, subject: int, standing: Standing, now: datetime
    ) -> tuple[str, StandingChanged] | None:
        current = standing_of(tx, level, subject)
        following = returned(str(current.state), current.until, now)
        if current.version != standing.version or following is None:
            return None
        reason = f"the time of {current.state} is over; only what is sent from now on counts"
        was_off = current.state is State.DEACTIVATED and current.set_by == decisions.POLICY
        ends = now + HALF_OPEN if was_off else None
        fresh = Standing(State.ACTIVE, now, ends, reason, ids.case_id(), decisions.POLICY)
        decisions.add(
            tx, now, case_id=str(fresh.case_id), level=level, subject_id=subject, step=decisions.RETURN,
            from_state=current.state, to_state=State.ACTIVE, until=None, reason=reason,
            evidence={"was_set_by": current.set_by, "case_id": current.case_id}, set_by=decisions.POLICY,
        )  # fmt: skip
        name = f"{level} {_name(tx, level, subject)}"
        audit.append(tx, now, decisions.POLICY, f"{level} return", name, reason, {"case_id": fresh.case_id})
        set_standing(tx, now, level, subject, fresh, expected_version=current.version)
        return str(fresh.case_id), _changed(name, fresh)


def micros_of(span: timedelta) -> int:
    """Return a span as integer microseconds."""
    return span // timedelta(microseconds=1)


def fingerprint(evidence: Mapping[str, Any]) -> str:
    """Return the SHA-256 of evidence as JSON; it is chained into the audit log."""
    return hashlib.sha256(json.dumps(evidence, sort_keys=True).encode()).hexdigest()


def _standing_now(tx: Connection, account: Account, now: datetime) -> StandingNow:
    returns = judging.automatic_returns(tx, account.id, now - tallies.WINDOW)
    return StandingNow(
        state=str(account.standing.state),
        automatic_returns_30d=returns_within(returns, now),
        klass=str(account.klass),
        half_open=half_open(max(returns, default=None), now),
        credential_blocked=bool(account.credentials) and all(one.blocked for one in account.credentials),
    )


def _changed(subject: str, standing: Standing) -> StandingChanged:
    return StandingChanged(
        subject=subject,
        to_state=str(standing.state),
        set_by=standing.set_by,
        case_id=str(standing.case_id),
        reason=standing.reason,
    )


def _name(tx: Connection, level: Level, subject: int) -> str:
    match level:
        case Level.ACCOUNT:
            return accounts.account_by_id(tx, subject).login
        case Level.SERVER:
            return accounts.server_of(tx, subject).name
        case Level.CUSTOMER:
            return accounts.customer_by_id(tx, subject).name
