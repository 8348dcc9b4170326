"""Whom a report means and how much it proves: one table, three grades (DESIGN.md, invariant 5). Pure.

| report                 | our token in the original | who reports          | grade | effect         |
|------------------------|---------------------------|----------------------|-------|----------------|
| complaint              | yes                       | listed, aligned DKIM | A     | vote in rates  |
| complaint              | yes                       | staff vouch for it   | A     | vote in rates  |
| complaint              | yes                       | listed, but watched  | B     | absolute count |
| complaint              | yes                       | anybody else         | B     | absolute count |
| complaint              | yes, sent to none of its  | listed               | B     | absolute count |
| not-spam               | yes                       | as above             | A, B  | takes it back  |
| opt-out                | yes                       | as above             | A, B  | unsubscribe    |
| of what was forwarded  | yes                       | as above             | A, B  | counted apart  |
| of oneself             | yes                       | anybody              | B     | staff          |
| complaint              | no, or elsewhere          | anybody              | C     | server, staff  |
| bounce, forward, reply | anywhere                  | anybody              | none  | attributes     |

What comes back to a return path of ours (relay.signing.returns), which names the message by itself:

| report | the message went to  | who brings it             | grade | effect                            |
|--------|----------------------|---------------------------|-------|-----------------------------------|
| bounce | one recipient        | anybody: only its way had | A     | hard or soft, of that recipient   |
| bounce | several, named       | the customer's server     | A     | hard or soft, of those it names   |
| bounce | several              | anybody else              | B     | staff: one may speak of the other |
| other  | anybody              | anybody                   | none  | passed on to the sender           |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from relay.feedback.report import OPT_OUTS, VOTES, WITHDRAWAL, Kind, Report
from relay.model import Grade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from relay.signing.token import Token

_FUTURE = timedelta(hours=1)


class Effect(StrEnum):
    """What a report does beside being recorded."""

    NONE = "none"
    VOTE = "vote"
    WITHDRAW = "withdraw"
    UNSUBSCRIBE = "unsubscribe"
    #: about a message that the account only passed on: its author sent it, staff hear of many
    FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class Witness:
    """Who reports, after authentication."""

    #: the listed reporter's domain if `authentic`, else what the report claims
    reporter: str
    #: an aligned signature of a listed reporter passes
    authentic: bool = False
    #: staff vouch for the reporter
    vouched: bool = False
    #: the listed reporter's covered recipient domains, hashed for the account's customer; empty if not listed
    covers: frozenset[bytes] = frozenset()
    #: a listed reporter that proved itself, and whom staff only watch as yet
    watched: bool = False
    #: votes an hour, beyond which staff look first; None: the usual rule
    cap: int | None = None

    @property
    def trusted(self) -> bool:
        """Return whether its complaints are votes."""
        return self.authentic or self.vouched


@dataclass(frozen=True, slots=True)
class Sent:
    """The message that a token names, and what the journal adds: recipient hash -> domain hash."""

    token: Token
    #: None while the journal row is not committed (or past its retention): the token alone still attributes
    recipients: Mapping[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """How much a report proves, and what it does."""

    grade: Grade | None
    effect: Effect
    why: str
    #: who votes: recipients' hashes, or one that stands for the reporter
    voters: tuple[bytes, ...] = ()
    #: votes of this reporter about this message that count at most
    most: int = 1
    recipient_hash: bytes | None = None
    domain_hash: bytes | None = None
    #: grade B only because its reporter says too much: staff look first
    held: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A recipient that a report names, hashed for the account's customer."""

    recipient_hash: bytes
    domain_hash: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """Everything that grading looks at."""

    report: Report
    sent: Sent | None
    witness: Witness
    #: the token stood in the original-message part of a complaint
    in_original: bool = False
    named: Sequence[Named] = field(default=())
    #: the message's author is a stranger, whose mail the account may pass on and did
    forwarded: bool = False
    #: it came to the message's own return path
    returned: bool = False
    #: and the customer's server brought it
    own_server: bool = False
    #: the account's own addresses: nobody complains about himself
    own: frozenset[bytes] = frozenset()


def attribute(claim: Claim, now: datetime, token_days: int) -> Attribution:
    """Grade a claim by the table above."""
    report, sent = claim.report, claim.sent
    if report.kind is Kind.BOUNCE and claim.returned:
        return _returned(claim)
    if report.kind is not Kind.COMPLAINT:
        because = "; ".join(report.faults) or "a delivery report attributes and never counts"
        return Attribution(None, Effect.NONE, because)
    if sent is None:
        held = "its token is not ours" if report.tokens else "it carries no token of ours"
        return Attribution(Grade.C, Effect.NONE, _join(held, report))
    if not claim.in_original:
        return Attribution(Grade.C, Effect.NONE, "the token stands outside the original message")
    age = now - sent.token.sent_at
    if age > timedelta(days=token_days) or age < -_FUTURE:
        return Attribution(Grade.C, Effect.NONE, f"the message was sent more than {token_days} days ago")
    effect = _effect(report.feedback_type)
    if effect is Effect.NONE:
        kind = report.feedback_type or "no feedback type"
        return Attribution(Grade.C, effect, f"{kind} is no complaint of a recipient")
    if effect is Effect.VOTE and _of_oneself(claim, sent):
        return Attribution(Grade.B, Effect.NONE, "the account complains about its own mail")
    if effect is Effect.VOTE and claim.forwarded:
        effect = Effect.FORWARDED
    return _graded(claim, sent, effect)


def _returned(claim: Claim) -> Attribution:
    """Grade a bounce that came to the return path of its message."""
    people = claim.sent.recipients if claim.sent else None
    if people is None:
        return Attribution(Grade.B, Effect.NONE, "its message is not in the journal (any more)")
    if len(people) == 1:
        return Attribution(Grade.A, Effect.NONE, "it came to the return path of a message to one recipient")
    if claim.own_server or claim.witness.trusted:
        return Attribution(Grade.A, Effect.NONE, "it came to the return path, from the customer's own server")
    why = "it came to the return path of a message to several, and not from the customer's own server"
    return Attribution(Grade.B, Effect.NONE, why)


def _of_oneself(claim: Claim, sent: Sent) -> bool:
    """Return whether the one who complains is the account itself, by its login or a sender address."""
    if sent.token.recipient_hash is not None:
        return sent.token.recipient_hash in claim.own
    hashes = [one.recipient_hash for one in claim.named]
    return bool(hashes) and set(hashes) <= claim.own


def _effect(feedback_type: str) -> Effect:
    if feedback_type in VOTES:
        return Effect.VOTE
    if feedback_type == WITHDRAWAL:
        return Effect.WITHDRAW
    return Effect.UNSUBSCRIBE if feedback_type in OPT_OUTS else Effect.NONE


def _graded(claim: Claim, sent: Sent, effect: Effect) -> Attribution:
    witness = claim.witness
    grade, why = Grade.B, "our token, but no authenticated, listed reporter"
    if witness.watched:
        why = f"our token and {witness.reporter}, which is only watched as yet"
    if witness.trusted:
        grade = Grade.A
        why = "our token and " + (
            "a listed reporter" if witness.authentic else "staff vouch for the reporter"
        )
    most = _most(sent, witness if grade is Grade.A else None)
    if most == 0:
        grade, most = Grade.B, _most(sent, None)
        why = f"the message went to nobody at the domains that {witness.reporter} covers"
    covers = witness.covers if grade is Grade.A else frozenset[bytes]()
    named = _named(claim, sent, covers, trusted=grade is Grade.A)
    single = sent.token.recipient_hash
    voters = tuple(one.recipient_hash for one in named) or ((single,) if single else ())
    domain = named[0].domain_hash if named else (sent.recipients or {}).get(single or b"")
    return Attribution(
        grade=grade,
        effect=effect,
        why=why,
        voters=voters or (_reporter_voter(witness.reporter if grade is Grade.A else ""),),
        most=most,
        recipient_hash=voters[0] if voters else None,
        domain_hash=domain,
    )


def _most(sent: Sent, witness: Witness | None) -> int:
    """Return how many recipients the message had, at a trusted reporter's covered domains if we know them."""
    if sent.recipients is None:
        return max(1, sent.token.recipients)
    if witness is None or not witness.covers:
        return max(1, len(sent.recipients))
    return sum(1 for domain_hash in sent.recipients.values() if domain_hash in witness.covers)


def _named(claim: Claim, sent: Sent, covers: frozenset[bytes], *, trusted: bool) -> list[Named]:
    """Return the named recipients that can be believed: the message went to them, and to its domains."""
    if sent.token.recipient_hash is not None:
        return []  # one recipient: the token says who, whatever the report names
    known = sent.recipients
    if known is None:
        # No row to compare with: an authentic reporter may speak for its own domains, nobody else.
        return [one for one in claim.named if trusted and one.domain_hash in covers]
    found = [
        Named(one.recipient_hash, known[one.recipient_hash])
        for one in claim.named
        if one.recipient_hash in known
    ]
    return [one for one in found if not covers or one.domain_hash in covers]


def _reporter_voter(reporter: str) -> bytes:
    """Return who votes where a report names nobody: the reporter, or one for all who are unauthenticated."""
    return hashlib.sha256(b"reporter\0" + reporter.encode()).digest()[:16]


def _join(text: str, report: Report) -> str:
    return "; ".join((text, *report.faults))
