"""Customers and accounts that the tests of the store share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from relay.model import Tls, UpstreamAuth
from relay.store import accounts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.model import Account

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def add_customer(tx: Connection, name: str = "acme", **facts: object) -> None:
    given = {"hosts": ["127.0.0.1:2525"], "tls": Tls.STARTTLS, "auth": UpstreamAuth.NONE, **facts}
    accounts.add_customer(tx, NOW, name, **given)  # type: ignore[arg-type]


def add_account(tx: Connection, login: str = "alice@acme.example", customer: str = "acme") -> Account:
    return accounts.add_account(
        tx, NOW, login, customer=customer, password_hash="hash of " + login, fingerprint=b"f" * 16
    )
