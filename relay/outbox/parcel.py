"""What the pipeline hands to the outbox."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relay.model import Account
    from relay.outbox.envelope import WaitingEnvelope


#: The rule that hits where the sender is not the account's: its address may be an innocent third party's.
FOREIGN_SENDER = "foreign_sender"


def is_foreign(hits: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the sender of a message is to hear nothing of its being held."""
    return any(hit.get("rule") == FOREIGN_SENDER for hit in hits)


class Why(StrEnum):
    """Why a message waits."""

    UNREACHABLE = "unreachable"  #: its server could not be spoken to
    LATER = "later"  #: its server answered 4xx
    IN_DOUBT = "in doubt"  #: its server did not answer the dot in time, or the connection broke
    QUEUE = "queue"  #: the customer's mail always goes through the outbox
    PACED = "paced"  #: its sender is throttled
    TURN = "turn"  #: the same, and the moment of its turn is fixed
    STANDING = "standing"  #: its sender may not send at the moment
    REPORT = "report"  #: a notification of ours
    RETURNED = "returned"  #: what came back to a return path of ours, on its way to the sender
    RELEASED = "released"  #: staff let it go whatever its sender's standing
    HELD = "held"  #: staff look first
    UNSCREENED = "unscreened"  #: screening failed; it is tried again before anything goes out


@dataclass(frozen=True, slots=True)
class Screened:
    """What screening says at last of a message that was taken unscreened."""

    #: deliver, hold, refuse; anything else: not yet
    action: str
    #: the stamped message, for deliver and hold
    pieces: Sequence[bytes] = ()
    #: for staff, and for the sender of what is refused
    reason: str = ""
    score: float = 0.0
    hits: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message as it goes out (stamped, CRLF, not dot-stuffed), and what screening said of it."""

    id: str
    account: Account
    envelope: WaitingEnvelope
    pieces: Sequence[bytes]
    why: Why
    #: more words for staff: the server's answer, the policy's reason
    note: str = ""
    score: float = 0.0
    hits: Sequence[dict[str, Any]] = ()
    #: hex of the body's hash: what a campaign has in common
    campaign: str = ""
    #: keyed hash by which the client's retry is known again (see Doubts.key); empty: not remembered
    answer_key: bytes = b""

    @property
    def size(self) -> int:
        """Return the bytes of the message."""
        return sum(len(piece) for piece in self.pieces)
