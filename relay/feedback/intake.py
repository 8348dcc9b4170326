"""Takes reports in: parse, authenticate, open the token, grade, record once; relay.feedback.judge decides.

Everything that a report can change happens in one transaction; what changes nothing (a replay, a forgery)
costs one read and no commit.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import dns.exception
import dns.resolver

from relay.dns import Found, Resolver
from relay.events import ReportTaken
from relay.feedback import attribution, witness
from relay.feedback.attribution import Attribution, Claim, Effect, Named, Sent, Witness
from relay.feedback.door import FeedbackDoor
from relay.feedback.judge import Judge
from relay.feedback.reading import read
from relay.feedback.report import Kind, RecipientStatus
from relay.feedback.steps import (
    Checked,
    Known,
    Looked,
    Outcome,
    Received,
    conclude,
    digest,
    name_of,
    sent_us,
)
from relay.model import AccountClass, Grade
from relay.signing import token
from relay.store import audit, changes, complaints, reporters, suppression
from relay.store.complaints import Vote

__all__ = ["FeedbackDoor", "Intake", "Outcome"]

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from policies.ladder import Ladder
    from relay.config import Config
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.store.complaints import Sender
    from relay.store.engine import Store
    from relay.store.reporters import Reporter

_WAITING = "reports that wait"
#: beyond this a report is parsed off the event loop
LARGE_BYTES = 8 * 1024


class Intake:
    """One for a process; only the control process calls `sweep`."""

    def __init__(
        self,
        config: Config,
        store: Store,
        keyring: Keyring,
        ladder: Ladder | None,
        metrics: Metrics | None = None,
        txt: Callable[[str], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        """Join the parts; `txt` looks up DNS (relay.dns otherwise)."""
        self._config = config
        self._store = store
        self._keyring = keyring
        self._metrics = metrics
        self._resolver = Resolver()
        self._txt = txt or self._lookup
        self._judge = Judge(store, keyring, ladder, metrics)

    @classmethod
    def for_import(cls, config: Config, store: Store, keyring: Keyring) -> Intake:
        """Return an intake that records and never decides: for the command line."""
        return cls(config, store, keyring, None)

    def configure(self, config: Config) -> None:
        """Take a reloaded configuration."""
        self._config = config

    @property
    def ladder(self) -> Ladder | None:
        """The ladder in force; a reload sets another."""
        return self._judge.ladder

    @ladder.setter
    def ladder(self, ladder: Ladder) -> None:
        self._judge.ladder = ladder

    async def take(
        self, raw: bytes, now: datetime, *, trusted: bool = False, vouched_by: str = ""
    ) -> Outcome:
        """Take one report in; StoreError if it could not be recorded (the sender tries again)."""
        if len(raw) > LARGE_BYTES:
            received = await asyncio.to_thread(self._receive, raw, trusted=trusted, vouched_by=vouched_by)
        else:
            received = self._receive(raw, trusted=trusted, vouched_by=vouched_by)
        first = await self._store.query(lambda tx: self._first(tx, received, now))
        if first.names:
            records = {name: await self._txt(name) for name in first.names}
            first = await self._store.query(lambda tx: self._then(tx, received, first.claimed, records, now))
        if not first.changes_something:
            return self._tell(conclude(received, first.known, grown=0))
        if first.known.attribution.grade is Grade.C:
            # It moves nothing: written with what comes next, so that a flood costs no commit each.
            self._store.write_later(lambda tx: self._record(tx, first.checked, now))
            return self._tell(conclude(received, first.known, grown=0))
        return self._tell(await self._store.write(lambda tx: self._record(tx, first.checked, now)))

    def record(self, raw: bytes, now: datetime, *, trusted: bool = False, vouched_by: str = "") -> Outcome:
        """Take one report in from outside the daemon: recorded now, judged by the running control process."""
        received = self._receive(raw, trusted=trusted, vouched_by=vouched_by)
        with self._store.read() as tx:
            first = self._first(tx, received, now)
            if first.names:
                records = {name: _ask(name) for name in first.names}
                first = self._then(tx, received, first.claimed, records, now)
        if not first.changes_something:
            return self._tell(conclude(received, first.known, grown=0))
        with self._store.begin() as tx:
            return self._tell(self._record(tx, first.checked, now))

    async def sweep(self, now: datetime) -> list[str]:
        """Judge accounts with news and end standings whose time is over; the ids of the cases made."""
        return await self._judge.sweep(now)

    # -- steps -------------------------------------------------------------------------------------

    def _receive(self, raw: bytes, *, trusted: bool, vouched_by: str) -> Received:
        report = read(raw)
        for texts, in_original in ((report.tokens, True), (report.stray_tokens, False)):
            for text in texts:
                if (opened := token.open(self._keyring, text)) is not None:
                    return Received(raw, report, opened, in_original, trusted, vouched_by)
        return Received(raw, report, None, in_original=False, trusted=trusted, vouched_by=vouched_by)

    def _first(self, tx: Connection, received: Received, now: datetime) -> Looked:
        """Look with what is at hand; ask for DNS names first where a signature could matter."""
        claimed = witness.candidate(received.report.reporter, reporters.reporters(tx))
        if claimed is None or received.token is None or received.report.kind is Kind.UNKNOWN:
            return self._look(tx, Checked(received, claimed, proven=False), now)
        if names := witness.names_to_ask(received.raw, claimed):
            checked = Checked(received, claimed, proven=False)
            return replace(self._look(tx, checked, now), names=tuple(names))
        return self._then(tx, received, claimed, {}, now)

    def _then(
        self,
        tx: Connection,
        received: Received,
        claimed: Reporter | None,
        records: Mapping[str, Sequence[str]],
        now: datetime,
    ) -> Looked:
        proven = claimed is not None and witness.authentic(received.raw, claimed, records, now)
        return self._look(tx, Checked(received, claimed, proven), now)

    def _look(self, tx: Connection, checked: Checked, now: datetime) -> Looked:
        known = self._know(tx, checked, now)
        changes_something = self._changes(tx, checked.received, known, now)
        if changes_something and self._is_flood(tx, known, now):
            why = f"{known.claim.witness.reporter} reported more in an hour than can be believed: staff look"
            held = replace(known.attribution, grade=Grade.B, why=why, held=True)
            known = replace(known, attribution=held)
            changes_something = self._changes(tx, checked.received, known, now)
        return Looked(checked, known, changes_something)

    def _is_flood(self, tx: Connection, known: Known, now: datetime) -> bool:
        """Return whether one reporter says so much that it is rather broken or taken over (CASES CF-08)."""
        result, reporter = known.attribution, known.claim.witness.reporter
        if result.grade is not Grade.A or result.effect is not Effect.VOTE:
            return False
        return complaints.counted_of(tx, now, reporter) >= complaints.MOST_VOTES_PER_HOUR

    def _note_flood(self, tx: Connection, known: Known, now: datetime) -> None:
        """Tell staff once an hour, in the audit log."""
        reporter = known.claim.witness.reporter
        newest = audit.entries(tx, limit=1, object=f"reporter {reporter}")
        if not newest or now - newest[0].at >= timedelta(hours=1):
            audit.append(tx, now, "policy", "reporter flood", f"reporter {reporter}", known.attribution.why)

    def _know(self, tx: Connection, checked: Checked, now: datetime) -> Known:
        received, claimed = checked.received, checked.claimed
        account, sent, named, covers = None, None, [], frozenset[bytes]()
        if received.token is not None:
            account = complaints.sender(tx, received.token.account_id)
        if account is not None and received.token is not None:
            customer = account.customer_id
            sent = Sent(received.token, complaints.recipients_of(tx, received.token.message_id))
            named = [self._named(customer, address) for address in received.report.recipients]
            covered = claimed.covers if claimed else ()
            covers = frozenset(self._keyring.domain_hash(customer, domain) for domain in covered)
        reporter = claimed.domain if claimed else received.report.reporter
        seen = Witness(reporter or received.vouched_by, checked.proven, received.trusted, covers)
        claim = Claim(received.report, sent, seen, received.in_original, named)
        return Known(account, attribution.attribute(claim, now, self._config.feedback.token_days), claim)

    def _named(self, customer_id: int, address: str) -> Named:
        domain = address.rpartition("@")[2]
        return Named(
            self._keyring.recipient_hash(customer_id, address), self._keyring.domain_hash(customer_id, domain)
        )

    def _meant(self, customer_id: int, status: RecipientStatus, sent: Sent) -> Named | None:
        """Return whom of our message's recipients a status means: as written to, or as passed on to."""
        found = [self._named(customer_id, one) for one in (status.recipient, status.final) if one]
        if sent.recipients is None:
            return found[0] if found else None
        return next((one for one in found if one.recipient_hash in sent.recipients), None)

    def _changes(self, tx: Connection, received: Received, known: Known, now: datetime) -> bool:
        """Return whether recording would write anything; replays and floods of forgeries do not."""
        match received.report.kind:
            case Kind.UNKNOWN:
                return self._is_puzzle(received) and not complaints.waits(tx, digest(received.raw))
            case Kind.BOUNCE:
                return self._is_news(tx, known)
        if known.attribution.effect in (Effect.VOTE, Effect.WITHDRAW):
            return complaints.raises(tx, self._votes(received, known))
        if complaints.exists(tx, name_of(received, known)):
            return False
        full = complaints.unattributed_within(tx, now) >= complaints.MOST_UNATTRIBUTED_PER_HOUR
        return known.attribution.grade is not Grade.C or not full

    def _is_puzzle(self, received: Received) -> bool:
        """Return whether staff should look: recognised other reports and automatic replies need no look."""
        return not received.report.feedback_type and "automatic" not in " ".join(received.report.faults)

    def _is_news(self, tx: Connection, known: Known) -> bool:
        if known.account is None or known.claim.sent is None:
            return False
        sent = known.claim.sent
        named = {one.recipient_hash for one in known.claim.named}
        ours = named if sent.recipients is None else named & sent.recipients.keys()
        return bool(ours - complaints.bounced(tx, sent.token.message_id))

    def _votes(self, received: Received, known: Known) -> list[Vote]:
        result, sent = known.attribution, known.claim.sent
        if sent is None or known.account is None or result.grade is None:
            return []
        return [
            Vote(
                message_id=sent.token.message_id,
                voter=voter,
                complaint_id=name_of(received, known),
                account_id=known.account.id,
                grade=result.grade,
                reporter=known.claim.witness.reporter if result.grade is Grade.A else "",
                sent_at=sent.token.sent_at,
                most=result.most,
                withdrawn=result.effect is Effect.WITHDRAW,
            )
            for voter in result.voters
        ]

    def _record(self, tx: Connection, checked: Checked, now: datetime) -> Outcome:
        received = checked.received
        looked = self._look(tx, checked, now)
        known = looked.known
        if not looked.changes_something:
            return conclude(received, known, grown=0)
        grown = 0
        if received.report.kind is Kind.UNKNOWN:
            self._wait(tx, received, now)
        elif received.report.kind is Kind.BOUNCE:
            self._bounced(tx, received, known, now)
        else:
            grown = self._complained(tx, received, known, now)
        if grown and known.account is not None:
            changes.note(tx, now, changes.JUDGE, known.account.id)
        return conclude(received, known, grown=grown)

    def _complained(self, tx: Connection, received: Received, known: Known, now: datetime) -> int:
        result, sent, account = known.attribution, known.claim.sent, known.account
        if result.held:
            self._note_flood(tx, known, now)
        votes = self._votes(received, known) if result.effect in (Effect.VOTE, Effect.WITHDRAW) else []
        grown = complaints.merge(tx, now, votes)
        complaints.add(
            tx,
            now,
            id=name_of(received, known),
            feedback_type=received.report.feedback_type,
            grade=str(result.grade or ""),
            reporter=known.claim.witness.reporter,
            account_id=account.id if account else None,
            server_id=account.server_id if account else None,
            customer_id=account.customer_id if account else None,
            message_id=sent.token.message_id if sent else None,
            sent_us=sent_us(sent),
            recipient_hash=result.recipient_hash,
            domain_hash=result.domain_hash,
            counted=grown > 0,
            why=result.why,
            details={"dialect": received.report.dialect, "vouched_by": received.vouched_by},
        )
        if account is not None and result.grade is not Grade.C:
            self._suppress(tx, account, result, now)
        return grown

    def _suppress(self, tx: Connection, account: Sender, result: Attribution, now: datetime) -> None:
        """Stop bulk and list mail to those who complained or wished to hear no more."""
        if result.grade is not Grade.A or result.recipient_hash is None:
            return
        customer_id, who = account.customer_id, result.recipient_hash
        if result.effect is Effect.WITHDRAW:
            suppression.clear(tx, now, customer_id, who, suppression.COMPLAINT)
        elif account.klass in (AccountClass.BULK, AccountClass.LIST):
            left = result.effect is Effect.UNSUBSCRIBE
            kind = suppression.UNSUBSCRIBE if left else suppression.COMPLAINT
            suppression.add(tx, now, customer_id, who, kind)

    def _bounced(self, tx: Connection, received: Received, known: Known, now: datetime) -> None:
        """Record who could not be reached; only what a listed reporter or staff say is believed."""
        account, sent = known.account, known.claim.sent
        if account is None or sent is None:
            return
        verified = known.claim.witness.trusted
        for status in received.report.statuses:
            named = self._meant(account.customer_id, status, sent)
            if named is None:
                continue
            hard = verified and status.permanent and status.reason == "invalid recipient"
            new = complaints.add_bounce(
                tx,
                now,
                message_id=sent.token.message_id,
                recipient_hash=named.recipient_hash,
                account_id=account.id,
                customer_id=account.customer_id,
                domain_hash=named.domain_hash,
                sent_us=sent_us(sent),
                status=status.status,
                kind=status.reason if verified else f"{status.reason} (unverified)",
                permanent=hard,
            )
            if new and hard:
                suppression.note_bounce(tx, now, account.customer_id, named.recipient_hash)
                changes.note(tx, now, changes.JUDGE, account.id)

    def _wait(self, tx: Connection, received: Received, now: datetime) -> None:
        """Keep what nobody could parse, sealed, until staff have looked."""
        identifier = digest(received.raw)
        sealed = self._keyring.seal(_WAITING, received.raw, identifier.encode())
        complaints.keep_waiting(tx, now, identifier, "; ".join(received.report.faults), sealed)

    def waiting(self, tx: Connection, identifier: str) -> bytes | None:
        """Open a report that waits for staff; the caller writes the audit entry."""
        found = (
            sealed
            for name, _, _, sealed in complaints.waiting(tx, complaints.MOST_WAITING)
            if name == identifier
        )
        sealed = next(found, None)
        return None if sealed is None else self._keyring.open(_WAITING, sealed, identifier.encode())

    def _tell(self, outcome: Outcome) -> Outcome:
        if self._metrics is not None:
            self._metrics.emit(
                ReportTaken(
                    id=outcome.id,
                    kind=str(outcome.report.kind),
                    grade=str(outcome.grade or ""),
                    counted=outcome.counted,
                    login=outcome.attributed_to or "",
                    why=outcome.why,
                )
            )
        return outcome

    async def _lookup(self, name: str) -> Sequence[str]:
        answer = await self._resolver.lookup(name, "TXT")
        return answer.records if answer.found is Found.YES else ()


def _ask(name: str) -> Sequence[str]:
    """Look up TXT records outside any event loop; nothing for a name that cannot be had within 5 s."""
    try:
        found = dns.resolver.resolve(name, "TXT", search=False, lifetime=5)
    except (dns.exception.DNSException, OSError):
        return ()
    return [b"".join(record.strings).decode("latin-1") for record in found]
