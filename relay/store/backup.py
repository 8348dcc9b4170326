"""A copy taken while mail flows, checked, and brought back elsewhere: all rows, and the spool folder.

The rows are an SQLite file whichever database they come from, and can go back into either.
The keys are left out on purpose: who finds the copy can read no mail with it. Without the master keys nobody
can, so keep them too, elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool, create_engine, delete, select
from sqlalchemy.engine import URL

from relay.errors import StoreError
from relay.store import audit, connect, migrate, outbox, schema, transfer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from relay.keyring import Keyring

DATABASE, SPOOL, MANIFEST = "gatepost.db", "spool", "manifest.json"
NOTICE = "The master keys are not in this copy; without them its mail and hashes are of no use to anyone."
_FORMAT = 1
_PURPOSE = "backup check"


def backup(
    now: datetime, url: str, folder: Path, *, target: Path, spool: Path, keyring: Keyring
) -> dict[str, Any]:
    """Copy database and spool to the new folder `target` and return its manifest; StoreError.

    The database is as of one moment. Bodies are copied before it and again after it, so that every message
    that waits in the copy has its body; what left in between is not in it.
    """
    source = connect.database_url(url, folder)
    try:
        target.mkdir(mode=0o700, parents=True)
        (target / SPOOL).mkdir(mode=0o700)
        _copy_spool(spool, target / SPOOL)
        _copy_rows(source, target / DATABASE)
        _copy_spool(spool, target / SPOOL)
        _leave_out_what_left(source, target)
        manifest = {
            "format": _FORMAT,
            "taken_at": now.isoformat(),
            "revision": schema.REVISION,
            "keys": _marks(keyring),
            "notice": NOTICE,
            "files": {str(path.relative_to(target)): _digest(path) for path in _files(target)},
        }
        _write(target / MANIFEST, json.dumps(manifest, indent=1).encode())
        migrate.sync(target)
    except FileExistsError:
        raise StoreError(f"{target} exists already: a copy goes into a new folder") from None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{target}: {error}") from error
    return manifest


def check(target: Path, keyring: Keyring | None = None) -> list[str]:
    """Return everything that is wrong with a copy, nothing if it can be brought back."""
    try:
        manifest = json.loads((target / MANIFEST).read_bytes())
        files: dict[str, str] = manifest["files"]
        keys: dict[str, str] = manifest["keys"]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{target / MANIFEST} is missing or unreadable: this is no finished copy"]
    faults = [] if manifest.get("format") == _FORMAT else ["the copy's format is not known here"]
    for name, digest in files.items():
        path = target / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif _digest(path) != digest:
            faults.append(f"{name} was altered")
    there = {str(path.relative_to(target)) for path in _files(target)}
    faults += [f"{name} was put in" for name in sorted(there - files.keys())]
    if keyring is not None:
        known = _marks(keyring)
        faults += [f"master key {n} is another or missing" for n in keys if known.get(n) != keys[n]]
    return faults or _check_database(target, keyring)


def restore(target: Path, url: str, folder: Path, *, spool: Path, keyring: Keyring | None = None) -> None:
    """Bring a checked copy to a place where there are no rows and no spool yet; StoreError with every fault.

    A PostgreSQL database must exist, and be empty. What fails leaves nothing behind.
    """
    if faults := check(target, keyring):
        raise StoreError("; ".join(faults))
    place = connect.database_url(url, folder)
    if taken := [*_in_the_way(place), *([str(spool)] if spool.exists() and any(spool.iterdir()) else [])]:
        raise StoreError(f"{' and '.join(taken)} exists already: nothing was overwritten")
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy_spool(target / SPOOL, spool)
        # last: with the database in place, everything is
        if place.get_backend_name() == "sqlite":
            _copy_whole(target / DATABASE, Path(str(place.database)))
        else:
            with _opened(target) as rows:
                transfer.bring_back(rows, place)
    except (OSError, StoreError) as error:
        _empty(spool)
        raise StoreError(f"{place.database}: {error}") from error


def _in_the_way(place: URL) -> list[str]:
    """Return what stands where rows are to go: SQLite would take up another database's journal."""
    if place.get_backend_name() == "sqlite":
        paths = (Path(f"{place.database}{end}") for end in ("", "-wal", "-journal"))
        return [str(path) for path in paths if path.exists()]
    return [] if transfer.is_empty(place) else [str(place.database)]


def _empty(spool: Path) -> None:
    for folder in spool.iterdir():
        shutil.rmtree(folder, ignore_errors=True)


def _copy_rows(source: URL, copy: Path) -> None:
    if source.get_backend_name() == "sqlite":
        migrate.copy_database(Path(str(source.database)), copy)
        return
    connect.create_private(copy)
    transfer.export(source, URL.create("sqlite", database=str(copy.absolute())))
    migrate.sync(copy)


@contextmanager
def _opened(target: Path) -> Iterator[Connection]:
    """Open the rows of a copy, and change nothing in its folder."""
    place = f"{(target / DATABASE).absolute().as_uri()}?mode=ro&immutable=1"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    try:
        with connect.edge(), engine.connect() as tx, tx.begin():
            yield tx
    finally:
        engine.dispose()


def _check_database(target: Path, keyring: Keyring | None) -> list[str]:
    """Look inside: whole, of a version we know, audit chain unbroken, a body for every message."""
    faults: list[str] = []
    try:
        with _opened(target) as tx:
            for pragma in ("integrity_check", "foreign_key_check"):
                found = tx.exec_driver_sql(f"PRAGMA {pragma}").scalars()
                faults += [f"{pragma}: {fault}" for fault in found if fault != "ok"]
            if (revision := migrate.revision(tx)) > schema.REVISION:
                faults.append(f"revision {revision} is newer than this Gatepost")
            if (bad := audit.verify(tx, keyring)) is not None:
                faults.append(f"audit entry {bad} was altered")
            faults += [f"the body of message {number} is missing" for number in _bodiless(tx, target)]
    except StoreError as error:
        faults.append(str(error))
    return faults


def _bodiless(rows: Connection, target: Path) -> list[str]:
    there = {path.name for path in _files(target / SPOOL)}
    waiting = rows.execute(select(schema.outbox.c.id).where(schema.outbox.c.in_file)).scalars()
    return [number for number in waiting if number not in there]


def _leave_out_what_left(source: URL, target: Path) -> None:
    """Delete messages from the copy that are over by now: their rows went first, then their files."""
    with _opened(target) as rows:
        missing = _bodiless(rows, target)
    if not missing:
        return
    with _engine(source, read_only=True) as engine, engine.connect() as tx, tx.begin():
        gone = set(missing) - outbox.known(tx, missing)
    place = URL.create("sqlite", database=str((target / DATABASE).absolute()))
    with _engine(place, read_only=False) as engine, engine.begin() as tx:
        tx.execute(delete(schema.outbox).where(schema.outbox.c.id.in_(gone)))


@contextmanager
def _engine(url: URL, *, read_only: bool) -> Iterator[Engine]:
    engine = connect.connect(url, read_only=read_only, size=1)
    try:
        with connect.edge():
            yield engine
    finally:
        engine.dispose()


def _copy_spool(source: Path, copy: Path) -> None:
    """Copy the files that are not there yet; they never change, but may be delivered and gone meanwhile."""
    if not source.is_dir():
        return
    for path in _files(source):
        place = copy / path.relative_to(source)
        if place.exists() or path.name.startswith("."):
            continue
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _copy_file(path, place)
        except FileNotFoundError:
            place.unlink(missing_ok=True)


def _copy_file(source: Path, place: Path) -> None:
    with source.open("rb") as original, os.fdopen(_create(place), "wb") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(copy.fileno())
    migrate.sync(place.parent)


def _copy_whole(source: Path, place: Path) -> None:
    """Copy a file so that its place has all of it or nothing."""
    part = place.with_name(f"{place.name}.part")
    part.unlink(missing_ok=True)
    try:
        _copy_file(source, part)
        part.rename(place)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    migrate.sync(place.parent)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(_create(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _marks(keyring: Keyring) -> dict[str, str]:
    """Return what tells a master key from another without giving anything of it away."""
    return {str(n): hashlib.sha256(keyring.derive(_PURPOSE, n)).hexdigest()[:16] for n in keyring.ids}
