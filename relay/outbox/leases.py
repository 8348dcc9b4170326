"""What one worker has leased: a dead worker's messages come back, a living one's are its alone."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from relay import clock
from relay.clock import micros
from relay.errors import StoreError
from relay.outbox.spool import ROW_BYTES
from relay.store import connect
from relay.store import outbox as rows
from relay.store.outbox import Claim, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from relay.outbox.ledger import Ledger
    from relay.store.outbox import Due

#: A dead worker's messages come back after this long; a living one renews three times as often.
LEASE = timedelta(seconds=60)
#: Messages leased at once in all. Each may wait ten minutes for a server that does not answer its dot, and
#: fifty such servers, at five messages each, must not stop the mail of all others.
AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Leased:
    """A message, and its sealed body where that lay beside it."""

    row: Row
    sealed: bytes | None = field(repr=False)


class Leases:
    """Claims, renews and gives back; what is claimed and not started waits here by its server."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._store = ledger.store
        #: until when (monotonic seconds) each message is ours
        self._until: dict[str, float] = {}
        self._ready: dict[int, deque[Leased]] = {}

    async def due(self) -> list[Due]:
        """Return the servers with mail whose time has come; StoreError.

        The leases of all nodes go by one clock, that of the database which they share.
        """
        steady = self._ledger.steady
        now_us = micros(steady.now())

        def look(tx: Connection) -> tuple[list[Due], timedelta | None]:
            shared = connect.shared_now(tx)
            return rows.due(tx, now_us), None if shared is None else shared - steady.wall()

        found, ahead = await self._store.query(look)
        if ahead is not None:
            steady.follow(ahead)
        return found

    async def claim(
        self, server_id: int, limit: int, *, urgent_only: bool, suspects: bool = False
    ) -> list[Leased]:
        """Lease due messages of one server, oldest first, no more at once than AT_ONCE in all; StoreError."""
        limit = min(limit, AT_ONCE - len(self._until))
        if limit <= 0:
            return []
        now_us = micros(self._ledger.steady.now())
        until_us = now_us + LEASE // timedelta(microseconds=1)
        ends = clock.monotonic() + LEASE.total_seconds()
        # leases that ran out while this process slept: what is still in hand here is not begun again
        in_hand = list(self._until) if suspects else ()
        wanted = Claim(self._ledger.worker, now_us, until_us, limit, suspects, urgent_only, in_hand)
        found = await self._store.write(partial(_lease, server_id=server_id, wanted=wanted))
        self._until.update((leased.row.id, ends) for leased in found)
        return found

    @property
    def held(self) -> int:
        """Return how many messages are leased."""
        return len(self._until)

    def put(self, server_id: int, found: Sequence[Leased]) -> None:
        """Keep leased messages until their server has room."""
        if found:
            self._ready.setdefault(server_id, deque()).extend(found)

    def ready(self, server_id: int) -> bool:
        """Return whether there is a next one for a server."""
        return server_id in self._ready

    def next(self, server_id: int) -> Leased:
        """Return the next message for a server."""
        waiting = self._ready[server_id]
        leased = waiting.popleft()
        if not waiting:
            del self._ready[server_id]
        return leased

    def give_back(self, server_id: int) -> None:
        """End the leases of what was not started, as if it had never been leased."""
        unused = [leased.row for leased in self._ready.pop(server_id, ())]
        for row in unused:
            self.drop(row)
        if unused:
            self._store.write_later(lambda tx: [rows.settle(tx, row, next_us=row.next_us) for row in unused])

    def give_all_back(self) -> None:
        """End all leases of what was not started."""
        for server_id in list(self._ready):
            self.give_back(server_id)

    def drop(self, row: Row) -> None:
        """Forget a message that is settled."""
        self._until.pop(row.id, None)

    def may_send(self, row: Row) -> bool:
        """Return whether a message is still ours: asked right before its body leaves."""
        return clock.monotonic() < self._until.get(row.id, 0.0)

    async def keep(self) -> None:
        """Renew what we have, until cancelled."""
        while True:
            await asyncio.sleep(LEASE.total_seconds() / 3)
            if self._until:
                await self.renew()

    async def renew(self) -> None:
        """Renew all leases; what somebody else has taken over meanwhile is theirs."""
        mine, ends = list(self._until), clock.monotonic() + LEASE.total_seconds()
        until_us = micros(self._ledger.steady.now() + LEASE)
        try:
            kept = await self._store.write(lambda tx: rows.extend(tx, self._ledger.worker, mine, until_us))
        except StoreError:
            return  # what is not renewed in time may not be sent
        still = set(kept)
        for number in mine:
            if number in self._until:
                self._until[number] = ends if number in still else 0.0


def _lease(tx: Connection, server_id: int, wanted: Claim) -> list[Leased]:
    """Lease messages and read the bodies that are rows, in the same transaction."""
    found = rows.claim(tx, server_id, wanted)
    small = [row.id for row in found if not row.in_file and row.size <= ROW_BYTES]
    sealed = rows.bodies(tx, small) if small else {}
    return [Leased(row, sealed.get(row.id)) for row in found]
