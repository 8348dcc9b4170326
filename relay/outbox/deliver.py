"""The delivery loop: claims what is due, one worker a message, a few at once to a server, records each end.

Order of an attempt: lease → standing → body → the customer's server → record (and, in the same transaction,
what the sender is told) → file removed. A crash at any point leaves either the row, so that it is tried
again, or nothing. A record that the store does not take is tried until it does: the message is out, and must
not go out twice.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from policies import rates, retry
from relay import clock
from relay.clock import micros
from relay.errors import ConfigError, NotFound, RelayError, StoreError
from relay.events import DeliveryTried
from relay.model import Mode
from relay.model import State as Standing
from relay.outbox.attempt import Outcome, attempt
from relay.outbox.envelope import Fate, WaitingEnvelope
from relay.outbox.leases import Leases
from relay.outbox.ledger import STAYS, waits_its_turn
from relay.outbox.parcel import Screened, Why
from relay.outbox.schedule import Servers
from relay.outbox.spool import BodyLost
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.outbox import URGENT, Due, Row, State
from relay.store.recipients import Gone, gone, is_unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

    from relay.metrics import Metrics
    from relay.model import Account, Server
    from relay.outbox.leases import Leased
    from relay.outbox.ledger import Ledger
    from relay.upstream.pool import Pool
    from relay.upstream.route import Route

    Rescreen = Callable[[Row, WaitingEnvelope, bytes, Account], Awaitable[Screened]]

POLL_SECONDS = 1.0
DRAIN_SECONDS = 15.0
#: Who has not died of a message after so long does not die of it.
SUSPECT_SECONDS = 30.0
#: Messages leased for one server beyond those that it has room for, while few are leased in all.
AHEAD = 20
AHEAD_WHILE = 50
LARGE_BYTES = 1 << 20
#: A sender's standing is this old at most; so many senders are remembered.
SENDER_SECONDS = 0.5
SENDERS = 10_000
#: Large messages in memory at once, one for each server.
LARGE_AT_ONCE = 4
#: How often a message whose sender may not send is looked at, besides at each change of its standing.
STANDING_PAUSE = timedelta(minutes=15)
#: Between two messages of a throttled sender.
PACE_US = rates.PACE.interval_ns // 1000
#: and that of one that has just come back
HALF_OPEN_US = rates.HALF_OPEN_PACE.interval_ns // 1000


class Deliverer:
    """Delivers until cancelled; one for a process. `wake` makes it look now."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        routes: Callable[[Server], Route],
        metrics: Metrics,
        at_once: int,
    ) -> None:
        self.ledger = ledger
        self.store = ledger.store
        self.steady = ledger.steady
        self.pool = pool
        self.routes = routes
        self.metrics = metrics
        self.servers = Servers(at_once)
        #: screens and stamps what was taken unscreened; without it such mail waits
        self.rescreen: Rescreen | None = None
        self.hold_for = timedelta(days=7)
        #: what MAIL FROM says instead of a sender (relay.signing.returns)
        self.return_path: Callable[[Account, str, str], str] = lambda _account, _id, sender: sender
        #: staff have stopped all delivery
        self.braked: Callable[[], bool] = lambda: False
        self.possible_duplicates = 0
        self.leases = Leases(ledger)
        self._running: set[asyncio.Task[None]] = set()
        #: the message that is handled alone, because a worker may have died of it
        self._suspect = ""
        self._stopping = False
        #: servers that had more due mail than room
        self._many: set[int] = set()
        self._refills: set[asyncio.Task[bool]] = set()
        self._claiming = asyncio.Lock()
        self._accounts: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._senders: dict[tuple[int, int], tuple[float, tuple[Account, Server]]] = {}
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._large_of: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    # --- the loops

    async def run(self) -> None:
        """Deliver until cancelled; then what is under way gets a moment to end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.leases.keep())
            try:
                while True:
                    more = await self._guarded(self._round, tasks)
                    if not more:
                        await self._pause(POLL_SECONDS)
            except asyncio.CancelledError:
                self._stopping = True
                self.leases.give_all_back()
                if self._running:
                    await asyncio.wait(self._running, timeout=DRAIN_SECONDS)
                raise

    async def _guarded(
        self, work: Callable[[asyncio.TaskGroup], Awaitable[bool]], tasks: asyncio.TaskGroup
    ) -> bool:
        try:
            return await work(tasks)
        except RelayError:
            pass  # the store's own health says so
        except Exception as error:  # noqa: BLE001 - a row that cannot be read stops no other server's mail
            self.metrics.bug("outbox", error)
        await asyncio.sleep(POLL_SECONDS)
        return False

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.ledger.wake.wait()
        except TimeoutError:
            return
        self.ledger.wake.clear()

    async def _round(self, tasks: asyncio.TaskGroup) -> bool:
        """Look at all servers and start what may start now; True when there may be more at once."""
        if self.braked():
            return False
        started = False
        for due in await self.leases.due():
            started |= await self._guarded(partial(self._claim, due=due), tasks)
        return started

    async def _refill(self, tasks: asyncio.TaskGroup, server_id: int) -> bool:
        """Start the next messages for a server that has many, without a look at all the others first."""
        idle = self.braked() or self._stopping
        return not idle and await self._claim(tasks, Due(server_id, URGENT + 1, suspects=False))

    async def _claim(self, tasks: asyncio.TaskGroup, due: Due) -> bool:
        """Start as many messages for one server as it has room for, leased ahead or now; return if any."""
        async with self._claiming:
            started = self._start_ready(tasks, due.server_id)
            room = self.servers.room(due.server_id, clock.monotonic())
            only_urgent = due.next_us == URGENT and room <= 0
            if only_urgent:
                room = self.servers.urgent_room(due.server_id)
            if room <= 0 or self.leases.ready(due.server_id):
                return started
            # where one message after the other leaves, the next few are leased, and read, in the same breath
            plenty = due.server_id in self._many and self.leases.held < AHEAD_WHILE
            ahead = AHEAD if plenty and not only_urgent else 0
            found = await self.leases.claim(due.server_id, room + ahead, urgent_only=only_urgent)
            if len(found) < room:
                self._many.discard(due.server_id)
            else:
                self._many.add(due.server_id)
            if due.suspects and not self._suspect and len(found) < room:
                found += await self.leases.claim(due.server_id, 1, urgent_only=only_urgent, suspects=True)
            if only_urgent:
                for leased in found:
                    self._start(tasks, leased)
                return started or bool(found)
            self.leases.put(due.server_id, found)
            return self._start_ready(tasks, due.server_id) or started

    def _start_ready(self, tasks: asyncio.TaskGroup, server_id: int) -> bool:
        """Start what is leased for a server as far as it has room; give the rest back if it is left alone."""
        started = False
        while self.leases.ready(server_id) and self.servers.room(server_id, clock.monotonic()) > 0:
            self._start(tasks, self.leases.next(server_id))
            started = True
        if not self.servers.running(server_id):
            self.leases.give_back(server_id)
        return started

    def _start(self, tasks: asyncio.TaskGroup, leased: Leased) -> None:
        row = leased.row
        if row.deaths:
            self._suspect = row.id
            asyncio.get_running_loop().call_later(SUSPECT_SECONDS, self._acquit, row.id)
        self.servers.started(row.server_id)
        task = tasks.create_task(self._one(leased))
        self._running.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._running.discard(done)
            self.leases.drop(row)
            self.servers.ended(row.server_id)
            self._acquit(row.id)
            if self._stopping:
                return
            self._start_ready(tasks, row.server_id)
            if row.server_id in self._many and not self.leases.ready(row.server_id):
                refill = tasks.create_task(self._guarded(lambda t: self._refill(t, row.server_id), tasks))
                self._refills.add(refill)
                refill.add_done_callback(self._refills.discard)

        task.add_done_callback(ended)

    def _acquit(self, number: str) -> None:
        """Let the next suspect be handled: this one has ended, or only waits for its server."""
        if self._suspect == number:
            self._suspect = ""
            self.ledger.wake.set()

    # --- one message

    async def _one(self, leased: Leased) -> None:
        """Handle one leased message; whatever happens, its row says what is next."""
        row = leased.row
        try:
            await self._deliver(leased)
        except asyncio.CancelledError:
            now_us = micros(self.steady.now())
            with suppress(StoreError):
                self.store.write_later(lambda tx: rows.settle(tx, row, next_us=now_us))
            raise
        except BodyLost as error:
            await self.ledger.settle(row, state=State.POISON, last=str(error))
            self.metrics.bug("outbox", error)
        except StoreError as error:
            # the store's fault, or the disk's: the message is not to blame
            later = micros(self.steady.now() + self.ledger.reports.schedule.first)
            await self.ledger.settle(row, next_us=later, last=str(error))
        except Exception as error:  # noqa: BLE001 - the supervisor of attempts: a bug costs this message one life
            self.metrics.bug("outbox", error)
            later = micros(self.steady.now() + self.ledger.reports.schedule.first)
            await self.ledger.settle(row, deaths=row.deaths + 1, next_us=later, last="a bug; see the log")

    async def _deliver(self, leased: Leased) -> None:
        row = leased.row
        if retry.is_poison(row.deaths).action:
            await self.ledger.settle(
                row, state=State.POISON, last="set aside: workers died while they handled it"
            )
            self.metrics.bug("outbox", RelayError(f"message {row.id} was set aside"))
            return
        if row.deaths:
            self.possible_duplicates += 1
        envelope = WaitingEnvelope.unseal(self.ledger.keyring, row.id, row.envelope)
        # one after the other, in the order of their claims: a pace must let the oldest go first
        async with self._accounts.setdefault(row.account_id, asyncio.Lock()):
            try:
                account, server = await self._sender(row)
            except NotFound:
                await self.ledger.give_up(row, envelope, "5.2.1", "The account that sent this is gone")
                return
            if self.braked():  # claimed a moment before
                await self.ledger.settle(row, next_us=micros(self.steady.now()))
                return
            if await self._waits_for_standing(row, account):
                return
        if row.size > LARGE_BYTES:
            async with self._large_of.setdefault(row.server_id, asyncio.Lock()), self._large:
                await self._try(leased, envelope, account, server)
        else:
            await self._try(leased, envelope, account, server)

    def forget_senders(self) -> None:
        """Read every sender anew: something about one of them has changed."""
        self._senders.clear()

    async def _sender(self, row: Row) -> tuple[Account, Server]:
        """Return who sends, at most half a second old: a change of standing holds within one. NotFound."""
        now = clock.monotonic()
        known = self._senders.get((row.account_id, row.server_id))
        if known is not None and now < known[0] + SENDER_SECONDS:
            return known[1]
        found = await self.store.query(lambda tx: _sender(tx, row))
        if len(self._senders) >= SENDERS:
            self._senders.clear()
        self._senders[row.account_id, row.server_id] = (now, found)
        return found

    async def _waits_for_standing(self, row: Row, account: Account) -> bool:
        """Put a message back whose sender may not send now, or not yet; our own notifications always go."""
        state, little = account.effective.state, account.standing.half_open(self.steady.now())
        pace_us = PACE_US if state is not Standing.ACTIVE else HALF_OPEN_US if little else 0
        if not pace_us or account.customer.mode is Mode.OBSERVE:
            return False
        if state is Standing.ACTIVE and row.reason not in (Why.PACED, Why.TURN):
            return False  # it was taken before, or by its server
        if row.reason in STAYS:
            return False
        now = self.steady.now()
        if not state.may_send:
            await self.ledger.settle(
                row, reason=Why.STANDING, next_us=micros(now + STANDING_PAUSE), last=f"sender {state}"
            )
            return True
        if row.reason == Why.TURN:
            return False  # this is it
        return await self.store.write(lambda tx: waits_its_turn(tx, row, micros(now), pace_us))

    async def _try(self, leased: Leased, envelope: WaitingEnvelope, account: Account, server: Server) -> None:
        row, started = leased.row, clock.monotonic()
        body: bytes | None = await self.ledger.body(row, leased.sealed)
        if envelope.unscreened:
            body = await self._screened(row, envelope, body or b"", account)
        if body is None:
            return
        try:
            route = self.routes(server)
        except ConfigError as error:
            outcome = Outcome(envelope.waiting, unreachable=True, last=str(error))
        else:
            transaction = self.pool.transaction(route, login=account.login, patient=row.next_us != URGENT)
            outcome = await attempt(
                transaction,
                envelope,
                body,
                lambda: self.leases.may_send(row),
                sender=self.return_path(account, row.id, envelope.sender),
            )
        if outcome.unreachable:
            self.servers.failed(row.server_id, clock.monotonic(), self.ledger.chance())
        else:
            self.servers.answered(row.server_id)
        self.possible_duplicates += outcome.in_doubt
        await self.ledger.record(row, envelope, body, outcome)
        self._note_gone(row, outcome)
        self._emit(row, account.login, outcome, clock.monotonic() - started)

    async def _screened(
        self, row: Row, envelope: WaitingEnvelope, body: bytes, account: Account
    ) -> bytes | None:
        """Return the stamped message; None after doing what screening says instead. Never the body as is."""
        judged = Screened("later", reason="screening is not to be had")
        if self.rescreen is not None:
            judged = await self.rescreen(row, envelope, body, account)
        match judged.action:
            case "deliver":
                return b"".join(judged.pieces)
            case "hold":
                await self.ledger.hold(row, envelope, judged, self.hold_for)
            case "refuse":
                await self.ledger.give_up(row, envelope, "5.7.1", judged.reason)
            case _:
                outcome = Outcome(envelope.waiting, last=judged.reason or "not screened")
                await self.ledger.record(row, envelope, body, outcome)
        return None

    def _note_gone(self, row: Row, outcome: Outcome) -> None:
        """Count recipients that the server says do not exist, as its answer to a client's RCPT would be."""
        failed = [one for one in outcome.fates if one.fate is Fate.FAILED and one.reply[:3].isdecimal()]
        people = tuple(
            (*self.ledger.hashes(row.customer_id, one.address), one.status)
            for one in failed
            if is_unknown(int(one.reply[:3]), one.status, one.reply)
        )
        if people and row.reason not in (Why.REPORT, Why.RETURNED):
            said = Gone(row.account_id, row.customer_id, row.id, row.at_us, people)
            now = self.steady.now()
            self.store.write_later(lambda tx: gone(tx, now, said))

    def _emit(self, row: Row, login: str, outcome: Outcome, seconds: float) -> None:
        left = row.recipients - outcome.delivered - outcome.failed
        result = "deferred" if left else "failed" if not outcome.delivered else "delivered"
        self.metrics.emit(
            DeliveryTried(
                id=row.id,
                login=login,
                outcome="in_doubt" if outcome.in_doubt else result,
                attempt=row.attempts + 1,
                delivered=outcome.delivered,
                failed=outcome.failed,
                waiting=left,
                answer=outcome.last,
                seconds=round(seconds, 3),
            )
        )


def _sender(tx: Connection, row: Row) -> tuple[Account, Server]:
    return accounts.account_by_id(tx, row.account_id), accounts.server_of(tx, row.server_id)
