"""What happens to waiting and held mail without any attempt: notices of delay, the end of its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from relay.clock import micros, moment
from relay.errors import StoreError
from relay.outbox.bounce import Kind
from relay.outbox.envelope import WaitingEnvelope
from relay.outbox.leases import LEASE
from relay.outbox.parcel import Why, is_foreign
from relay.outbox.spool import BodyLost
from relay.store import answers
from relay.store import outbox as rows
from relay.store.outbox import Claim, Row, State

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.metrics import Metrics
    from relay.outbox.ledger import Ledger

SWEEP_SECONDS = 15.0
BATCH = 50
#: What could not be looked at for the moment is looked at again then.
AGAIN = timedelta(hours=1)


class Overdue:
    """Looks four times a minute; bounded batches, so that new mail is not slowed."""

    def __init__(self, ledger: Ledger, metrics: Metrics, hold_for: timedelta) -> None:
        self.ledger = ledger
        self.metrics = metrics
        self.hold_for = hold_for

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                while await self.sweep():
                    continue
                while await self.ledger.store.write(self._purge):
                    continue
            except StoreError:
                pass  # the store's own health says so
            except Exception as error:  # noqa: BLE001 - a row that cannot be read does not end the process
                self.metrics.bug("outbox sweep", error)
            await asyncio.sleep(SWEEP_SECONDS)

    def _purge(self, tx: Connection) -> int:
        return answers.purge(tx, self.ledger.steady.now())

    async def sweep(self) -> bool:
        """Handle one batch; True when there may be more."""
        now = self.ledger.steady.now()
        wanted = Claim(self.ledger.worker, micros(now), micros(now + LEASE), limit=BATCH)
        found = await self.ledger.store.write(lambda tx: rows.claim_overdue(tx, wanted))
        for row in found:
            try:
                await self._handle(row, now)
            except BodyLost as error:
                await self.ledger.settle(row, state=State.POISON, last=str(error))
                self.metrics.bug("outbox", error)
            except StoreError as error:  # the disk's fault, or its key is not here yet; the others go on
                later = micros(now + AGAIN)
                await self.ledger.settle(row, next_us=row.next_us, deadline_us=later, last=str(error))
            except Exception as error:  # noqa: BLE001 - a bug with one message stops no other's delivery
                self.metrics.bug("outbox sweep", error)
                later = micros(now + AGAIN)
                await self.ledger.settle(
                    row, next_us=row.next_us, deadline_us=later, last="a bug; see the log"
                )
        return bool(found)

    async def _handle(self, row: Row, now: datetime) -> None:
        envelope = WaitingEnvelope.unseal(self.ledger.keyring, row.id, row.envelope)
        held = row.state == State.HELD
        end = moment(row.at_us) + (self.hold_for if held else self.ledger.reports.schedule.lifetime)
        stranger = held and is_foreign(row.hits)
        if now >= end:
            status, text = ("5.7.1", "It was held for checking and not released") if held else (
                "5.4.7", "It could not be delivered in time")  # fmt: skip
            await self.ledger.give_up(row, envelope, status, text, stranger=stranger)
            return
        told = []
        if row.reason != Why.STANDING and not stranger:  # its sender was told why, once for all of it
            body = await self.ledger.body(row)
            kind = Kind.EXPIRING if held else Kind.DELAY
            told = self.ledger.reports.about(row, envelope, body, (kind,), now, end)
        await self.ledger.settle(row, told, deadline_us=micros(end), next_us=row.next_us)
