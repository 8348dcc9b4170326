"""The login history: who came from where, kept for a month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from relay.clock import micros, moment
from relay.store.schema import login_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Login:
    """One try to log in."""

    account_id: int
    at: datetime
    ip: str
    mechanism: str
    ok: bool
    credential_id: int | None = None


def record(tx: Connection, logins: Login | Sequence[Login]) -> None:
    """Write one or many."""
    many = [logins] if isinstance(logins, Login) else logins
    values = [
        {
            "account_id": login.account_id,
            "at_us": micros(login.at),
            "ip": login.ip,
            "mechanism": login.mechanism,
            "ok": login.ok,
            "credential_id": login.credential_id,
        }
        for login in many
    ]
    if values:
        tx.execute(insert(login_event), values)


def history(tx: Connection, account_id: int, limit: int = 100) -> list[Login]:
    """Return an account's newest logins, newest first."""
    statement = select(login_event).where(login_event.c.account_id == account_id)
    newest = statement.order_by(login_event.c.at_us.desc(), login_event.c.id.desc()).limit(limit)
    return [
        Login(row.account_id, moment(row.at_us), row.ip, row.mechanism, row.ok, row.credential_id)
        for row in tx.execute(newest)
    ]


def purge(tx: Connection, before: datetime) -> int:
    """Forget older ones; return how many."""
    return tx.execute(delete(login_event).where(login_event.c.at_us < micros(before))).rowcount
