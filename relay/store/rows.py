"""Rows to values and back: the one place that knows how the nouns of relay.model lie in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.clock import micros, moment
from relay.model import (
    Account,
    AccountClass,
    Credential,
    Customer,
    Forward,
    Mode,
    Server,
    Standing,
    State,
    Tls,
    UpstreamAuth,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import RowMapping


def micros_or_none(at: datetime | None) -> int | None:
    """Return the stored form of a moment that may be missing."""
    return None if at is None else micros(at)


def moment_or_none(at_us: int | None) -> datetime | None:
    """Return the moment of a stored form that may be missing."""
    return None if at_us is None else moment(at_us)


def standing(row: RowMapping, prefix: str = "") -> Standing:
    """Read the columns of a standing."""
    return Standing(
        State(row[prefix + "state"]),
        moment(row[prefix + "since_us"]),
        moment_or_none(row[prefix + "until_us"]),
        row[prefix + "reason"],
        row[prefix + "case_id"],
        row[prefix + "set_by"],
        row[prefix + "standing_version"],
        State(row[prefix + "own_state"]),
        moment_or_none(row[prefix + "own_since_us"]),
        row[prefix + "own_by"],
    )


def standing_columns(value: Standing) -> dict[str, Any]:
    """Return the columns that a compare-and-set sets: not the version, nor the owner's own switch."""
    return {
        "state": str(value.state),
        "since_us": micros(value.since),
        "until_us": micros_or_none(value.until),
        "reason": value.reason,
        "case_id": value.case_id,
        "set_by": value.set_by,
    }


def customer(row: RowMapping, prefix: str = "") -> Customer:
    """Read a customer."""
    return Customer(
        id=row[prefix + "id"],
        name=row[prefix + "name"],
        standing=standing(row, prefix),
        mode=Mode(row[prefix + "mode"]),
        contact=row[prefix + "contact"],
        brand=row[prefix + "brand"],
        phone=row[prefix + "phone"],
        language=row[prefix + "language"],
        parent_id=row[prefix + "parent_id"],
    )


def server(row: RowMapping, prefix: str = "") -> Server:
    """Read a server."""
    return Server(
        id=row[prefix + "id"],
        customer_id=row[prefix + "customer_id"],
        name=row[prefix + "name"],
        hosts=tuple(row[prefix + "hosts"]),
        standing=standing(row, prefix),
        tls=Tls(row[prefix + "tls"]),
        auth=UpstreamAuth(row[prefix + "auth"]),
        relay_login=row[prefix + "relay_login"],
        relay_secret_file=row[prefix + "relay_secret_file"],
        provision_domains=tuple(row[prefix + "provision_domains"]),
        trusted_hosts=row[prefix + "trusted_hosts"],
        forward=Forward(row[prefix + "forward"]),
    )


def account(
    row: RowMapping,
    of_customer: Customer,
    of_server: Server,
    credentials: tuple[Credential, ...],
    prefix: str = "",
) -> Account:
    """Read an account that belongs to them."""
    return Account(
        id=row[prefix + "id"],
        login=row[prefix + "login"],
        customer=of_customer,
        server=of_server,
        standing=standing(row, prefix),
        senders=tuple(row[prefix + "senders"]),
        klass=AccountClass(row[prefix + "klass"]),
        credentials=credentials,
        created_at=moment(row[prefix + "created_us"]),
    )


def credential(row: RowMapping) -> Credential:
    """Read a credential."""
    return Credential(row["id"], row["hash"], row["fingerprint"], row["blocked"])
