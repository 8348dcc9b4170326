"""The login history: who came from where, kept for a month."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from relay.clock import micros, moment
from relay.store import accounts, batch, bulk, journal
from relay.store.journal import BUCKET_US
from relay.store.schema import clean, login_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from relay.store.engine import Store


@dataclass(frozen=True, slots=True)
class Login:
    """One try to log in."""

    account_id: int
    at: datetime
    ip: str
    mechanism: str
    ok: bool
    credential_id: int | None = None
    #: of a password that only the customer's server knows, so that a compromise can block it; b"" otherwise
    fingerprint: bytes = field(default=b"", repr=False)


def record(tx: Connection, logins: Login | Sequence[Login]) -> None:
    """Write one or many, and count the failures."""
    many = [logins] if isinstance(logins, Login) else logins
    rows = [
        (one.account_id, micros(one.at), clean(one.ip), clean(one.mechanism), one.ok, _credential(tx, one))
        for one in many
    ]
    failures: Counter[tuple[int, int, str]] = Counter(
        (one.account_id, micros(one.at) // BUCKET_US * BUCKET_US, "auth_failures")
        for one in many
        if not one.ok
    )
    journal.add_to_tally(tx, failures)
    bulk.insert(tx, login_event, ("account_id", "at_us", "ip", "mechanism", "ok", "credential_id"), rows)


def _credential(tx: Connection, login: Login) -> int | None:
    """Return the credential that a login used; a password never seen before is kept by its fingerprint."""
    if not login.fingerprint or not login.ok:
        return login.credential_id
    return accounts.know_fingerprint(tx, login.at, login.account_id, login.fingerprint)


class Batch(batch.Batch[Login]):
    """Collects logins on the event loop, so that a login costs no commit of its own."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, record, record)


def history(tx: Connection, account_id: int, limit: int = 100) -> list[Login]:
    """Return an account's newest logins, newest first."""
    statement = select(login_event).where(login_event.c.account_id == account_id)
    newest = statement.order_by(login_event.c.at_us.desc(), login_event.c.id.desc()).limit(limit)
    return [
        Login(row.account_id, moment(row.at_us), row.ip, row.mechanism, row.ok, row.credential_id)
        for row in tx.execute(newest)
    ]
