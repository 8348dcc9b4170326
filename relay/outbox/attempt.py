"""One attempt: ask the customer's server about every waiting recipient, and say what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.outbox.envelope import Fate, Recipient
from relay.upstream.errors import InDoubt, Unreachable, Unroutable
from relay.upstream.reply import UpstreamReply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.outbox.envelope import WaitingEnvelope
    from relay.upstream.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to; `fates` are of the recipients that waited, in order."""

    fates: tuple[Recipient, ...]
    #: the server could not be spoken to: leave it alone for a while
    unreachable: bool = False
    #: the whole message was out when the connection broke: the next attempt may be a second copy
    in_doubt: bool = False
    #: the last answer, or why there is none; for staff
    last: str = ""

    @property
    def delivered(self) -> int:
        """Return how many recipients the server took."""
        return sum(one.fate in (Fate.DELIVERED, Fate.RELAYED) for one in self.fates)

    @property
    def failed(self) -> int:
        """Return how many recipients are given up."""
        return sum(one.fate is Fate.FAILED for one in self.fates)


async def attempt(
    transaction: Transaction,
    envelope: WaitingEnvelope,
    body: bytes,
    may_send: Callable[[], bool],
    *,
    sender: str | None = None,
) -> Outcome:
    """Try all waiting recipients in one transaction; never raises for what a server does.

    `sender`: what MAIL FROM says, where that is not the envelope's own. `may_send` is asked before the body
    leaves: a worker that slept through its lease sends no second copy.
    """
    people = envelope.waiting
    try:
        replies = await transaction.envelope(
            envelope.sender if sender is None else sender,
            [(one.address, one.notify, one.orcpt) for one in people],
            size=len(body),
            eight_bit=envelope.eight_bit,
            smtputf8=envelope.smtputf8,
            ret=envelope.ret,
            envid=envelope.envid,
        )
        reports = "DSN" in transaction.extensions
        if not replies[0].ok:
            return _outcome(people, [replies[0]] * len(people), replies[0])
        answers = list(replies[1:])
        if transaction.accepted:
            if not may_send():
                return Outcome(people, last="the lease ran out before the body was sent")
            final = await transaction.data([body])
            answers = [final if answer.ok else _not_at_once(answer) for answer in answers]
        telling = min(answers, key=lambda one: (not one.temporary, one.ok))  # why it waits, or fails
        return _outcome(people, answers, telling, reports=reports)
    except InDoubt as error:
        return Outcome(people, in_doubt=True, last=str(error))
    except Unreachable as error:
        return Outcome(_noted(people, error.status), unreachable=True, last=str(error))
    except Unroutable as error:
        answer = UpstreamReply(550, error.status, "The domain takes no mail")
        return _outcome(people, [answer] * len(people), answer)
    finally:
        await transaction.abandon()


def _not_at_once(answer: UpstreamReply) -> UpstreamReply:
    """Return "later" for a recipient beyond those that the server takes at once (RFC 5321 §4.5.3.1.10)."""
    many = answer.status == "5.5.3" or (answer.code == 552 and not answer.status)
    return UpstreamReply(452, "4.5.3", answer.text) if many else answer


def answered(envelope: WaitingEnvelope, answer: UpstreamReply) -> Outcome:
    """Return the outcome of one answer for all waiting recipients."""
    people = envelope.waiting
    return _outcome(people, [answer] * len(people), answer)


def _outcome(
    people: Sequence[Recipient],
    answers: Sequence[UpstreamReply],
    last: UpstreamReply,
    *,
    reports: bool = True,
) -> Outcome:
    fates = tuple(_fate(one, answer, reports=reports) for one, answer in zip(people, answers, strict=True))
    return Outcome(fates, last=f"{last.code} {last.status} {last.text}".replace("  ", " "))


def _fate(one: Recipient, answer: UpstreamReply, *, reports: bool) -> Recipient:
    words = f"{answer.code} {answer.status} {answer.text}".replace("  ", " ").strip()
    if answer.ok:
        # a server without DSN will not report success: then we say "relayed" (RFC 3461 §5.2.2)
        owed = "SUCCESS" in one.notify and not reports
        return one.became(Fate.RELAYED if owed else Fate.DELIVERED, answer.status, words)
    fate = Fate.WAITING if answer.temporary else Fate.FAILED
    return one.became(fate, answer.status or f"{answer.code // 100}.0.0", words)


def _noted(people: Sequence[Recipient], status: str) -> tuple[Recipient, ...]:
    """Note why the server could not be spoken to; its own words, if it had any, stay."""
    text = "The receiving server could not be reached"
    return tuple(one if one.reply else one.became(Fate.WAITING, status, text) for one in people)
