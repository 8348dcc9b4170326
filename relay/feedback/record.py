"""Writes down what a report changes: votes, complaints, bounces, suppressions, what waits for staff.

Everything is in the caller's transaction; what was said before, in whatever order, makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from relay.clock import micros
from relay.feedback import reasons
from relay.feedback.attribution import Attribution, Effect, Named, Sent
from relay.feedback.report import Kind, RecipientStatus, Report
from relay.feedback.steps import Known, Received, digest, name_of, sent_us
from relay.model import AccountClass, Grade
from relay.store import audit, changes, complaints, suppression
from relay.store.complaints import Vote

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.keyring import Keyring
    from relay.signing.token import Token
    from relay.store.complaints import Sender

#: what the sealed bytes of waiting reports are sealed for
WAITING = "reports that wait"
#: so much of a report waits: what staff are shown of it
KEPT_BYTES = 256 << 10
#: complaints about one account's forwards within a day that staff hear of
MANY_FORWARDED = 20


def name(keyring: Keyring, customer_id: int, address: str) -> Named:
    """Return an address as its customer's keyed hashes."""
    domain = address.rpartition("@")[2]
    return Named(keyring.recipient_hash(customer_id, address), keyring.domain_hash(customer_id, domain))


def votes(received: Received, known: Known) -> list[Vote]:
    """Return the votes that a complaint gives, or takes back."""
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


def passed_on(report: Report, account: Sender) -> bool:
    """Return whether a message was a forward: of a stranger's, by an account that may send as anybody.

    Only such accounts: what any other could claim in its header it would claim of all its spam.
    """
    author = report.original.author.rpartition("@")[2]
    if not report.original.passed_on or not author or "*" not in account.senders:
        return False
    own = {one.rpartition("@")[2].lower() for one in (account.login, *account.senders)}
    return author not in own


def _domains(report: Report) -> list[str]:
    """Return whose mail a report without a token says it is about; a claim, for staff alone."""
    said = (report.original.author, report.original.mail_from)
    return [domain for one in said if (domain := one.rpartition("@")[2].lower())]


def lost(received: Received) -> bool:
    """Return whether what came to a return path could not be passed on: then staff look."""
    return received.returned is not None and received.passed_on is False


@dataclass(frozen=True, slots=True)
class Bounced:
    """One recipient that could not be reached, as far as it is believed."""

    status: RecipientStatus
    named: Named
    verified: bool

    @property
    def hard(self) -> bool:
        """Return whether it counts: the address is none, and somebody says so who can know."""
        return self.verified and self.status.permanent and self.status.reason == reasons.INVALID

    @property
    def kind(self) -> str:
        """Return the reason, and whether it is only claimed."""
        return self.status.reason if self.verified else f"{self.status.reason} (unverified)"


class Recorder:
    """One for an intake."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def write(self, tx: Connection, received: Received, known: Known, now: datetime) -> int:
        """Write what a report changes; return by how many votes its account's have grown."""
        grown = 0
        if received.report.kind is Kind.UNKNOWN:
            self._wait(tx, received, now)
        elif received.report.kind is Kind.BOUNCE:
            self._bounced(tx, received, known, now)
            if lost(received):
                self._wait(tx, received, now)
        else:
            grown = self._complained(tx, received, known, now)
        if grown and known.account is not None:
            changes.note(tx, now, changes.JUDGE, known.account.id)
        return grown

    def _note_flood(self, tx: Connection, known: Known, now: datetime) -> None:
        """Tell staff once an hour, in the audit log."""
        reporter = known.claim.witness.reporter
        newest = audit.entries(tx, limit=1, object=f"reporter {reporter}")
        if not newest or now - newest[0].at >= timedelta(hours=1):
            audit.append(tx, now, "policy", "reporter flood", f"reporter {reporter}", known.attribution.why)

    def _complained(self, tx: Connection, received: Received, known: Known, now: datetime) -> int:
        result, sent, account = known.attribution, known.claim.sent, known.account
        passed = result.effect is Effect.FORWARDED
        if result.held:
            self._note_flood(tx, known, now)
        server_id, customer_id = (account.server_id, account.customer_id) if account else (None, None)
        if account is None:
            server_id, customer_id = complaints.owner_of(tx, _domains(received.report))
        given = votes(received, known) if result.effect in (Effect.VOTE, Effect.WITHDRAW) else []
        grown = complaints.merge(tx, now, given)
        complaints.add(
            tx,
            now,
            id=name_of(received, known),
            feedback_type=complaints.FORWARDED if passed else received.report.feedback_type,
            grade=str(result.grade or ""),
            reporter=known.claim.witness.reporter,
            account_id=account.id if account else None,
            server_id=server_id,
            customer_id=customer_id,
            message_id=sent.token.message_id if sent else None,
            sent_us=sent_us(sent),
            recipient_hash=result.recipient_hash,
            domain_hash=result.domain_hash,
            counted=grown > 0,
            why=result.why,
            details={
                "dialect": received.report.dialect,
                "vouched_by": received.vouched_by,
                "type": received.report.feedback_type,
            },
        )
        if account is not None:
            self._notice(tx, account, result, now)
        if account is not None and result.grade is not Grade.C:
            self._suppress(tx, account, result, now)
        return grown

    def _notice(self, tx: Connection, account: Sender, result: Attribution, now: datetime) -> None:
        """Tell staff, once a day and account, of complaints about oneself and of many about forwards."""
        if result.effect is Effect.FORWARDED:
            day = timedelta(days=1)
            if complaints.forwarded_within(tx, now, account.id, day) < MANY_FORWARDED:
                return
            action, why = "many forwarded complaints", f"{MANY_FORWARDED} or more about forwards in a day"
        elif result.grade is Grade.B and result.effect is Effect.NONE:
            action, why = "self-complaint", result.why
        else:
            return
        told = audit.entries(tx, limit=50, object=f"account {account.login}")
        if not any(one.action == action and now - one.at < timedelta(days=1) for one in told):
            audit.append(tx, now, "policy", action, f"account {account.login}", why)

    def _suppress(self, tx: Connection, account: Sender, result: Attribution, now: datetime) -> None:
        """Stop bulk and list mail to all those who complained or wished to hear no more."""
        if result.grade is not Grade.A or result.recipient_hash is None:
            return  # by our token alone, or by a reporter that names nobody
        left = result.effect is Effect.UNSUBSCRIBE
        kind = suppression.UNSUBSCRIBE if left else suppression.COMPLAINT
        for who in result.voters:
            if result.effect is Effect.WITHDRAW:
                suppression.clear(tx, now, account.customer_id, who, suppression.COMPLAINT)
            elif account.klass in (AccountClass.BULK, AccountClass.LIST):
                suppression.add(tx, now, account.customer_id, who, kind)

    def _bounces(self, received: Received, known: Known) -> list[Bounced]:
        """Return who could not be reached; of a message to one recipient nobody need say who."""
        account, sent = known.account, known.claim.sent
        if account is None or sent is None:
            return []
        verified = known.claim.witness.trusted or known.attribution.grade is Grade.A
        failed = [one for one in received.report.statuses if one.action in ("failed", "delayed")]
        meant = [(one, self._meant(account.customer_id, one, sent)) for one in failed]
        found = [Bounced(one, named, verified) for one, named in meant if named is not None]
        if not found and failed and received.returned is not None and len(sent.recipients or ()) == 1:
            only = next(Named(*pair) for pair in (sent.recipients or {}).items())
            return [Bounced(failed[0], only, verified)]
        return found

    def _meant(self, customer_id: int, status: RecipientStatus, sent: Sent) -> Named | None:
        """Return whom of our message's recipients a status means: as written to, or as passed on to."""
        found = [name(self._keyring, customer_id, one) for one in (status.recipient, status.final) if one]
        if sent.recipients is None:
            return found[0] if found else None
        return next((one for one in found if one.recipient_hash in sent.recipients), None)

    def is_news(self, tx: Connection, received: Received, known: Known) -> bool:
        """Return whether a delivery report says anything that is not recorded yet."""
        found, sent = self._bounces(received, known), known.claim.sent
        recorded = complaints.bounced(tx, sent.token.message_id) if found and sent else {}
        return any(one.hard > recorded.get(one.named.recipient_hash, -1) for one in found)

    def _bounced(self, tx: Connection, received: Received, known: Known, now: datetime) -> None:
        """Record who could not be reached; of whom a listed reporter, staff or the return path says so."""
        account, sent = known.account, known.claim.sent
        if account is None or sent is None:
            return
        for one in self._bounces(received, known):
            new = complaints.add_bounce(
                tx,
                now,
                message_id=sent.token.message_id,
                recipient_hash=one.named.recipient_hash,
                account_id=account.id,
                customer_id=account.customer_id,
                domain_hash=one.named.domain_hash,
                sent_us=sent_us(sent),
                status=one.status.status,
                kind=one.kind,
                permanent=one.hard,
            )
            if new and one.hard:
                suppression.note_bounce(tx, now, account.customer_id, one.named.recipient_hash)
                changes.note(tx, now, changes.JUDGE, account.id)

    def unsubscribed(self, tx: Connection, said: Token, now: datetime) -> bool:
        """Write down an unsubscription by link; False if its account is gone."""
        account = complaints.sender(tx, said.account_id)
        if account is None or said.recipient_hash is None:
            return False
        new = complaints.add(
            tx,
            now,
            id=f"unsubscribe-{said.message_id}",
            feedback_type=suppression.UNSUBSCRIBE,
            grade=str(Grade.A),
            reporter="",
            account_id=account.id,
            server_id=account.server_id,
            customer_id=account.customer_id,
            message_id=said.message_id,
            sent_us=micros(said.sent_at),
            recipient_hash=said.recipient_hash,
            domain_hash=None,
            counted=False,
            why="unsubscribed by its one-click link (RFC 8058); no complaint",
            details={},
        )
        if new:
            suppression.add(tx, now, account.customer_id, said.recipient_hash, suppression.UNSUBSCRIBE)
        return True

    def _wait(self, tx: Connection, received: Received, now: datetime) -> None:
        """Keep what nobody could parse, sealed, until staff have looked."""
        identifier = digest(received.raw)
        sealed = self._keyring.seal(WAITING, received.raw[:KEPT_BYTES], identifier.encode())
        complaints.keep_waiting(tx, now, identifier, "; ".join(received.report.faults), sealed)
