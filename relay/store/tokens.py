"""API tokens: kept as SHA-256 of 160 random bits, recognised by their first characters, shown once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from relay.clock import micros, moment
from relay.errors import NotFound
from relay.store.schema import api_token, customer

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, RowMapping, Select

_PREFIX_CHARACTERS = 11  # "gp_" and eight that are no part of the secret's strength
_ENTROPY_BYTES = 20


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is known of a token; never the token."""

    prefix: str
    name: str
    scopes: tuple[str, ...]
    customer_id: int | None
    customer: str
    made_by: str
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None

    def valid(self, now: datetime) -> bool:
        """Return whether it still opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def make(  # noqa: PLR0913 - one argument a fact
    tx: Connection,
    now: datetime,
    name: str,
    *,
    scopes: Collection[str],
    made_by: str,
    customer_id: int | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Store a new token and return its text, the only time that it is known."""
    text = f"gp_{secrets.token_hex(4)}_{secrets.token_urlsafe(_ENTROPY_BYTES)}"
    tx.execute(
        insert(api_token).values(
            id_hash=_hash(text),
            prefix=text[:_PREFIX_CHARACTERS],
            name=name,
            scopes=sorted(scopes),
            customer_id=customer_id,
            made_by=made_by,
            created_us=micros(now),
            expires_us=None if expires_at is None else micros(expires_at),
        )
    )
    return text


def find(tx: Connection, text: str) -> ApiToken | None:
    """Return the token of this text, valid or not; None if there never was one."""
    row = tx.execute(_query().where(api_token.c.id_hash == _hash(text))).mappings().first()
    return None if row is None else _token(row)


def tokens(tx: Connection) -> list[ApiToken]:
    """Return all tokens, newest first."""
    return [_token(row) for row in tx.execute(_query().order_by(api_token.c.created_us.desc())).mappings()]


def touch(tx: Connection, now: datetime, prefix: str) -> None:
    """Note that a token was used."""
    tx.execute(update(api_token).where(api_token.c.prefix == prefix).values(used_us=micros(now)))


def revoke(tx: Connection, now: datetime, prefix: str) -> None:
    """End a token at once; NotFound if there is none with this prefix or it ended before."""
    standing = api_token.c.revoked_us.is_(None)
    done = tx.execute(
        update(api_token).where(api_token.c.prefix == prefix, standing).values(revoked_us=micros(now))
    )
    if done.rowcount != 1:
        raise NotFound(f"no token {prefix}")


def _query() -> Select[Any]:
    return select(api_token, customer.c.name.label("customer")).outerjoin(
        customer, customer.c.id == api_token.c.customer_id
    )


def _token(row: RowMapping) -> ApiToken:
    def when(name: str) -> datetime | None:
        return None if row[name] is None else moment(row[name])

    return ApiToken(
        prefix=row["prefix"],
        name=row["name"],
        scopes=tuple(row["scopes"]),
        customer_id=row["customer_id"],
        customer=row["customer"] or "",
        made_by=row["made_by"],
        created_at=moment(row["created_us"]),
        used_at=when("used_us"),
        expires_at=when("expires_us"),
        revoked_at=when("revoked_us"),
    )
