"""Puts our lines on top of a message: trace, feedback address and token, verdict, signatures.

The original bytes go out as they came, but for the fields that only we may write (CASES PD-30, PD-31).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from relay.signing import token
from relay.signing.dkim import COVERED, Selection, body_hash
from screening.mail import SignedAs

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.keyring import Keyring
    from relay.model import Account
    from relay.signing.dkim import Signer
    from screening.mail import Mail
    from screening.verdict import Verdict

#: Clients' own copies of what only we write, and what must not travel (RFC 5322 §3.6.3 for Bcc).
_REMOVED = frozenset(("bcc", "resent-bcc", "cfbl-address", "cfbl-feedback-id", "feedback-id"))
_REMOVED_STARTS = ("x-spam-", "x-gatepost-")
_AUTHENTICATION_RESULTS = frozenset(("authentication-results", "arc-authentication-results"))
#: how the names of all of them begin: nearly no field of a message
_SUSPECTS = (*_REMOVED, *_REMOVED_STARTS, *_AUTHENTICATION_RESULTS)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_SHOWN_RULES = 10
_COVERED = frozenset(name.decode("ascii") for name in COVERED)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Whose mail gets a one-click unsubscribe link (RFC 8058) where it has none of its own."""

    url: str
    classes: frozenset[str]
    #: names; empty: all
    customers: frozenset[str]

    def wanted(self, mail: Mail, account: Account) -> bool:
        """Return whether a message gets the link: it has one recipient, and no List-Unsubscribe."""
        return (
            str(account.klass) in self.classes
            and (not self.customers or account.customer.name in self.customers)
            and len(mail.envelope.recipients) == 1
            and not any(field.lower == "list-unsubscribe" for field in mail.fields)
        )


class Stamper:
    """Makes the complete message for the wire; holds keys and names, no state of any message."""

    def __init__(
        self,
        hostname: str,
        keyring: Keyring,
        feedback_address: str,
        sender_id: str,
        provider: Signer | None,
        customer_signer: Callable[[int, str], Signer | None],
    ) -> None:
        """Take our names and keys (None: unsigned); `customer_signer(customer id, domain)` knows theirs."""
        self._hostname = hostname
        self._keyring = keyring
        self._feedback_address = feedback_address
        self._sender_id = _UNSAFE.sub("-", sender_id)
        self._provider = provider
        self._customer_signer = customer_signer
        #: None: no links of ours
        self.unsubscribe: Unsubscribe | None = None

    def stamp(
        self, mail: Mail, account: Account, now: datetime, *, verdict: Verdict | None, tagged: bool
    ) -> list[bytes]:
        """Return our header lines and the original bytes minus removed fields, not dot-stuffed.

        Costs one signature for the provider and one for the customer where the From domain has a key;
        time is linear in the message.
        """
        raw, received = mail.raw, self._received(mail, now)
        ours = self._fields(mail, account, now, verdict if tagged else None)
        top = b"".join(ours)
        start = _header_start(mail)
        if start < 0:
            # A first line that is no field would continue our own header (CASES FR-48): it becomes text.
            signed = self._signatures(self._signers_of(mail, account), ours, raw, now)
            return [received + signed + top + b"\r\n", raw]
        cuts: list[tuple[int, int]] = []
        covered, signers = ours, self._signers_of(mail, account)
        for field in mail.fields:
            if field.lower.startswith(_SUSPECTS) and self._is_ours(field.lower, field.value):
                cuts.append((field.start, field.end))
            elif signers and field.lower in _COVERED:
                covered.append(raw[field.start : field.end])
        signatures = self._signatures(signers, covered, memoryview(raw)[mail.body_start :], now)
        kept = _without(cuts, start, len(raw))
        return [raw[:start] + received + signatures + top, *(raw[a:b] for a, b in kept)]

    @staticmethod
    def _signatures(
        signers: list[Signer], covered: list[bytes], body: bytes | memoryview, now: datetime
    ) -> bytes:
        if not signers:
            return b""
        selection, hashed = Selection.of(_named(covered)), body_hash(bytes(body))
        return b"".join(signer.signature(selection, hashed, now) for signer in signers)

    def _signers_of(self, mail: Mail, account: Account) -> list[Signer]:
        return self._signers(account, mail.from_[0].domain if len(mail.from_) == 1 else "")

    def _signers(self, account: Account, domain: str) -> list[Signer]:
        """Return who signs mail of an author domain: the provider, and the domain where we have its key."""
        signers = [self._provider] if self._provider is not None else []
        if domain and domain not in {one.domain for one in signers}:
            own = self._customer_signer(account.customer.id, domain)
            signers += [own] if own is not None else []
        return signers

    def signed_as(self, account: Account, domain: str) -> tuple[SignedAs, ...]:
        """Return how mail of an author domain will be signed, for those who ask what receivers will find."""
        signers = self._signers(account, domain)
        return tuple(SignedAs(one.domain, one.selector, one.public) for one in signers)

    def _is_ours(self, name: str, value: bytes) -> bool:
        if name not in _AUTHENTICATION_RESULTS:
            return name in _REMOVED or name.startswith(_REMOVED_STARTS)
        # authserv-id, then perhaps a version, then ";" (RFC 8601 §2.2); ARC puts i=N before it
        start = re.sub(rb"\([^()]*\)", b" ", value[:1024].lower())
        claimed = b";".join(start.split(b";")[:2]) if name.startswith("arc-") else start.split(b";")[0]
        return self._hostname.lower().encode("ascii") in claimed.replace(b";", b" ").split()

    def _received(self, mail: Mail, now: datetime) -> bytes:
        """Return our trace line without client address, HELO name or login (CASES PR-10)."""
        envelope = mail.envelope
        protocol = "ESMTP" + ("S" if envelope.tls else "") + ("A" if envelope.login else "")
        line = f"Received: by {self._hostname} (Gatepost) with {protocol} id {envelope.id};"
        return f"{line}\r\n {_date(int(now.timestamp()))}\r\n".encode("ascii")

    def _fields(self, mail: Mail, account: Account, now: datetime, tag: Verdict | None) -> list[bytes]:
        lines = [
            f"CFBL-Address: {self._feedback_address}; report=arf",
            f"CFBL-Feedback-ID: {self.token(mail, account, now)}",
            f"Feedback-ID: {self._feedback_id(account.id, account.klass, account.customer.id)}",
        ]
        if tag is not None:
            rules = ",".join(_UNSAFE.sub("-", hit.rule) for hit in tag.top[:_SHOWN_RULES])
            lines.append(f"X-Gatepost-Verdict: tag; score={tag.score:.2f}; rules={rules}")
        if self.unsubscribe is not None and self.unsubscribe.wanted(mail, account):
            link = f"{self.unsubscribe.url}/unsubscribe/{self._token(mail, account, now, token.UNSUBSCRIBE)}"
            lines += [f"List-Unsubscribe: <{link}>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"]
        return [f"{line}\r\n".encode("ascii") for line in lines]

    def token(self, mail: Mail, account: Account, now: datetime) -> str:
        """Return the sealed feedback token of one message."""
        return self._token(mail, account, now, token.FEEDBACK)

    def _token(self, mail: Mail, account: Account, now: datetime, purpose: str) -> str:
        recipients = mail.envelope.recipients
        one = (
            self._keyring.recipient_hash(account.customer.id, recipients[0]) if len(recipients) == 1 else None
        )
        said = token.Token(account.id, mail.envelope.id, now, len(recipients), one)
        return token.seal(self._keyring, said, purpose)

    def _feedback_id(self, account_id: int, klass: str, customer_id: int) -> str:
        """Return Gmail's identifiers: account and customer as stable pseudonyms, never a message."""
        sender = self._keyring.pseudonym(f"account {account_id}")
        customer = self._keyring.pseudonym(f"customer {customer_id}")
        return f"{sender}:{klass}:{customer}:{self._sender_id}"


@lru_cache(maxsize=16)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _named(fields: list[bytes]) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Return fields by lower-case name, as (name, value) in order."""
    named: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for field in fields:
        name, _, value = field.partition(b":")
        named.setdefault(name.strip().lower(), []).append((name, value))
    return named


def _header_start(mail: Mail) -> int:
    """Return where the header starts: behind an mbox line that an exported file may have; -1 for none."""
    if mail.raw.startswith(b"\r\n"):
        return 0
    start = mail.fields[0].start if mail.fields else -1
    mbox = mail.raw.startswith((b"From ", b">From ")) and start == mail.raw.find(b"\n") + 1
    return start if start == 0 or mbox else -1


def _without(cuts: list[tuple[int, int]], place: int, end: int) -> list[tuple[int, int]]:
    """Return the stretches from `place` to `end` outside the cuts, as few as there can be."""
    kept: list[tuple[int, int]] = []
    for start, stop in cuts:
        if start > place:
            kept.append((place, start))
        place = stop
    if place < end:
        kept.append((place, end))
    return kept
