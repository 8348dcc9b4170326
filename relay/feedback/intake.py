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

from policies.complaints import Heed, heed
from relay.dns import Found, Resolver
from relay.errors import NotFound, StoreError
from relay.events import ReportTaken
from relay.feedback import attribution, lessons, witness
from relay.feedback.attribution import Claim, Effect, Sent, Witness
from relay.feedback.door import FeedbackDoor
from relay.feedback.judge import Judge
from relay.feedback.reading import addressed_to, read
from relay.feedback.record import Recorder, lost, name, passed_on, votes
from relay.feedback.report import Kind, Report
from relay.feedback.steps import (
    Checked,
    Known,
    Looked,
    Outcome,
    Received,
    Said,
    conclude,
    digest,
    is_puzzle,
    name_of,
)
from relay.keyring import HASH_BYTES
from relay.model import Grade
from relay.signing import token
from relay.signing.returns import Returned, Returns
from relay.store import audit, complaints, journal, reporters

__all__ = ["FeedbackDoor", "Intake", "Outcome"]

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from policies.ladder import Ladder
    from policies.transmission import Transmission
    from relay.config import Config
    from relay.feedback.returned import Returning
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.outbox.hold import Deed
    from relay.store.complaints import Sender
    from relay.store.engine import Store
    from relay.store.reporters import Reporter

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
        self._recorder = Recorder(keyring)
        #: listed reporters: when their usual votes an hour were counted, and how many they are
        self._usuals: dict[str, tuple[datetime, float]] = {}
        self._judge = Judge(store, keyring, ladder, metrics)
        self.returns = Returns(config, keyring)
        #: passes on what came to return paths; None: nobody does, and it waits for staff
        self.returning: Returning | None = None

    @classmethod
    def for_import(cls, config: Config, store: Store, keyring: Keyring) -> Intake:
        """Return an intake that records and never decides: for the command line."""
        return cls(config, store, keyring, None)

    def configure(self, config: Config) -> None:
        """Take a reloaded configuration."""
        self._config = config
        self.returns.configure(config)

    @property
    def policy(self) -> Transmission:
        """What senders agree to, for decisions to cite; a reload sets another."""
        return self._judge.policy

    @policy.setter
    def policy(self, policy: Transmission) -> None:
        self._judge.policy = policy

    @property
    def ladder(self) -> Ladder | None:
        """The ladder in force; a reload sets another."""
        return self._judge.ladder

    @ladder.setter
    def ladder(self, ladder: Ladder) -> None:
        self._judge.ladder = ladder

    async def take(
        self, raw: bytes, now: datetime, *, trusted: bool = False, vouched_by: str = "", bearer: str = ""
    ) -> Outcome:
        """Take one report in; StoreError if it could not be recorded (the sender tries again).

        `bearer` is the reporter whose signed post brought it (relay.feedback.signed).
        """
        received = await self._parsed(raw, now, trusted=trusted, vouched_by=vouched_by)
        return await self._taken(replace(received, bearer=bearer), now)

    async def take_returned(self, raw: bytes, said: Returned, peer_ip: str, now: datetime) -> Outcome:
        """Take in what a peer sent to a return path of ours, and pass it on; StoreError: not now."""
        received = self._to(await self._parsed(raw, now), said)
        if self.returning is not None and received.report.kind is Kind.BOUNCE:
            own = await self.returning.brought_by_server(said, peer_ip)
            received = replace(received, own_server=own)
        return await self._taken(received, now)

    async def _parsed(
        self, raw: bytes, now: datetime, *, trusted: bool = False, vouched_by: str = ""
    ) -> Received:
        if len(raw) <= LARGE_BYTES:
            return self._receive(raw, now, trusted=trusted, vouched_by=vouched_by)
        return await asyncio.to_thread(self._receive, raw, now, trusted=trusted, vouched_by=vouched_by)

    async def _taken(self, received: Received, now: datetime) -> Outcome:
        if received.returned is not None and self.returning is not None:
            passed = await self.returning.pass_on(received.raw, received.returned, now)
            received = replace(received, passed_on=passed)
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
        outcome = await self._store.write(lambda tx: self._record(tx, first.checked, now))
        if self._config.screening.learn_complaints:
            await asyncio.to_thread(self._teach, received, outcome)
        return self._tell(outcome)

    def record(self, raw: bytes, now: datetime, *, trusted: bool = False, vouched_by: str = "") -> Outcome:
        """Take one report in from outside the daemon: recorded now, judged by the running control process."""
        received = self._receive(raw, now, trusted=trusted, vouched_by=vouched_by)
        with self._store.read() as tx:
            first = self._first(tx, received, now)
            if first.names:
                records = {name: _ask(name) for name in first.names}
                first = self._then(tx, received, first.claimed, records, now)
        if not first.changes_something:
            return self._tell(conclude(received, first.known, grown=0))
        with self._store.begin() as tx:
            outcome = self._record(tx, first.checked, now)
        self._teach(received, outcome)
        return self._tell(outcome)

    def _teach(self, received: Received, outcome: Outcome) -> None:
        """Let the classifier learn from a complaint; where that fails, the complaint counts all the same."""
        try:
            lessons.teach(self._config, received, outcome)
        except Exception as error:  # noqa: BLE001 - the report is recorded, whatever there is to learn from it
            if self._metrics is not None:
                self._metrics.bug("lessons", error)

    async def unsubscribe(self, text: str, now: datetime) -> bool:
        """Take the wish of whoever has a one-click link (RFC 8058); False if the link is none of ours.

        It counts as unsubscribe, never as complaint; any number of times is once. Links do not expire.
        """
        said = token.open(self._keyring, text, token.UNSUBSCRIBE)
        if said is None or said.recipient_hash is None:
            return False
        return await self._store.write(lambda tx: self._recorder.unsubscribed(tx, said, now))

    def by_hand(self, tx: Connection, said: Said, deed: Deed) -> Outcome:
        """Record what a person told us about a message of ours, in the caller's transaction.

        NotFound if there is no such message (any more). Staff vouch for it, as for an import.
        """
        row = journal.message(tx, said.message_id)
        if row is None:
            raise NotFound(f"there is no message {said.message_id}")
        one = row.recipients[:HASH_BYTES] if row.recipient_count == 1 else None
        sent = token.Token(row.account_id, row.id, row.at, row.recipient_count, one)
        report = Report(Kind.COMPLAINT, "by hand", said.feedback_type, recipients=said.recipients)
        raw = f"{said.message_id} {said.feedback_type} {' '.join(said.recipients)}".encode()
        received = Received(raw, report, sent, in_original=True, trusted=True, vouched_by=deed.who)
        outcome = self._record(tx, Checked(received, None, proven=False), deed.now)
        details = {"type": said.feedback_type, "counted": outcome.counted, "complaint": outcome.id}
        about = f"message {said.message_id}"
        audit.append(tx, deed.now, deed.who, "feedback.record", about, deed.reason, details)
        return self._tell(outcome)

    async def sweep(self, now: datetime) -> list[str]:
        """Judge accounts with news and end standings whose time is over; the ids of the cases made."""
        return await self._judge.sweep(now)

    # -- steps -------------------------------------------------------------------------------------

    def _receive(self, raw: bytes, now: datetime, *, trusted: bool, vouched_by: str) -> Received:
        received = self._tokens(raw, trusted=trusted, vouched_by=vouched_by)
        said = self.returns.find(addressed_to(raw), now)
        return received if said is None else self._to(received, said)

    def _to(self, received: Received, said: Returned) -> Received:
        """Add which message a return path names; a complaint that went there still needs its own token."""
        if received.report.kind is Kind.COMPLAINT:
            return received
        sent = token.Token(said.account_id, said.message_id, said.sent_at, recipients=1)
        return replace(received, token=sent, in_original=False, returned=said)

    def _tokens(self, raw: bytes, *, trusted: bool, vouched_by: str) -> Received:
        report = read(raw)
        for texts, in_original in ((report.tokens, True), (report.stray_tokens, False)):
            for text in texts:
                if (opened := token.open(self._keyring, text)) is not None:
                    return Received(raw, report, opened, in_original, trusted, vouched_by)
        return Received(raw, report, None, in_original=False, trusted=trusted, vouched_by=vouched_by)

    def _first(self, tx: Connection, received: Received, now: datetime) -> Looked:
        """Look with what is at hand; ask for DNS names first where a signature could matter."""
        known = reporters.reporters(tx)
        if received.bearer:
            claimed = witness.candidate(received.bearer, known)
            return self._look(tx, Checked(received, claimed, proven=claimed is not None), now)
        claimed = witness.candidate(received.report.reporter, known)
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
        result, witness = known.attribution, known.claim.witness
        if result.grade is not Grade.A or result.effect is not Effect.VOTE or not witness.authentic:
            return False
        next_vote = complaints.counted_of(tx, now, witness.reporter) + 1
        return heed(next_vote, self._usual(tx, now, witness.reporter), witness.cap).action is Heed.REVIEW

    def _usual(self, tx: Connection, now: datetime, reporter: str) -> float:
        """Return a reporter's votes an hour over the last week, counted anew every ten minutes."""
        asked_at, usual = self._usuals.get(reporter, (None, 0.0))
        if asked_at is None or now - asked_at > timedelta(minutes=10):
            week = timedelta(days=7)
            usual = complaints.counted_of(tx, now, reporter, week) / (week / timedelta(hours=1))
            self._usuals[reporter] = (now, usual)
        return usual

    def _know(self, tx: Connection, checked: Checked, now: datetime) -> Known:
        received, claimed = checked.received, checked.claimed
        account, sent, named, covers = None, None, [], frozenset[bytes]()
        if received.token is not None:
            account = complaints.sender(tx, received.token.account_id)
        if account is not None and received.token is not None:
            customer = account.customer_id
            sent = Sent(received.token, complaints.recipients_of(tx, received.token.message_id))
            named = [name(self._keyring, customer, address) for address in received.report.recipients]
            covered = claimed.covers if claimed else ()
            covers = frozenset(self._keyring.domain_hash(customer, domain) for domain in covered)
        reporter = claimed.domain if claimed else received.report.reporter
        watched = checked.proven and claimed is not None and claimed.watched
        seen = Witness(
            reporter or received.vouched_by, checked.proven and not watched, received.trusted, covers,
            watched=watched, cap=claimed.cap if claimed else None,
        )  # fmt: skip
        claim = Claim(
            received.report,
            sent,
            seen,
            received.in_original,
            named,
            forwarded=account is not None and passed_on(received.report, account),
            returned=received.returned is not None,
            own_server=received.own_server,
            own=self._own(account) if account else frozenset(),
        )
        return Known(account, attribution.attribute(claim, now, self._config.feedback.token_days), claim)

    def _own(self, account: Sender) -> frozenset[bytes]:
        """Return the account's own addresses, hashed."""
        addresses = {one for one in (account.login, *account.senders) if one.find("@") > 0 and one[0] != "*"}
        return frozenset(self._keyring.recipient_hash(account.customer_id, one) for one in addresses)

    def _changes(self, tx: Connection, received: Received, known: Known, now: datetime) -> bool:
        """Return whether recording would write anything; replays and floods of forgeries do not."""
        match received.report.kind:
            case Kind.UNKNOWN:
                return self._is_puzzle(received) and self._may_wait(tx, received)
            case Kind.BOUNCE:
                stuck = lost(received) and self._may_wait(tx, received)
                return stuck or self._recorder.is_news(tx, received, known)
        if known.attribution.effect in (Effect.VOTE, Effect.WITHDRAW):
            return complaints.raises(tx, votes(received, known))
        if complaints.exists(tx, name_of(received, known)):
            return False
        full = complaints.unattributed_within(tx, now) >= complaints.MOST_UNATTRIBUTED_PER_HOUR
        return known.attribution.grade is not Grade.C or not full

    def _may_wait(self, tx: Connection, received: Received) -> bool:
        """Return whether a report is new to those that wait for staff; StoreError where there is no room."""
        if complaints.waits(tx, digest(received.raw)):
            return False
        if not complaints.crowded(tx):
            return True
        if self._judge.ladder is None:
            return False  # an import: its file stays where it is
        raise StoreError("no room for one more report that nobody can parse")

    def _is_puzzle(self, received: Received) -> bool:
        if received.passed_on is not None:
            return not received.passed_on
        return is_puzzle(received.report)

    def _record(self, tx: Connection, checked: Checked, now: datetime) -> Outcome:
        received = checked.received
        looked = self._look(tx, checked, now)
        known = looked.known
        if not looked.changes_something:
            return conclude(received, known, grown=0)
        grown = self._recorder.write(tx, received, known, now)
        return conclude(received, known, grown=grown)

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
