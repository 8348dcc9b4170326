"""A copy taken while mail flows, checked, and brought back elsewhere: the SQLite file and the spool folder.

The keys are left out on purpose: who finds the copy can read no mail with it. Without the master keys nobody
can, so keep them too, elsewhere. PostgreSQL has tools of its own (`pg_dump`, or base backup and WAL).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool, create_engine, select

from relay.errors import StoreError
from relay.store import audit, connect, migrate, schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

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
    that waits in the copy has its body, unless it was delivered meanwhile.
    """
    source = connect.database_url(url, folder)
    if source.get_backend_name() != "sqlite":
        raise StoreError("this copies SQLite only: use pg_dump, and copy the spool folder after it")
    try:
        target.mkdir(mode=0o700, parents=True)
        (target / SPOOL).mkdir(mode=0o700)
        _copy_spool(spool, target / SPOOL)
        migrate.copy_database(Path(str(source.database)), target / DATABASE)
        _copy_spool(spool, target / SPOOL)
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
    if keyring is not None:
        known = _marks(keyring)
        faults += [f"master key {n} is another or missing" for n in keys if known.get(n) != keys[n]]
    return faults or _check_database(target)


def restore(target: Path, url: str, folder: Path, *, spool: Path, keyring: Keyring | None = None) -> None:
    """Bring a checked copy to a place where there is no database yet; StoreError with every fault."""
    if faults := check(target, keyring):
        raise StoreError("; ".join(faults))
    place = connect.database_url(url, folder)
    if place.get_backend_name() != "sqlite":
        raise StoreError("this copy is for SQLite")
    database = Path(str(place.database))
    if database.exists() or (spool.exists() and any(spool.iterdir())):
        raise StoreError(f"{database} or {spool} exists already: nothing was overwritten")
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy_spool(target / SPOOL, spool)
        # last: with the database in place, everything is
        _copy_file(target / DATABASE, database)
    except OSError as error:
        raise StoreError(f"{database}: {error}") from error


def _check_database(target: Path) -> list[str]:
    """Look inside: whole, of a version we know, audit chain unbroken, a body for every message."""
    faults: list[str] = []
    place = f"{(target / DATABASE).absolute().as_uri()}?mode=ro&immutable=1"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    try:
        with connect.edge(), engine.connect() as tx, tx.begin():
            for pragma in ("integrity_check", "foreign_key_check"):
                found = tx.exec_driver_sql(f"PRAGMA {pragma}").scalars()
                faults += [f"{pragma}: {fault}" for fault in found if fault != "ok"]
            if (revision := migrate.revision(tx)) > schema.REVISION:
                faults.append(f"revision {revision} is newer than this Gatepost")
            if (bad := audit.verify(tx)) is not None:
                faults.append(f"audit entry {bad} was altered")
            there = {path.name for path in _files(target / SPOOL)}
            waiting = tx.execute(select(schema.outbox.c.id).where(schema.outbox.c.in_file)).scalars()
            faults += [
                f"the body of message {number} is missing" for number in waiting if number not in there
            ]
    except StoreError as error:
        faults.append(str(error))
    finally:
        engine.dispose()
    return faults


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
