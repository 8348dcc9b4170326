"""Leaves nothing of deleted rows in the files of a database: overwritten, packed anew, its log cut."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from sqlalchemy import text

from relay.clock import monotonic
from relay.errors import StoreError
from relay.store import connect, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.engine import URL

_PART_BYTES = 1 << 20
#: Readers of an older state keep the log from being cut; none reads for longer.
WAIT_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.1


def pack(url: URL) -> None:
    """Write the database anew without what was deleted; StoreError if it stays in use.

    SQLite: whoever writes meanwhile waits, about a second for 100 MB. PostgreSQL frees the rows for reuse;
    its own log, and copies elsewhere, live as long as they are kept.
    """
    if url.get_backend_name() != "sqlite":
        _vacuum(url)
        return
    try:
        with closing(sqlite3.connect(str(url.database), isolation_level=None, timeout=WAIT_SECONDS)) as file:
            file.execute("PRAGMA secure_delete=ON")
            file.execute("VACUUM")
            _cut_log(file)
    except sqlite3.Error as error:
        raise StoreError(f"{url.database} could not be packed: {error}") from error


def _cut_log(file: sqlite3.Connection) -> None:
    until = monotonic() + WAIT_SECONDS
    while file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if monotonic() > until:
            raise sqlite3.OperationalError("somebody reads an older state")
        sleep(_LOOK_AGAIN_SECONDS)


def _vacuum(url: URL) -> None:
    engine = connect.connect(url, read_only=False, size=1).execution_options(isolation_level="AUTOCOMMIT")
    try:
        with connect.edge(), engine.connect() as connection:
            connection.execute(text("SET statement_timeout = 0"))
            for table in schema.metadata.sorted_tables:
                connection.execute(text(f'VACUUM "{table.name}"'))
    finally:
        engine.dispose()


def found_in(url: URL, names: Iterable[str]) -> list[Path]:
    """Return the files of an SQLite database, copies before an upgrade too, in which a name stands.

    However its ASCII letters are cased. Of PostgreSQL none: its files are not ours.
    """
    if url.get_backend_name() != "sqlite":
        return []
    database = Path(str(url.database))
    sought = [name.encode().lower() for name in names]
    files = sorted(database.parent.glob(f"{database.name}*"))
    return [path for path in files if path.is_file() and any(_contains(path, sought))]


def _contains(path: Path, sought: list[bytes]) -> Iterator[bool]:
    """Yield whether each part has any of the names; parts overlap by the longest."""
    overlap, before = max(map(len, sought), default=0), b""
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            piece = (before + part).lower()
            yield any(name in piece for name in sought)
            before = piece[-overlap:]
