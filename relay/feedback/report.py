"""What a report says, whatever its dialect: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a report is, as `feedback import` prints it."""

    COMPLAINT = "complaint"
    BOUNCE = "bounce"
    UNKNOWN = "unknown"


#: Feedback types that are a recipient's complaint (RFC 5965 §7.3); these alone can become votes.
VOTES = frozenset(("abuse", "fraud", "virus", "other", "miscategorized"))
#: Takes an earlier complaint back (RFC 6430).
WITHDRAWAL = "not-spam"
#: A wish to hear no more: counts as unsubscribe.
OPT_OUTS = frozenset(("opt-out", "opt-out-list", "unsubscribe"))


@dataclass(frozen=True, slots=True)
class Original:
    """What a report tells of the message that it is about; empty where it does not."""

    message_id: str = ""
    mail_from: str = ""
    #: the From field of the message itself
    author: str = ""
    date: str = ""
    source_ip: str = ""
    #: which part of the report said who got the message: "report", "message", "envelope"
    recipient_from: str = ""
    #: its header has the marks of a forward: somebody had received it before it was sent on
    passed_on: bool = False

    def as_json(self) -> dict[str, str]:
        """Return what is known, as the command line prints it."""
        names = ("message_id", "mail_from", "author", "date", "source_ip", "recipient_from")
        return {name: text for name in names if (text := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What a delivery report says of one recipient."""

    recipient: str
    #: failed, delayed, delivered, relayed, expanded
    action: str
    #: enhanced status code (RFC 3463), empty if none was given
    status: str = ""
    diagnostic: str = ""
    permanent: bool = False
    #: invalid recipient, mailbox full, spam block, … (relay.feedback.reasons)
    reason: str = ""
    #: where it was passed on to, if that is another address (RFC 3464 §2.3.2)
    final: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One report, parsed; `faults` says what was missing or odd, and nothing here is believed yet."""

    kind: Kind
    dialect: str = ""
    feedback_type: str = ""
    #: the domain that claims to report, from the report's own From or from its text
    reporter: str = ""
    recipients: tuple[str, ...] = ()
    original: Original = field(default_factory=Original)
    statuses: tuple[RecipientStatus, ...] = ()
    #: texts that may be our token, from the original-message part of a complaint: only these can count
    tokens: tuple[str, ...] = ()
    #: the same from anywhere else: they tell whose message it was, and never count
    stray_tokens: tuple[str, ...] = ()
    #: how many messages the report stands for, if it says so (RFC 6430 §3: Incidents)
    incidents: int = 1
    faults: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the parsed part of what `feedback import` prints."""
        return {
            "kind": str(self.kind),
            "feedback_type": self.feedback_type,
            "reporter": self.reporter,
            "recipients": list(self.recipients),
            "original": self.original.as_json(),
        }
