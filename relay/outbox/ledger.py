"""What became of a leased message, written down: its row, and what its sender is told, in one transaction."""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from policies import retry
from relay import clock
from relay.clock import micros, moment
from relay.errors import StoreError
from relay.events import DeliveryTried
from relay.log import nameless
from relay.outbox.bounce import Kind
from relay.outbox.envelope import Fate, Recipient
from relay.outbox.parcel import Why, is_foreign
from relay.outbox.schedule import Sparing, Steady
from relay.outbox.spool import BodyLost
from relay.store import accounts, paces
from relay.store import outbox as rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from relay.events import Event
    from relay.keyring import Keyring
    from relay.outbox.attempt import Outcome
    from relay.outbox.envelope import WaitingEnvelope
    from relay.outbox.parcel import Screened
    from relay.outbox.report import Reports
    from relay.outbox.spool import Spool
    from relay.store.engine import Store
    from relay.store.outbox import Row

T = TypeVar("T")

RECORD_SECONDS = 1.0
#: Of so many held messages an hour an account is told.
HELD_NOTES = 10
#: So long before held mail expires its sender hears of it.
NOTICE = timedelta(days=1)


#: What an attempt does not change: whose standing is not asked.
STAYS = (Why.REPORT, Why.RETURNED, Why.RELEASED)


class Ledger:
    """Reads bodies and writes outcomes for one worker; every write is fenced: a late one changes nothing."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        spool: Spool,
        reports: Reports,
        emit: Callable[[Event], object],
    ) -> None:
        """Work with these parts; `emit` hears of what is given up."""
        self.store = store
        self.keyring = keyring
        self.spool = spool
        self.reports = reports
        self.emit = emit
        self.steady = Steady(clock.now, clock.monotonic)
        self.worker = secrets.token_hex(8)
        #: set when there may be something to do at once
        self.wake = asyncio.Event()
        self.chance: Callable[[], float] = random.random
        self.notes = Sparing(HELD_NOTES)
        #: messages that are over, and who waits until they are deleted
        self._ends: list[tuple[Row, asyncio.Future[bool]]] = []
        self._ending: asyncio.Task[None] | None = None

    def hashes(self, customer_id: int, address: str) -> tuple[bytes, bytes]:
        """Return the keyed hashes of an address and of its domain."""
        domain = address.rpartition("@")[2]
        return self.keyring.recipient_hash(customer_id, address), self.keyring.domain_hash(
            customer_id, domain
        )

    async def body(self, row: Row, sealed: bytes | None = None) -> bytes:
        """Return the body of a message, `sealed` where it was read with its row; BodyLost if it is gone."""
        if sealed is not None:
            return self.spool.open(row.id, sealed)
        if row.in_file:
            return await self.spool.read(row.id)
        sealed = await self.store.query(lambda tx: rows.body(tx, row.id))
        if sealed is None:
            raise BodyLost(f"{row.id}: the body is gone")
        return self.spool.open(row.id, sealed)

    async def record(self, row: Row, envelope: WaitingEnvelope, body: bytes, outcome: Outcome) -> None:
        """Write what an attempt came to: an end, or the next attempt; tries until the store takes it."""
        now = self.steady.now()
        attempts = row.attempts + 1
        decision, at = retry.judge(self.reports.schedule, moment(row.at_us), attempts, now, self.chance())
        fates = outcome.fates
        if decision.action is retry.Retry.EXPIRE:
            fates = tuple(_expired(one) if one.waits else one for one in fates)
        after = envelope.with_fates(fates)
        kinds = (Kind.FAILURE, Kind.SUCCESS)
        told = self.reports.about(row, replace(envelope, recipients=fates), body, kinds, now)
        if not after.waiting:
            await self.finish(row, told)
            return
        reason = Why.UNREACHABLE if outcome.unreachable else Why.LATER
        if outcome.in_doubt:
            reason = Why.IN_DOUBT
        elif envelope.unscreened:  # until it has left it is screened before each attempt
            reason = Why.UNSCREENED
        await self.settle(
            row,
            told,
            attempts=attempts,
            next_us=micros(at),
            envelope=after.seal(self.keyring, row.id),
            recipients=len(after.waiting),
            last=nameless(outcome.last),
            deaths=0,
            reason=row.reason if row.reason in STAYS else reason,
        )

    async def settle(self, row: Row, reports: Sequence[tuple[Row, bytes]] = (), **values: object) -> bool:
        """Write these columns and end the lease; False when somebody else has the message now."""
        return await self._written(lambda tx: rows.settle(tx, row, **values) and _add(tx, reports))

    async def hold(
        self, row: Row, envelope: WaitingEnvelope, screened: Screened, hold_for: timedelta
    ) -> None:
        """Keep a message for staff that was waiting to be screened, stamped; its sender is told."""
        now = self.steady.now()
        body = b"".join(screened.pieces)
        ready = replace(envelope, unscreened=False)
        tells = not is_foreign(screened.hits) and self.notes.allows(row.account_id, clock.monotonic())
        kinds = (Kind.HELD,) if tells else ()
        told = self.reports.about(row, ready, body, kinds, now, now + hold_for)
        sealed = None if row.in_file else self.spool.seal(row.id, [body])
        if row.in_file:
            await self.spool.keep(row.id, [body])
        values: dict[str, object] = {
            "state": rows.State.HELD,
            "reason": Why.HELD,
            "at_us": micros(now),
            "deadline_us": micros(now + max(hold_for - NOTICE, hold_for / 2)),
            "envelope": ready.seal(self.keyring, row.id),
            "size": len(body),
            "last": screened.reason,
            "score": screened.score,
            "hits": list(screened.hits),
        }

        def work(tx: Connection) -> bool:
            if not rows.settle(tx, row, **values):
                return False
            if sealed is not None:
                rows.replace_body(tx, row.id, sealed)
            return _add(tx, told)

        await self._written(work)
        self.wake.set()

    async def finish(self, row: Row, told: Sequence[tuple[Row, bytes]] = ()) -> None:
        """Delete a message with nothing left to do, then its file."""
        if not told:
            gone = await self._ended(row)
        else:
            gone = await self._written(lambda tx: rows.finish(tx, row) and _add(tx, told))
            self.wake.set()
        if gone and row.in_file:
            await self.spool.drop(row.id)

    async def _ended(self, row: Row) -> bool:
        """Delete a message of which nobody is told, together with those that end meanwhile."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ends.append((row, done))
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end_all())
        try:
            return await done
        except asyncio.CancelledError:
            with suppress(StoreError):
                self.store.write_later(lambda tx: rows.finish(tx, row))  # as `_written` does
            raise

    async def _end_all(self) -> None:
        """Delete what has ended, while more does, each time all of it in one go."""
        try:
            while self._ends:
                ends, self._ends = self._ends, []
                ended = [row for row, _ in ends]
                try:
                    gone = await self._written(partial(rows.finish_all, ended=ended))
                except Exception as error:  # noqa: BLE001 - theirs to tell, who wait for it
                    for _, done in ends:
                        if not done.done():
                            done.set_exception(error)
                    continue
                for row, done in ends:
                    if not done.done():
                        done.set_result(row.id in gone)
        finally:
            self._ending = None

    async def _written(self, work: Callable[[Connection], T]) -> T:
        """Write although the store may be away for a while: the fence makes doing it twice harmless.

        Who is stopped meanwhile leaves it to the store: what the server has taken must not go out twice.
        """
        try:
            while True:
                try:
                    return await self.store.write(work)
                except StoreError:
                    await asyncio.sleep(RECORD_SECONDS)
        except asyncio.CancelledError:
            with suppress(StoreError):
                self.store.write_later(work)  # before whatever its worker writes now
            raise

    async def give_up(
        self, row: Row, envelope: WaitingEnvelope, status: str, text: str, *, stranger: bool = False
    ) -> None:
        """End a message without an attempt; its sender is told or, where that is a stranger, its account."""
        logins = await self.store.query(lambda tx: accounts.logins(tx, [row.account_id]))
        login, now = logins.get(row.account_id, ""), self.steady.now()
        if stranger:
            told = self.reports.digest([row], login, now)
        else:
            fates = tuple(one.became(Fate.FAILED, status, text) for one in envelope.waiting)
            failed = replace(envelope, recipients=fates)
            told = self.reports.about(row, failed, await self.body(row), (Kind.FAILURE,), now)
        await self.finish(row, told)
        self.emit(
            DeliveryTried(
                id=row.id, login=login, outcome="failed", attempt=row.attempts, delivered=0,
                failed=len(envelope.waiting), waiting=0, answer=f"{status} {text}", seconds=0.0,
            )
        )  # fmt: skip


def _add(tx: Connection, told: Sequence[tuple[Row, bytes]]) -> bool:
    for row, sealed in told:
        rows.add(tx, row, sealed)
    return True


def _expired(one: Recipient) -> Recipient:
    return one.became(Fate.FAILED, "5.4.7", one.reply or "It could not be delivered in time")


def waits_its_turn(tx: Connection, row: Row, now_us: int, pace_us: int) -> bool:
    """Give a throttled sender's message its turn; False when that is now."""
    turn_us = paces.reserve(tx, row.account_id, now_us, pace_us)
    if turn_us <= now_us:
        return False
    rows.settle(tx, row, reason=Why.TURN, next_us=turn_us, last="sender throttled")
    return True
