"""Both stores from outside: what a dead daemon left in them, and how to make them stand still at a stage."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from relay.keyring import Keyring
from relay.outbox.envelope import WaitingEnvelope
from relay.outbox.spool import PURPOSE
from relay.store import outbox as rows
from relay.store.engine import Store
from tests.service.faults.book import DOMAIN, number_in
from tests.service.harness import PATIENCE_SECONDS, ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Server

_STALL_SECONDS = "10s"
_AGE = "UPDATE outbox SET next_us = 1 WHERE worker <> '' AND next_us > 1"
_WAITING = "SELECT count(*) FROM outbox WHERE state = 'waiting'"


@dataclass
class Remains:
    """The outbox of a dead daemon."""

    #: message → recipients that wait, and its queue id
    waits: dict[int, set[str]] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)
    #: messages whose bounce is on its way
    reports: set[int] = field(default_factory=set)
    #: messages that were set aside after several deaths
    aside: set[int] = field(default_factory=set)
    #: two rows for one message, or a body that is gone
    faults: list[str] = field(default_factory=list)


def read(url: str, folder: Path, home: Path) -> Remains:
    """Read the outbox at `url` (relative to `folder`) with the keys and the spool of `home`."""
    found, keyring = Remains(), Keyring.load(home / "keys/master.keys")
    store = Store(url, folder)
    try:
        with store.read() as tx:
            last = ""
            while page := rows.page(tx, rows.Filter(), after=last):
                last = page[-1].id
                for row in page:
                    body = rows.body(tx, row.id)
                    _add(found, keyring, row, body, home)
    finally:
        store.close()
    return found


def _add(found: Remains, keyring: Keyring, row: rows.Row, body: bytes | None, home: Path) -> None:
    envelope = WaitingEnvelope.unseal(keyring, row.id, row.envelope)
    if row.in_file:
        if not (home / "spool" / row.id[-2:] / row.id).exists():
            found.faults.append(f"{row.id} has lost its file")
    elif body is None:
        found.faults.append(f"{row.id} has lost its body")
        return
    if envelope.sender == "":
        assert body is not None
        found.reports.add(number_in(keyring.open(PURPOSE, body, row.id.encode())))
        return
    people = {one.address for one in envelope.waiting}
    number = int(next(iter(people)).removesuffix(f"@{DOMAIN}").rpartition("-")[2])
    if number in found.ids:
        found.faults.append(f"{number} waits twice: {found.ids[number]} and {row.id}")
    found.waits[number], found.ids[number] = people, row.id
    if row.state == rows.State.POISON:
        found.aside.add(number)


class Sqlite:
    """The default store."""

    name = "sqlite"
    url = "sqlite:///gatepost.db"

    def __init__(self, home: Path) -> None:
        self.home = home
        self._watcher: subprocess.Popen[str] | None = None

    def remains(self) -> Remains:
        """Read a copy: opening the database itself would repair it before the daemon does."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("gatepost.db", "gatepost.db-wal"):
                if (self.home / name).exists():
                    shutil.copyfile(self.home / name, Path(folder) / name)
            return read(self.url, Path(folder), self.home)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.home / "gatepost.db", timeout=PATIENCE_SECONDS)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Let no transaction commit meanwhile."""
        connection = self._connect()
        connection.isolation_level = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()

    def watch(self) -> None:
        """Get ready to `kill_after_commit`."""
        command = [sys.executable, "-m", "tests.service.faults.watcher", str(self.home / "gatepost.db-shm")]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=ROOT)

    def kill_after_commit(self, group: int) -> None:
        """Kill the processes of a group right after the next commit, before anybody is told of it."""
        assert self._watcher is not None
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(f"{group}\n")
        self._watcher.stdin.flush()

    def calm(self) -> None:
        """Undo what `kill_after_commit` did."""

    def age_leases(self) -> None:
        """Let a minute pass for the leases of dead workers."""
        with contextlib.closing(self._connect()) as connection:
            connection.execute(_AGE)
            connection.commit()

    def waiting(self) -> int:
        """Return how many messages wait."""
        with contextlib.closing(self._connect()) as connection:
            return int(connection.execute(_WAITING).fetchone()[0])

    def close(self) -> None:
        """End the watcher."""
        if self._watcher is not None:
            assert self._watcher.stdin is not None
            self._watcher.stdin.close()
            self._watcher.wait(PATIENCE_SECONDS)


class Postgres:
    """A database of a PostgreSQL server that the harness runs."""

    name = "postgresql"

    def __init__(self, home: Path, server: Server) -> None:
        self.home = home
        self.server = server
        self.url = server.empty()

    def _others(self) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def remains(self) -> Remains:
        """Read the database once the dead daemon's connections have ended."""
        until(lambda: self._others() == 0)
        return read(self.url, self.home, self.home)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Let nobody write into the outbox meanwhile."""
        with psycopg.connect(self.url) as connection:
            connection.execute(f"SET lock_timeout = '{_STALL_SECONDS}'".encode())
            connection.execute(b"LOCK TABLE outbox IN EXCLUSIVE MODE")
            yield

    def watch(self) -> None:
        """Get ready to `kill_after_commit`: nothing to do."""

    def kill_after_commit(self, _group: int) -> None:
        """Let commits become durable and their answers wait: for a standby that does not exist."""
        self.server.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        self.server.execute("SELECT pg_reload_conf()")

    def calm(self) -> None:
        """Undo what `kill_after_commit` did."""
        self.server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        self.server.execute("SELECT pg_reload_conf()")

    def age_leases(self) -> None:
        """Let a minute pass for the leases of dead workers."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(_AGE.encode())

    def waiting(self) -> int:
        """Return how many messages wait."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(_WAITING.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Remove the database."""
        self.server.drop(self.url)
