"""How connections to SQLite and PostgreSQL are made, and how their errors become ours."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager
from time import sleep
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from relay.clock import monotonic
from relay.errors import Conflict, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.engine import ExceptionContext

#: How long a lock is waited for; callers hear within 10 s that the store is busy.
LOCK_SECONDS = 5
_LOOK_AGAIN_SECONDS = 0.01
STATEMENT_SECONDS = 30
_POSTGRES: dict[str, str | int] = {
    "connect_timeout": LOCK_SECONDS,
    # a server that vanished without a word is noticed in 10 s, also while we wait for it
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    # texts are texts, in a database made without a locale (SQL_ASCII) too
    "client_encoding": "utf8",
    "options": (
        f"-c lock_timeout={LOCK_SECONDS}s -c statement_timeout={STATEMENT_SECONDS}s"
        " -c idle_in_transaction_session_timeout=60s -c timezone=UTC -c synchronous_commit=on"
    ),
}


#: SQLSTATE of PostgreSQL: read_only_sql_transaction.
_READ_ONLY = "25006"
#: What a database, or waiting for one, raises. SQLAlchemy's other errors are mistakes in our own statements.
_OF_THE_DATABASE = (DBAPIError, PoolTimeout)


class OutcomeUnknown(StoreError):
    """The transaction may or may not have been committed: look for its row before trying again."""


def database_url(url: str, folder: Path) -> URL:
    """Read a store URL; a relative SQLite path starts at `folder`; StoreError if it is neither database."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError("store.url: must be sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _guarded(parsed.set(drivername="postgresql+psycopg"))
    if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(database=str(folder.absolute() / str(parsed.database)))
    raise StoreError("store.url: must be sqlite:///FILE or postgresql://USER@HOST/NAME")


def _guarded(url: URL) -> URL:
    """Return a URL that asks for TLS to another machine, unless it says otherwise itself."""
    host = url.host or str(url.query.get("host", ""))
    if (
        "sslmode" in url.query
        or not host
        or host.startswith("/")
        or host in ("localhost", "127.0.0.1", "::1")
    ):
        return url
    return url.update_query_dict({"sslmode": "require"})


def connect(url: URL, *, read_only: bool, size: int) -> Engine:
    """Return an engine of `size` connections; nothing is opened yet."""
    common: dict[str, Any] = {
        "hide_parameters": True,  # parameters are people: they stay out of error texts
        "json_serializer": _dumps,
        # else an INSERT … ON CONFLICT DO NOTHING says -1 on PostgreSQL, which is true
        "execution_options": {"preserve_rowcount": True},
        "pool_size": size,
        "max_overflow": 0 if read_only else 4,
        "pool_timeout": LOCK_SECONDS,
    }
    if url.get_backend_name() == "sqlite":
        arguments = {"timeout": LOCK_SECONDS, "check_same_thread": False}
        engine = create_engine(url, connect_args=arguments, **common)
        _prepare_sqlite(engine, read_only=read_only)
        return engine
    options = dict(_POSTGRES)
    if read_only:
        options["options"] = f"{_POSTGRES['options']} -c default_transaction_read_only=on"
        common["isolation_level"] = "REPEATABLE READ"  # one moment for all statements, as SQLite gives
    try:
        engine = create_engine(url, connect_args=options, pool_pre_ping=True, **common)
    except ModuleNotFoundError as error:
        raise StoreError("store.url: PostgreSQL needs its driver: deploy/venv postgres") from error
    if not read_only:
        event.listen(engine, "handle_error", _leave_demoted)
    return engine


def _leave_demoted(context: ExceptionContext) -> None:
    """Drop the connections to a server that cannot be written any more: after a failover it is a standby."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


#: A commit is on the disk before it is answered; 16 MiB of pages in memory, a log no longer than 64 MiB; what
#: was deleted is overwritten where that costs nothing.
_PRAGMAS = (
    *("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"),
    *("cache_size=-16384", "journal_size_limit=67108864", "secure_delete=FAST"),
)


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    """Set a pragma; the change to WAL, alone of all, does not wait for others who make it too."""
    until = monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or monotonic() > until:
                raise
            sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


def _prepare_sqlite(engine: Engine, *, read_only: bool) -> None:
    """Begin for ourselves: the driver's own way leaves a SELECT outside the transaction that follows it."""

    @event.listens_for(engine, "connect")
    def _(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        try:
            for pragma in _PRAGMAS:
                _set(connection, pragma)
            if read_only:
                connection.execute("PRAGMA query_only=ON")
        except sqlite3.Error as error:  # not a database, or locked: nobody else would wrap it
            raise OperationalError("PRAGMA", None, error) from error

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        # IMMEDIATE: a deferred transaction that writes later fails "locked" at once, whatever the timeout
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    @event.listens_for(engine, "before_cursor_execute")
    def _(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        # a full or failing disk makes SQLite end the transaction by itself: what follows would commit alone
        driver: Any = connection.connection.dbapi_connection
        if not driver.in_transaction and not statement.startswith("BEGIN"):
            raise OperationalError(
                statement, None, sqlite3.OperationalError("the database ended the transaction")
            )


def create_private(path: Path) -> None:
    """Create an SQLite file that only its owner reads; its WAL inherits the mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


@contextmanager
def edge() -> Iterator[None]:
    """Turn every database error into StoreError, a violated key into Conflict; no value gets into a text."""
    try:
        yield
    except _OF_THE_DATABASE as error:
        raise ours(error) from None


def ours(error: BaseException) -> BaseException:
    """Return the error that Gatepost raises for one of the database; any other as it is."""
    if not isinstance(error, _OF_THE_DATABASE):
        return error
    kind = Conflict if isinstance(error, IntegrityError) else StoreError
    return kind(describe(error)).with_traceback(_without_library(error.__traceback__))


def _without_library(trace: TracebackType | None) -> TracebackType | None:
    """Return the way of an error through our own code: forty frames of a library tell nobody anything."""
    if trace is None:
        return None
    rest = _without_library(trace.tb_next)
    if trace.tb_frame.f_globals.get("__name__", "").startswith(("sqlalchemy.", "psycopg.")):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)


def describe(error: BaseException) -> str:
    """Say what the database said, without the row that it said it about."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig else error
    if primary := getattr(getattr(original, "diag", None), "message_primary", None):
        return f"{type(original).__name__}: {primary}"
    return f"{type(original).__name__}: {str(original).splitlines()[0] if str(original) else ''}"


#: SQLSTATE of PostgreSQL: serialisation failure, deadlock, lock not available.
_LOST_RACES = {"40001", "40P01", "55P03"}


def is_lost_race(error: BaseException) -> bool:
    """Return whether the same work may succeed if it is simply done again."""
    original = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(original, sqlite3.OperationalError):
        return "locked" in str(original) or "busy" in str(original)
    return getattr(original, "sqlstate", None) in _LOST_RACES


def is_fault_of_store(error: BaseException) -> bool:
    """Return whether the store, not the work, is to blame: health goes red until a probe succeeds."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout)
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return type(original) in (sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.InterfaceError)
    state = getattr(original, "sqlstate", None)
    # 22 bad data, 23 broken constraint: the work's. 42 is ours to fix: a missing table or column.
    return state is None or str(state)[:2] not in ("22", "23")


def shared_now(tx: Connection) -> datetime | None:
    """Return the moment by the clock of a database that several machines share; None on SQLite."""
    if tx.dialect.name != "postgresql":
        return None
    now: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
    return now
