"""The outbox as the rest of Gatepost sees it: take mail durably, deliver it, remember answers in doubt."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from policies.retry import Schedule
from relay import clock
from relay.clock import micros
from relay.errors import NotFound, StoreError
from relay.log import nameless
from relay.model import State as Standing
from relay.outbox import bounce
from relay.outbox.attempt import Outcome, answered
from relay.outbox.deliver import Deliverer
from relay.outbox.doubts import Doubts
from relay.outbox.envelope import Fate, Recipient, WaitingEnvelope
from relay.outbox.ledger import NOTICE, Ledger
from relay.outbox.overdue import Overdue
from relay.outbox.parcel import Parcel, Why
from relay.outbox.report import HEAD_BYTES, Reports
from relay.outbox.spool import ROW_BYTES, Full, Spool
from relay.store import accounts, answers, changes, paces
from relay.store import outbox as rows
from relay.store.answers import Answer
from relay.store.connect import OutcomeUnknown
from relay.store.outbox import Row, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from relay.config import Config
    from relay.keyring import Keyring
    from relay.metrics import Metrics
    from relay.model import Server
    from relay.store.changes import Change
    from relay.store.engine import Store
    from relay.upstream.pool import Pool
    from relay.upstream.reply import UpstreamReply
    from relay.upstream.route import Route

__all__ = ["Answer", "Full", "Outbox", "Parcel", "Recipient", "WaitingEnvelope", "Why"]

ORPHANS = 500
TIDY_SECONDS = 3600.0
MEASURE_SECONDS = 5.0
#: Mail whose server has not been asked yet, and of it what may go at once.
NOT_TRIED = (Why.QUEUE, Why.PACED, Why.HELD, Why.UNSCREENED, Why.RETURNED)
AT_ONCE = (Why.QUEUE, Why.PACED, Why.RETURNED)
#: An answer in doubt is waited for 10 minutes; then its lease ends soon.
LATE = timedelta(minutes=11)


def schedule_of(config: Config) -> Schedule:
    """Return the pauses that the configuration asks for."""
    settings = config.outbox
    return Schedule(settings.first_retry, settings.longest_retry, settings.lifetime, settings.delay_notice)


def reports_of(config: Config, keyring: Keyring) -> Reports:
    """Return what staff's deeds on waiting mail need: its bodies, and how senders are told."""
    spool = Spool(config.path(config.outbox.folder), keyring)
    return Reports(config.hostname, keyring, spool, schedule_of(config))


class Outbox:
    """Waiting mail of one process: any process may `accept` and `hold`, one a node (or all) may `run`."""

    def __init__(
        self,
        config: Config,
        store: Store,
        keyring: Keyring,
        pool: Pool,
        routes: Callable[[Server], Route],
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.keyring = keyring
        self.hold_for = timedelta(days=config.outbox.hold_days)
        self.reports = reports_of(config, keyring)
        self.spool = self.reports.spool
        self.spool.prepare()
        self.all_in_rows = config.outbox.bodies == "database"
        if store.sqlite and store.url.database:
            self.spool.beside = (Path(store.url.database).parent,)
        self.ledger = Ledger(store, keyring, self.spool, self.reports, metrics.emit)
        self.deliverer = Deliverer(self.ledger, pool, routes, metrics, config.outbox.concurrency)
        self.deliverer.hold_for = self.hold_for
        self.metrics = metrics
        self.overdue = Overdue(self.ledger, metrics, self.hold_for)
        #: answers whose arrival at the client is in doubt
        self.doubts = Doubts(store, keyring, self.ledger.steady)
        self._running = False
        self._late: set[asyncio.Task[None]] = set()

    # --- taking mail

    @property
    def healthy(self) -> bool:
        """Return whether a message can be promised now."""
        return self.store.healthy and self.spool.healthy

    def room_for(self, size: int) -> bool:
        """Return whether the disk has room for a message of so many bytes; 452 4.3.1 otherwise."""
        return self.spool.room_for(size)

    async def accept(self, parcel: Parcel, *, late: asyncio.Future[UpstreamReply] | None = None) -> str:
        """Take a message and return its queue id, which is durable then: file fsynced, row committed.

        `late` may still bring the server's answer to the dot (InDoubt): until it does, or 10 minutes have
        passed, nothing is tried. A retry with the `answer_key` of an earlier message returns that one's id.
        Full (452 4.3.1) or StoreError (451): nothing was taken. Run it shielded from the loss of the client.
        """
        now = self.ledger.steady.now()
        begins = now if parcel.why in AT_ONCE else now + self.reports.schedule.first
        schedule = self.reports.schedule
        row = self._row(parcel, State.WAITING, micros(begins), min(schedule.delay_notice, schedule.lifetime))
        if late is not None:
            row = replace(row, worker=self.ledger.worker, next_us=micros(now + LATE))
        queue_id = await self._keep(row, parcel)
        if late is not None and queue_id == row.id:
            task = asyncio.get_running_loop().create_task(self._await_late(row, parcel.envelope, late))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        elif parcel.why in AT_ONCE:
            self.ledger.wake.set()
        return queue_id

    async def hold(self, parcel: Parcel, *, tell_sender: bool = True) -> str:
        """Keep a message for staff and return its id, durably; its sender hears of it, and before it ends.

        An account is told of ten an hour: the reply to each dot says the same.
        """
        row = self._row(parcel, State.HELD, 0, max(self.hold_for - NOTICE, self.hold_for / 2))
        told = []
        if tell_sender and self.ledger.notes.allows(parcel.account.id, clock.monotonic()):
            now = self.ledger.steady.now()
            head = b"".join(parcel.pieces)[:HEAD_BYTES]
            told = self.reports.about(
                row, parcel.envelope, head, (bounce.Kind.HELD,), now, now + self.hold_for
            )
        queue_id = await self._keep(row, parcel, told)
        self.ledger.wake.set()
        return queue_id

    def relayed(self, parcel: Parcel) -> None:
        """Tell the sender that a message went to a server that reports no deliveries; nobody waits for it."""
        envelope, now = parcel.envelope, self.ledger.steady.now()
        went = replace(envelope, recipients=tuple(one.became(Fate.RELAYED) for one in envelope.recipients))
        row = self._row(parcel, State.WAITING, 0, timedelta(0))
        head = b"".join(parcel.pieces)[:HEAD_BYTES]
        told = self.reports.about(row, went, head, (bounce.Kind.SUCCESS,), now)

        def work(tx: Connection) -> None:
            for report, body in told:
                rows.add(tx, report, body)

        self.store.write_later(work)

    def _row(self, parcel: Parcel, state: State, next_us: int, deadline: timedelta) -> Row:
        now = self.ledger.steady.now()
        account = parcel.account
        return Row(
            id=parcel.id,
            state=state,
            reason=parcel.why,
            account_id=account.id,
            customer_id=account.customer.id,
            server_id=account.server.id,
            at_us=micros(now),
            next_us=next_us,
            deadline_us=micros(now + deadline),
            size=parcel.size,
            recipients=len(parcel.envelope.waiting),
            envelope=parcel.envelope.seal(self.keyring, parcel.id),
            in_file=parcel.size > ROW_BYTES and not self.all_in_rows,
            attempts=0 if parcel.why in NOT_TRIED else 1,
            last=nameless(parcel.note),
            score=parcel.score,
            hits=list(parcel.hits),
            campaign=parcel.campaign,
        )

    async def _keep(self, row: Row, parcel: Parcel, told: Sequence[tuple[Row, bytes]] = ()) -> str:
        """Make file and row durable, in this order, and return the id of what is now in the outbox."""
        if not self.spool.healthy:
            raise StoreError("the spool does not keep what it is given")
        if not self.spool.room_for(row.size):
            raise Full("no room for what waits")
        if parcel.answer_key:
            self.doubts.cast(parcel.answer_key)
        sealed = None if row.in_file else self.spool.seal(row.id, parcel.pieces)
        if row.in_file:
            await self.spool.keep(row.id, parcel.pieces)
        try:
            queue_id = await self.store.write(self._insertion(row, sealed, parcel.answer_key, told))
        except OutcomeUnknown:
            # the commit was sent and its answer lost: the row itself knows
            if await self.store.query(lambda tx: rows.get(tx, row.id)) is None:
                raise
            return row.id
        except StoreError:
            await self._unkeep(row)
            raise
        finally:
            if parcel.answer_key:
                self.doubts.cast(parcel.answer_key)
        if queue_id != row.id:
            await self._unkeep(row)
        return queue_id

    async def _unkeep(self, row: Row) -> None:
        if row.in_file:
            await self.spool.drop(row.id)

    def _insertion(
        self, row: Row, sealed: bytes | None, answer_key: bytes, told: Sequence[tuple[Row, bytes]]
    ) -> Callable[[Connection], str]:
        """Return the work that inserts a message, or finds the one that its client is already owed."""
        now = self.ledger.steady.now()

        def work(tx: Connection) -> str:
            # until the client shows that it heard our 250, its retry must find this message
            queue_id = answers.owe(tx, now, answer_key, row.id) if answer_key else row.id
            if queue_id != row.id:
                return queue_id
            rows.add(tx, row, sealed)
            for report, body in told:
                rows.add(tx, report, body)
            return row.id

        return work

    async def _await_late(
        self, row: Row, envelope: WaitingEnvelope, late: asyncio.Future[UpstreamReply]
    ) -> None:
        """Settle a message by the answer to the dot that was in doubt; its body is not kept meanwhile."""
        try:
            answer = await late
        except Exception:  # noqa: BLE001 - whatever it is, the answer will not come
            outcome = Outcome(envelope.waiting, in_doubt=True, last="the answer never came")
        else:
            outcome = answered(envelope, answer)
        body = await self._body_for_report(row) if outcome.failed else b""
        await self.ledger.record(replace(row, attempts=0), envelope, body, outcome)

    async def _body_for_report(self, row: Row) -> bytes:
        """Return the body as far as it can be had now: what became of the message matters more."""
        try:
            return await self.ledger.body(row)
        except StoreError:
            return b""

    # --- delivering

    async def run(self) -> None:
        """Deliver, tell of delays and end what is over, until cancelled."""
        await self._start()
        self._running = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.overdue.run())
            tasks.create_task(self._tidy_forever())
            tasks.create_task(self._measure_forever())
            tasks.create_task(self.deliverer.run())

    async def _start(self) -> None:
        """Take back what a dead process had leased, and tidy up."""
        if self.store.sqlite:  # one process delivers; on PostgreSQL the leases of the dead run out
            now_us = micros(self.ledger.steady.now())
            await self.store.write(lambda tx: rows.recover(tx, now_us))
        else:
            await self.deliverer.leases.due()  # to go by the clock of all nodes from the first
        await self._tidy()

    async def _tidy_forever(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            try:
                await self._tidy()
            except StoreError:
                continue  # in an hour, then

    async def _measure_forever(self) -> None:
        while True:
            try:
                load = await self.store.query(rows.load)
            except StoreError:
                pass  # the store's own health says so
            else:
                now_us = micros(self.ledger.steady.now())
                oldest = 0 if load.oldest_us is None else max(now_us - load.oldest_us, 0)
                self.metrics.note_outbox(load.states, load.unscreened, oldest / 1e6)
            await asyncio.sleep(MEASURE_SECONDS)

    async def _tidy(self) -> None:
        """Remove files without a row: of a process that died before its commit, or after its last record."""
        found = await asyncio.to_thread(lambda: list(self.spool.orphans(clock.now().timestamp())))
        for start in range(0, len(found), ORPHANS):
            await self._remove_orphans(found[start : start + ORPHANS])

    async def _remove_orphans(self, found: Sequence[str]) -> None:
        known = await self.store.query(lambda tx: rows.known(tx, found))
        for number in set(found) - known:
            await self.spool.drop(number)

    async def standing_changed(self, ids: Sequence[int], column: str = "account_id") -> None:
        """Look again at mail that waits because of its sender's standing; call it at every such change."""
        self.deliverer.forget_senders()
        now_us = micros(self.ledger.steady.now())

        def look(tx: Connection) -> None:
            paces.wake(tx, column, ids, now_us)
            for account_id in paces.taking_turns(tx, column, ids):
                if _standing(tx, account_id) is not Standing.THROTTLED:
                    paces.wake_turns(tx, account_id, now_us)
                    paces.forget(tx, [account_id])

        await self.store.write(look)
        self.ledger.wake.set()

    def heard(self, heard: Sequence[Change]) -> None:
        """Listen to the directory (`Directory.listen`): a changed standing makes mail move or wait."""
        for kind in (changes.ACCOUNT, changes.SERVER, changes.CUSTOMER):
            ids = [int(change.key) for change in heard if change.kind == kind and change.key.isdigit()]
            if ids and self._running:
                task = asyncio.get_running_loop().create_task(self._look_again(ids, f"{kind}_id"))
                self._late.add(task)
                task.add_done_callback(self._late.discard)

    async def _look_again(self, ids: Sequence[int], column: str) -> None:
        try:
            await self.standing_changed(ids, column)
        except StoreError:
            return  # it is looked at in a while anyway

    async def counts(self) -> dict[str, int]:
        """Return how many messages wait, are held, and are set aside."""
        return await self.store.query(rows.counts)


def _standing(tx: Connection, account_id: int) -> Standing:
    try:
        return accounts.account_by_id(tx, account_id).effective.state
    except NotFound:
        return Standing.CLOSED
