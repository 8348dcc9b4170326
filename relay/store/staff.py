"""The people at the console: argon2id passwords, a second factor ready to come, hashed sessions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from relay.clock import micros, moment
from relay.errors import Conflict, NotFound
from relay.passwords import unmatched
from relay.store import changes
from relay.store.rows import moment_or_none
from relay.store.schema import staff as _staff
from relay.store.schema import staff_session as _session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, RowMapping

#: A session ends after this much silence, and in any case after the second.
IDLE = timedelta(minutes=30)
LIFETIME = timedelta(hours=12)
_hasher = PasswordHasher()
#: What is verified for a name that nobody has: the same work, so that time tells nothing.
_NOBODY = unmatched(_hasher)


@dataclass(frozen=True, slots=True)
class Staff:
    """One person."""

    name: str
    role: str
    #: the sealed secret of a second factor, None without one
    totp: bytes | None = field(default=None, repr=False)
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StaffSession:
    """An open session; its id is known to the browser alone."""

    staff: Staff
    created_at: datetime
    expires_at: datetime
    details: Mapping[str, Any]


def hashed(password: str) -> str:
    """Return the argon2id form of a password; tens of milliseconds of work, without the database."""
    return _hasher.hash(password)


def add(tx: Connection, now: datetime, name: str, password: str, *, role: str = "staff") -> Staff:
    """Add a person; Conflict if the name is taken. Hashing takes tens of milliseconds."""
    return add_hashed(tx, now, name, hashed(password), role=role)


def add_hashed(tx: Connection, now: datetime, name: str, stored: str, *, role: str) -> Staff:
    """Add a person whose password was hashed before, outside the writer's thread; Conflict."""
    try:
        values = {
            "name": name,
            "password_hash": stored,
            "role": role,
            "created_us": micros(now),
        }
        tx.execute(insert(_staff).values(values))
    except IntegrityError:
        raise Conflict(f"staff {name} exists already") from None
    changes.note(tx, now, changes.STAFF, name)
    return Staff(name, role)


def _value(row: RowMapping) -> Staff:
    return Staff(row["name"], row["role"], row["totp"], moment_or_none(row["disabled_us"]))


def everyone(tx: Connection) -> list[Staff]:
    """Return all by name."""
    return [_value(row) for row in tx.execute(select(_staff).order_by(_staff.c.name)).mappings()]


def password_hash(tx: Connection, name: str) -> str:
    """Return the hash to verify a password against: of nobody's password for an unknown or disabled name."""
    known = select(_staff.c.password_hash).where(_staff.c.name == name, _staff.c.disabled_us.is_(None))
    return tx.execute(known).scalar() or _NOBODY


def matches(stored: str, password: str) -> bool:
    """Return whether the password is the one; tens of milliseconds of work, without the database."""
    try:
        return _hasher.verify(stored, password) and stored != _NOBODY
    except (VerificationError, InvalidHashError):
        return False


def verify(tx: Connection, name: str, password: str) -> Staff | None:
    """Return the person if the password is right; an unknown or disabled name takes the same time."""
    if not matches(password_hash(tx, name), password):
        return None
    row = tx.execute(select(_staff).where(_staff.c.name == name)).mappings().first()
    return None if row is None else _value(row)


def set_password(tx: Connection, now: datetime, name: str, password: str) -> None:
    """Change a password and end every session of that person; NotFound."""
    set_hash(tx, now, name, hashed(password))


def set_hash(tx: Connection, now: datetime, name: str, stored: str) -> None:
    """Change a password that was hashed before, and end every session of that person; NotFound."""
    _change(tx, now, name, password_hash=stored)


def set_totp(tx: Connection, now: datetime, name: str, sealed: bytes | None) -> None:
    """Set or remove a sealed second factor and end every session; NotFound."""
    _change(tx, now, name, totp=sealed)


def use_totp(tx: Connection, name: str, step: int) -> bool:
    """Use up a time step of somebody's second factor; False if it or a later one was used before."""
    unused = update(_staff).where(_staff.c.name == name, _staff.c.totp_step < step)
    return tx.execute(unused.values(totp_step=step)).rowcount == 1


def set_role(tx: Connection, now: datetime, name: str, role: str) -> None:
    """Change what a person may do and end every session; NotFound."""
    _change(tx, now, name, role=role)


def disable(tx: Connection, now: datetime, name: str, *, disabled: bool = True) -> None:
    """Lock a person out, or let them in again; NotFound."""
    _change(tx, now, name, disabled_us=micros(now) if disabled else None)


def _change(tx: Connection, now: datetime, name: str, **values: Any) -> None:
    if not tx.execute(update(_staff).where(_staff.c.name == name).values(**values)).rowcount:
        raise NotFound(f"there is no staff {name}")
    tx.execute(delete(_session).where(_session.c.staff == name))
    changes.note(tx, now, changes.STAFF, name)


def _hash(session_id: str) -> bytes:
    return sha256(session_id.encode("utf-8", "surrogatepass")).digest()


def open_session(tx: Connection, now: datetime, name: str, details: Mapping[str, Any] | None = None) -> str:
    """Open a session and return its id, 256 random bits, for the cookie."""
    session_id = secrets.token_urlsafe(32)
    tx.execute(
        insert(_session).values(
            id_hash=_hash(session_id),
            staff=name,
            created_us=micros(now),
            seen_us=micros(now),
            expires_us=micros(now + LIFETIME),
            details=dict(details or {}),
        )
    )
    return session_id


def session(tx: Connection, now: datetime, session_id: str) -> StaffSession | None:
    """Return an open session; None if it is unknown, ended, idle for too long or of someone locked out."""
    statement = (
        select(_staff, _session.c.created_us.label("opened_us"), _session.c.expires_us, _session.c.details)
        .join(_session, _session.c.staff == _staff.c.name)
        .where(
            _session.c.id_hash == _hash(session_id),
            _session.c.expires_us > micros(now),
            _session.c.seen_us > micros(now - IDLE),
            _staff.c.disabled_us.is_(None),
        )
    )
    row = tx.execute(statement).mappings().first()
    if row is None:
        return None
    return StaffSession(_value(row), moment(row["opened_us"]), moment(row["expires_us"]), row["details"])


def touch(tx: Connection, now: datetime, session_id: str) -> None:
    """Note that a session was used; call it once a minute at most."""
    tx.execute(update(_session).where(_session.c.id_hash == _hash(session_id)).values(seen_us=micros(now)))


def close_session(tx: Connection, session_id: str) -> None:
    """End a session; harmless twice."""
    tx.execute(delete(_session).where(_session.c.id_hash == _hash(session_id)))


def purge(tx: Connection, now: datetime) -> int:
    """Forget sessions that have ended; return how many."""
    ended = (_session.c.expires_us <= micros(now)) | (_session.c.seen_us <= micros(now - IDLE))
    return tx.execute(delete(_session).where(ended)).rowcount
