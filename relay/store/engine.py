"""The store: one thread that writes and commits in groups, a few that read, and a health that heals."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, select

from relay.errors import StoreError
from relay.store import migrate, schema
from relay.store.connect import LOCK_SECONDS, OutcomeUnknown, connect, create_private, database_url, edge
from relay.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["OutcomeUnknown", "Store"]

_log = logging.getLogger("gatepost.store")
T = TypeVar("T")
#: Nobody waits longer for the store than this: SMTP answers 451 then.
WAIT_SECONDS = 2 * LOCK_SECONDS
READERS = 4
#: What nobody waits for waits this long for others, so that all of it shares one commit.
SOON_SECONDS = 0.05


class Store:
    """SQLite or PostgreSQL behind two verbs, `write` and `query`; every error is a StoreError or a Conflict.

    Work handed to `write` is a plain function of a connection. It runs in the writer's thread, in a savepoint
    of a transaction shared with its neighbours, and may run again after a lost race: it must touch only its
    connection and return its result.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = database_url(url, folder)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite and self.url.database:
            create_private(folder.absolute() / self.url.database)
        self._engine: Engine = connect(self.url, read_only=False, size=2)
        self._reading: Engine = connect(self.url, read_only=True, size=READERS + 1)
        self._writer = Writer(self._engine)
        self._readers = ThreadPoolExecutor(READERS, "gatepost-store-read")
        self._urgent = ThreadPoolExecutor(1, "gatepost-store-urgent")
        self._closed = False
        self._closing: list[Callable[[], object]] = []
        self._soon: list[Callable[[], object]] = []

    def migrate(self) -> None:
        """Bring the tables to this version; StoreError if a newer one made them. Safe at once."""
        with self.read() as tx:
            if migrate.revision(tx) == schema.REVISION:
                return  # nearly always; and no command waits for the writer's lock to find that out
        with edge():
            migrate.upgrade(self._engine)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Open one write transaction in this thread: for the command line and tests."""
        with edge(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open one reading transaction, a consistent view, in this thread."""
        with edge(), self._reading.connect() as connection, connection.begin():
            yield connection

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` and return its result after its commit.

        StoreError if the store refuses or is silent for 10 s, OutcomeUnknown if the commit may have happened.
        What `work` raises is raised here, its own changes undone, its neighbours' kept.
        """
        job = self._writer.put(work)
        future = asyncio.wrap_future(job.done)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.shield(future)
        except TimeoutError:
            if job.cancel():
                raise StoreError("the store is busy") from None
            if job.done.done():  # at the very last moment
                return job.done.result()
            raise OutcomeUnknown("the store has not answered yet") from None
        except asyncio.CancelledError:
            job.cancel()
            raise
        finally:
            future.add_done_callback(_heard)

    def write_later(
        self, work: Callable[[Connection], object], lost: Callable[[], object] | None = None
    ) -> None:
        """Queue work that nobody waits for; a failure is counted in `lost` and logged. From any thread.

        With `lost`, a StoreError calls that instead, in the writer's thread: to keep what can be tried again.
        """
        self._writer.put(work, waited_for=False, lost=lost)

    def soon(self, hand_over: Callable[[], object]) -> None:
        """Call this in a moment, together with all others who asked meanwhile; from the event loop."""
        self._soon.append(hand_over)
        if len(self._soon) == 1:
            asyncio.get_running_loop().call_later(SOON_SECONDS, self._hand_over)

    def _hand_over(self) -> None:
        waiting, self._soon = self._soon, []
        for hand_over in waiting:
            try:
                hand_over()
            except Exception:  # noqa: BLE001 - a bug of one keeps no rows of the others back
                _log.exception("a batch could not hand its rows over")

    def before_close(self, hand_over: Callable[[], object]) -> None:
        """Call this first of all when the store closes, so that what it still holds is committed."""
        self._closing.append(hand_over)

    async def query(self, work: Callable[[Connection], T], *, urgent: bool = False) -> T:
        """Run reading work in one of a few threads; StoreError after 10 s.

        `urgent` work has a thread of its own: mail does not wait for what the console asks.
        """
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._urgent if urgent else self._readers, self._query, work)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await future  # who gives up takes back a question that no thread has begun with
        except TimeoutError:
            raise StoreError("the store has not answered") from None
        finally:
            future.add_done_callback(_heard)

    def _query(self, work: Callable[[Connection], T]) -> T:
        with self.read() as connection:
            return work(connection)

    async def flush(self) -> None:
        """Wait until everything that was queued before is committed or has failed."""
        await self.write(lambda _: None)

    @property
    def healthy(self) -> bool:
        """Return whether the last word of the store was a good one; probes turn it back within a second."""
        return self._writer.healthy and not self._closed

    @property
    def lost(self) -> int:
        """Return how many jobs of `write_later` failed."""
        return self._writer.lost

    @property
    def waiting(self) -> int:
        """Return how many jobs wait for the writer."""
        return self._writer.waiting

    async def ready(self) -> None:
        """Return if the store can be read and written now; StoreError otherwise."""
        if not self.healthy:
            raise StoreError(self._writer.fault or "the store is closed")
        await self.query(lambda tx: tx.execute(select(schema.counter.c.value).limit(1)).first())

    def close(self) -> None:
        """Commit what is queued, then let go of the database; harmless twice."""
        if self._closed:
            return
        for hand_over in self._closing:
            hand_over()
        self._closed = True
        self._writer.close()
        self._readers.shutdown()
        self._urgent.shutdown()
        self._engine.dispose()
        self._reading.dispose()


def _heard(future: asyncio.Future[Any]) -> None:
    """Look at an outcome that its caller no longer waits for, so that asyncio does not complain of it."""
    if not future.cancelled():
        future.exception()
