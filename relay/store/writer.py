"""The one thread that writes: it drains its queue and commits many jobs as one transaction."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from relay.clock import monotonic
from relay.errors import RelayError, StoreError
from relay.store import schema
from relay.store.connect import OutcomeUnknown, describe, is_fault_of_store, is_lost_race, ours

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import NestedTransaction

T = TypeVar("T")
_log = logging.getLogger("gatepost.store")
#: A group is small enough that the last of it does not wait long for the first.
GROUP = 500
#: More waiting jobs than this means that the database is gone: new ones are refused at once.
QUEUE = 20_000
ATTEMPTS = 4
#: No group takes longer than this and one lock more.
GROUP_SECONDS = 8.0
PROBE_SECONDS = 1.0
IDLE_PROBE_SECONDS = 5.0


@dataclass(slots=True)
class Job(Generic[T]):
    """One piece of work and where its outcome goes."""

    work: Callable[[Connection], T]
    waited_for: bool
    #: called in the writer's thread when work that nobody waits for failed for the store's fault
    lost: Callable[[], object] | None = None
    done: Future[T] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def cancel(self) -> bool:
        """Return whether it was still waiting and now will never run."""
        return self.done.cancel()


class _Failed(Exception):
    """One job of several failed where none was expected to."""

    def __init__(self, job: Job[Any], cause: Exception) -> None:
        super().__init__("a job failed")
        self.job, self.cause = job, cause


class _Ended(SQLAlchemyError):
    """The database ended the transaction by itself, and the work did not say so."""


def _in_transaction(connection: Connection) -> bool:
    """Return whether there still is one: SQLite rolls back on its own when the disk is full or fails."""
    if connection.invalidated:
        return False
    driver = connection.connection.dbapi_connection
    return driver.in_transaction if isinstance(driver, sqlite3.Connection) else connection.in_transaction()


class Writer:
    """Drains its queue into group commits; each job in a savepoint, results only after the commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: deque[Job[Any]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.healthy = True
        self.fault = ""
        self.lost = 0
        #: groups and jobs committed since the start
        self.groups = 0
        self.committed = 0

    @property
    def waiting(self) -> int:
        """Return the length of the queue."""
        return len(self._queue)

    def put(
        self,
        work: Callable[[Connection], T],
        *,
        waited_for: bool = True,
        lost: Callable[[], object] | None = None,
    ) -> Job[T]:
        """Queue work; StoreError when the writer is closed or hopelessly behind."""
        job = Job(work, waited_for, lost)
        with self._wake:
            if self._closing:
                raise StoreError("the store is closed")
            if len(self._queue) >= QUEUE:
                raise StoreError("too much work waits for the store")
            self._queue.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gatepost-store-write", daemon=True)
                self._thread.start()
            self._wake.notify()
        return job

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                if group:
                    self._commit(group)
                else:
                    self._probe()
            except BaseException as error:  # noqa: BLE001 - whatever happens, the next group has a writer
                self._note_fault(error)
                undone = [job for job in group if not job.done.done()]
                self._settle(undone, OutcomeUnknown(describe(error)))

    def _next_group(self) -> list[Job[Any]] | None:
        """Return the next jobs, none when it is time for a probe, None at the end."""
        pause = IDLE_PROBE_SECONDS if self.healthy else PROBE_SECONDS
        until = monotonic() + pause
        with self._wake:
            while not self._queue:
                if self._closing:
                    return None
                if not self._wake.wait(until - monotonic()) and monotonic() >= until:
                    return []
            jobs = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
        return [job for job in jobs if job.done.set_running_or_notify_cancel()]

    def _commit(self, jobs: list[Job[Any]]) -> None:
        """Commit the jobs as one group; what lost a race is done again, until the time for it is over."""
        until = monotonic() + GROUP_SECONDS
        groups = [jobs]
        for number in range(ATTEMPTS):
            attempts = (self._attempt(group, until, trusting=number == 0) for group in groups)
            groups = [again for found in attempts for again in found]
            if not groups:
                return
        self._give_up([job for group in groups for job in group])

    def _give_up(self, jobs: list[Job[Any]]) -> None:
        busy = StoreError("the store is busy")
        self._note_fault(busy)
        self._settle(jobs, busy)

    def _attempt(self, jobs: list[Job[Any]], until: float, *, trusting: bool) -> list[list[Job[Any]]]:
        """Run the jobs in one transaction and settle them; return the groups that are worth another try.

        `trusting`: without savepoints, which cost as much as most jobs; if one fails, all is undone and run
        again with them. Who lost a race comes last then, so that nobody waits twice for its lock.
        """
        if monotonic() >= until:
            self._give_up(jobs)
            return []
        committing = False
        for job in jobs:
            job.result = job.error = None
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                if len(jobs) == 1:
                    self._run_alone(connection, jobs[0])
                elif trusting:
                    self._run_trusting(connection, jobs)
                else:
                    self._run_all(connection, jobs, until)
                if jobs[0].error is None or len(jobs) > 1:
                    committing = True
                    transaction.commit()
        except _Failed as failed:
            if is_lost_race(failed.cause):
                return [[job for job in jobs if job is not failed.job], [failed.job]]
            return [jobs]
        except SQLAlchemyError as error:
            return self._failed(jobs, error, committing=committing)
        self._note_success(jobs)
        again = [job for job in jobs if job.error is not None and is_lost_race(job.error)]
        self._settle([job for job in jobs if job not in again] if again else jobs)
        return [again] if again else []

    def _run_all(self, connection: Connection, jobs: list[Job[Any]], until: float) -> None:
        for job in jobs:
            if monotonic() < until:
                self._run_job(connection, job)
            else:  # its neighbours waited for locks, each its 5 s
                job.error = StoreError("the store is busy")

    @staticmethod
    def _run_trusting(connection: Connection, jobs: list[Job[Any]]) -> None:
        for job in jobs:
            try:
                job.result = job.work(connection)
            except Exception as error:
                raise _Failed(job, error) from error
            if not _in_transaction(connection):
                raise _Failed(job, _Ended("transaction"))

    def _run_alone(self, connection: Connection, job: Job[Any]) -> None:
        """Run the only job of a transaction, which needs no savepoint: it is rolled back if the job fails."""
        try:
            job.result = job.work(connection)
        except Exception as error:  # noqa: BLE001 - the work's own error belongs to its caller
            job.error = error
            connection.rollback()
            if is_fault_of_store(error) and not is_lost_race(error):
                self._note_fault(error)

    def _run_job(self, connection: Connection, job: Job[Any]) -> None:
        """Run one job in its savepoint; only an error that ends the whole transaction leaves here."""
        savepoint = connection.begin_nested()
        try:
            job.result = job.work(connection)
            savepoint.commit()
        except Exception as error:  # noqa: BLE001 - the work's own error belongs to its caller
            job.error = error
            self._undo(savepoint, error)
        if not _in_transaction(connection):
            raise job.error if isinstance(job.error, SQLAlchemyError) else _Ended("transaction")

    def _undo(self, savepoint: NestedTransaction, error: Exception) -> None:
        try:
            savepoint.rollback()
        except SQLAlchemyError:
            # the transaction is gone with its savepoints: what ended it says more than what missed it
            if isinstance(error, SQLAlchemyError):
                raise error from None
            raise
        if is_fault_of_store(error) and not is_lost_race(error):
            self._note_fault(error)

    def _failed(
        self, jobs: list[Job[Any]], error: SQLAlchemyError, *, committing: bool
    ) -> list[list[Job[Any]]]:
        """Settle a group whose transaction failed, or return how to try again."""
        if is_lost_race(error):
            return [jobs]
        self._note_fault(error)
        if not committing and len(jobs) > 1:
            return [[job] for job in jobs]  # one of them may be to blame
        unknown = committing and getattr(error, "connection_invalidated", False)
        self._settle(jobs, (OutcomeUnknown if unknown else StoreError)(describe(error)))
        return []

    def _settle(self, jobs: list[Job[Any]], failure: RelayError | None = None) -> None:
        """Say what was lost, then give every job its outcome, whatever those who heard of a loss do."""
        try:
            for job in jobs:
                error = failure or job.error
                if error is not None and not job.waited_for:
                    self._lose(job, error)
        finally:
            for job in jobs:
                error = failure or job.error
                if error is None:
                    job.done.set_result(job.result)
                else:
                    job.done.set_exception(ours(error))

    def _lose(self, job: Job[Any], error: BaseException) -> None:
        if job.lost is not None and isinstance(ours(error), StoreError):
            job.lost()
            return
        self.lost += 1
        _log.error("a write that nobody waits for was lost: %s", describe(error))

    def _note_success(self, jobs: list[Job[Any]]) -> None:
        self.groups += 1
        self.committed += len(jobs)
        if not self.healthy and not any(job.error for job in jobs):
            self._probe()

    def _note_fault(self, error: BaseException) -> None:
        self.fault = describe(error)
        if self.healthy:
            _log.error("the store is not usable: %s", self.fault)
        self.healthy = False

    def _probe(self) -> None:
        """Find out whether the store can be read, and, after a fault, written, in all its tables."""
        try:
            with self._engine.begin() as connection:
                connection.execute(select(schema.counter.c.name).limit(1)).first()
                if not self.healthy:
                    counter = schema.counter
                    connection.execute(update(counter).values(value=counter.c.value))
                    for table in schema.metadata.tables.values():
                        connection.execute(select(*table.primary_key.columns).limit(1)).first()
        except SQLAlchemyError as error:
            self._note_fault(error)
            return
        if not self.healthy:
            _log.warning("the store is usable again")
        self.healthy, self.fault = True, ""
