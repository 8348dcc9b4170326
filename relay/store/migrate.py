"""Brings a database to this version's tables: all or nothing, once, whoever else tries at the same time."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from relay.errors import StoreError
from relay.store import schema
from relay.store.connect import LOCK_SECONDS, create_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: Any fixed number; every Gatepost that migrates this database takes the same lock.
_LOCK = 4_037_202_611
#: A large database takes minutes to migrate.
PATIENCE_SECONDS = 600


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing, in one transaction; StoreError if the database is newer."""
    with engine.connect() as connection, _patient(connection), connection.begin():
        _lock(connection)
        if revision(connection) != schema.REVISION:
            _run(connection)


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Let SQLite wait for somebody else's migration, too; ordinary writes wait for `LOCK_SECONDS`."""
    driver = connection.connection.dbapi_connection
    if not isinstance(driver, sqlite3.Connection):
        yield
        return
    driver.execute(f"PRAGMA busy_timeout={1000 * PATIENCE_SECONDS}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout={1000 * LOCK_SECONDS}")


def create(connection: Connection) -> None:
    """Make all tables in the caller's transaction; StoreError where there are some."""
    _lock(connection)
    if revision(connection):
        raise StoreError("the database has tables already: nothing was overwritten")
    _run(connection)


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # the limits of ordinary work would end this one's wait, and its long statements
        connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def revision(connection: Connection) -> str:
    """Return the revision of the database, empty for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def missing(connection: Connection) -> list[str]:
    """Return what tables lack of the schema: those of a version before the first release do, or damaged ones.

    The revision does not say so; `check` asks, not every command.
    """
    columns = inspect(connection).get_multi_columns()
    found = {name: {column["name"] for column in those} for (_, name), those in columns.items()}
    lacking = []
    for table in schema.metadata.sorted_tables:
        if table.name not in found:
            lacking.append(table.name)
        else:
            lacking += [f"{table.name}.{c.name}" for c in table.columns if c.name not in found[table.name]]
    return lacking


def _run(connection: Connection) -> None:
    # imported here: every command starts without it, nearly none needs it
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    with as_file(files("relay.store").joinpath("migrations")) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        found = revision(connection)
        if found and found not in known:
            raise StoreError(
                f"the database is at revision {found}, newer than this Gatepost knows ({schema.REVISION})"
            )
        if found and connection.dialect.name == "sqlite":
            _keep(Path(str(connection.engine.url.database)), found)
        command.upgrade(config, "head")


def _keep(database: Path, found: str) -> None:
    """Copy the database as it is before a newer program changes it; the first copy stays."""
    copy = database.with_name(f"{database.name}.revision-{found}")
    if not copy.exists():
        try:
            copy_database(database, copy)
        except (OSError, sqlite3.Error) as error:
            copy.unlink(missing_ok=True)
            raise StoreError(f"{copy}: {error}") from error


def copy_database(source: Path, copy: Path) -> None:
    """Copy an SQLite file as of one moment, without what was deleted; writers are not held up."""
    create_private(copy)
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as original:
        original.execute("VACUUM INTO ?", (str(copy),))
    sync(copy)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
