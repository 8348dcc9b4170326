"""Notifications as waiting mail of their own: from nobody, to the sender, over the same customer's server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay import ids
from relay.clock import micros, moment
from relay.outbox import bounce
from relay.outbox.envelope import Recipient, WaitingEnvelope
from relay.outbox.parcel import Why
from relay.store.outbox import Row, State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from policies.retry import Schedule
    from relay.keyring import Keyring
    from relay.outbox.spool import Spool

#: So much of a message is handed on: all of one that may come back whole, and one byte more of others.
HEAD_BYTES = bounce.FULL_BYTES + 1


class Reports:
    """Makes the rows of notifications; inserting them is the caller's, in the transaction of the cause."""

    def __init__(self, hostname: str, keyring: Keyring, spool: Spool, schedule: Schedule) -> None:
        self.hostname = hostname
        self.schedule = schedule
        self.keyring = keyring
        self.spool = spool

    def about(
        self,
        row: Row,
        envelope: WaitingEnvelope,
        body: bytes,
        kinds: Sequence[bounce.Kind],
        now: datetime,
        until: datetime | None = None,
    ) -> list[tuple[Row, bytes]]:
        """Return what the sender is told, as rows with their sealed bodies; none for a null sender."""
        subject = bounce.Subject(
            row.id, self.hostname, moment(row.at_us), envelope, body[:HEAD_BYTES], until=until,
            # what nobody has checked, or somebody had to, goes to no mailbox
            harmless=row.state == State.WAITING and not envelope.unscreened,
        )  # fmt: skip
        return [
            self._row(row, envelope, message, now)
            for kind in kinds
            for message in bounce.notify(subject, kind, envelope.recipients, now)
        ]

    def digest(self, deleted: Sequence[Row], login: str, now: datetime) -> list[tuple[Row, bytes]]:
        """Return one note to an account about its deleted mail; none if its login is no address."""
        if not bounce.ADDRESS.fullmatch(login):
            return []
        envelope = WaitingEnvelope(login, ())
        message = bounce.digest(self.hostname, login, [(row.id, moment(row.at_us)) for row in deleted], now)
        return [self._row(deleted[0], envelope, message, now)]

    def _row(self, about: Row, envelope: WaitingEnvelope, message: bytes, now: datetime) -> tuple[Row, bytes]:
        number = ids.message_id(now)
        to = Recipient(envelope.sender, notify=("NEVER",))
        ours = WaitingEnvelope(
            "", (to,), smtputf8=not envelope.sender.isascii(), eight_bit=not message.isascii()
        )
        row = Row(
            id=number,
            state=State.WAITING,
            reason=Why.REPORT,
            account_id=about.account_id,
            customer_id=about.customer_id,
            server_id=about.server_id,
            at_us=micros(now),
            next_us=micros(now),
            deadline_us=micros(now + self.schedule.lifetime),
            size=len(message),
            recipients=1,
            envelope=ours.seal(self.keyring, number),
        )
        return row, self.spool.seal(number, [message])
