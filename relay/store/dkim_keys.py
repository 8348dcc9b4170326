"""Which key signs for which domain; the keys themselves are files outside the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from relay.clock import micros
from relay.errors import Conflict, NotFound
from relay.store import changes, domains
from relay.store.schema import dkim_key

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class DkimKey:
    """The key file of a domain; with a customer it signs only that customer's mail."""

    domain: str
    selector: str
    #: relative to the configuration's folder
    key_file: str
    customer_id: int | None


def add(
    tx: Connection,
    now: datetime,
    domain: str,
    *,
    selector: str,
    key_file: str,
    customer_id: int | None = None,
) -> DkimKey:
    """Add a domain's key; Conflict if it has one."""
    key = DkimKey(domains.plain(domain), selector, key_file, customer_id)
    values = {"domain": key.domain, "selector": selector, "key_file": key_file, "customer_id": customer_id}
    try:
        tx.execute(insert(dkim_key).values(**values, added_us=micros(now)))
    except IntegrityError:
        raise Conflict(f"{domain} has a key already") from None
    if customer_id is not None:
        domains.note(tx, now, customer_id, {key.domain: True})
    changes.note(tx, now, changes.DKIM, key.domain)
    return key


def remove(tx: Connection, now: datetime, domain: str) -> None:
    """Stop signing for a domain; NotFound."""
    plain = domains.plain(domain)
    key = next((known for known in dkim_keys(tx) if known.domain == plain), None)
    if key is None:
        raise NotFound(f"there is no key of {domain}")
    tx.execute(delete(dkim_key).where(dkim_key.c.domain == plain))
    if key.customer_id is not None:
        domains.rederive(tx, now, key.customer_id)
    changes.note(tx, now, changes.DKIM, plain)


def dkim_keys(tx: Connection) -> list[DkimKey]:
    """Return all keys by domain."""
    columns = (dkim_key.c.domain, dkim_key.c.selector, dkim_key.c.key_file, dkim_key.c.customer_id)
    return [DkimKey(*row) for row in tx.execute(select(*columns).order_by(dkim_key.c.domain))]
