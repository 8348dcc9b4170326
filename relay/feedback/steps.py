"""What is known of a report on its way through the intake, step by step, and what becomes of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from relay.clock import micros
from relay.feedback.attribution import Effect
from relay.feedback.report import Kind
from relay.model import Grade

if TYPE_CHECKING:
    from relay.feedback.attribution import Attribution, Claim, Sent
    from relay.feedback.report import Report
    from relay.signing.returns import Returned
    from relay.signing.token import Token
    from relay.store.complaints import Sender
    from relay.store.reporters import Reporter


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one report; `as_json` is what `feedback import --json` prints."""

    id: str
    report: Report
    grade: Grade | None = None
    attributed_to: str | None = None
    counted: bool = False
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return exactly the keys of the command line."""
        return {
            **self.report.as_json(),
            "attributed_to": self.attributed_to,
            "counted": self.counted,
            "why": self.why,
        }


def is_puzzle(report: Report) -> bool:
    """Return whether staff should look: recognised other reports and automatic replies need no look."""
    return (
        report.kind is Kind.UNKNOWN
        and not report.feedback_type
        and "automatic" not in " ".join(report.faults)
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What a person told staff about one of our messages."""

    message_id: str
    feedback_type: str = "abuse"
    #: who complained, if it was said; of a message to one recipient nobody need say
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """A report before the store is asked: parsed, its tokens opened."""

    raw: bytes = field(repr=False)
    report: Report
    token: Token | None
    in_original: bool
    trusted: bool
    vouched_by: str
    #: the reporter's domain, of a report whose bearer we know by its secret; empty: the report must prove it
    bearer: str = ""
    #: what came back to a return path of ours: the message that it names
    returned: Returned | None = None
    #: by the customer's own server, which alone has it from us
    own_server: bool = False
    #: it is on its way to the sender, so staff need not look; None: nobody tried
    passed_on: bool | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A report whose sender has been authenticated, or not."""

    received: Received
    #: the listed reporter that its From claims to be
    claimed: Reporter | None
    #: a signature of that reporter passes
    proven: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What the store said: the account and message that the token names, and the claim made of them."""

    account: Sender | None
    attribution: Attribution
    claim: Claim


@dataclass(frozen=True, slots=True)
class Looked:
    """What a first look at the store said, without writing."""

    checked: Checked
    known: Known
    #: recording would write something
    changes_something: bool
    #: DNS names to ask before this is final
    names: tuple[str, ...] = ()

    @property
    def claimed(self) -> Reporter | None:
        """Return the listed reporter that the report claims to be from."""
        return self.checked.claimed


def sent_us(sent: Sent | None) -> int | None:
    """Return when the reported message was sent, in microseconds."""
    return micros(sent.token.sent_at) if sent else None


def digest(raw: bytes) -> str:
    """Return the name of a report by its bytes."""
    return hashlib.sha256(raw).hexdigest()[:24]


def name_of(received: Received, known: Known) -> str:
    """Name a complaint by what it says, so that a replay or a new wrapping has the same name."""
    sent, result = known.claim.sent, known.attribution
    if sent is None or result.grade is Grade.C:
        said: tuple[object, ...] = (digest(received.raw),)
    else:
        said = (
            sent.token.message_id,
            result.grade,
            result.effect,
            sorted(one.hex() for one in result.voters),
        )
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def conclude(received: Received, known: Known, *, grown: int) -> Outcome:
    """Return what became of a report; `grown` is by how many its votes grew."""
    result = known.attribution
    counted = result.effect is Effect.VOTE and grown > 0
    why = result.why
    if result.effect is Effect.VOTE and not grown:
        why = "counted already: one vote per message and recipient"
    elif result.effect is Effect.WITHDRAW:
        why = "takes a complaint back; " + why
    elif result.effect is Effect.FORWARDED:
        why = "about a message that was only forwarded, counted apart; " + why
    elif result.effect is Effect.UNSUBSCRIBE:
        why = "counts as unsubscribe, not as complaint; " + why
    return Outcome(
        id=name_of(received, known),
        report=received.report,
        grade=result.grade,
        attributed_to=known.account.login if known.account else None,
        counted=counted,
        why=why,
    )
