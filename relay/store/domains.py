"""Which domains are whose: claimed by pattern, provisioning or key, or only seen in addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from relay.store import changes
from relay.store.schema import account, customer_domain, dkim_key, server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection

#: Mailbox providers: their addresses belong to whoever holds them, so an address there shows nothing.
MAILBOX_PROVIDERS = frozenset(
    [
        "126.com",
        "163.com",
        "aol.com",
        "fastmail.com",
        "gmail.com",
        "gmx.at",
        "gmx.ch",
        "gmx.de",
        "gmx.net",
        "googlemail.com",
        "hotmail.com",
        "hotmail.co.uk",
        "icloud.com",
        "libero.it",
        "live.com",
        "mac.com",
        "mail.ru",
        "me.com",
        "msn.com",
        "orange.fr",
        "outlook.com",
        "proton.me",
        "protonmail.com",
        "qq.com",
        "t-online.de",
        "tutanota.com",
        "wanadoo.fr",
        "web.de",
        "yahoo.co.jp",
        "yahoo.co.uk",
        "yahoo.com",
        "yahoo.de",
        "yandex.ru",
        "ymail.com",
        "zoho.com",
    ]
)


#: names of a domain that are looked at
_LABELS = 8


def plain(domain: str) -> str:
    """Return the form in which domains are compared."""
    return domain.strip().rstrip(".").lower()


def foreign(owners: Mapping[str, frozenset[int]], customer_id: int, domain: str) -> bool:
    """Return whether a domain, or one above it, belongs to other customers and not to this one."""
    name = plain(domain)
    for _ in range(_LABELS):
        if those := owners.get(name):
            return customer_id not in those
        name = name.partition(".")[2]
    return False


def of_senders(patterns: Iterable[str]) -> dict[str, bool]:
    """Return the domains of sender patterns, and whether a pattern claims the whole domain."""
    found: dict[str, bool] = {}
    for pattern in patterns:
        local, at, domain = pattern.rpartition("@")
        name = plain(domain)
        if at and name and (not found.get(name)):
            found[name] = local in ("", "*")
    return {name: whole for name, whole in found.items() if whole or name not in MAILBOX_PROVIDERS}


def note(tx: Connection, now: datetime, customer_id: int, names: dict[str, bool]) -> None:
    """Write that these domains are the customer's; a claim is never weakened by a mere address."""
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    for name, claimed in names.items():
        statement = make(customer_domain).values(domain=name, customer_id=customer_id, claimed=claimed)
        added: object = tx.execute(
            statement.on_conflict_do_nothing().returning(customer_domain.c.domain)
        ).scalar()
        if not added and claimed:
            weak = (customer_domain.c.domain == name) & (customer_domain.c.customer_id == customer_id)
            weak &= customer_domain.c.claimed.is_(False)
            added = tx.execute(update(customer_domain).where(weak).values(claimed=True)).rowcount
        if added:
            changes.note(tx, now, changes.DOMAIN, name)


def rederive(tx: Connection, now: datetime, customer_id: int) -> None:
    """Work a customer's domains out again: after something that gave it one was taken away."""
    mine = customer_domain.c.customer_id == customer_id
    stored = tx.execute(select(customer_domain.c.domain, customer_domain.c.claimed).where(mine))
    before: dict[str, bool] = {name: claimed for name, claimed in stored}  # noqa: C416 - rows are no pairs to mypy
    after: dict[str, bool] = {}
    facts = tx.execute(select(account.c.login, account.c.senders).where(account.c.customer_id == customer_id))
    for login, senders in facts:
        for name, claimed in of_senders([login, *senders]).items():
            after[name] = after.get(name, False) or claimed
    for (provisioned,) in tx.execute(
        select(server.c.provision_domains).where(server.c.customer_id == customer_id)
    ):
        after.update(dict.fromkeys(map(plain, provisioned), True))
    keys = select(dkim_key.c.domain).where(dkim_key.c.customer_id == customer_id)
    after.update(dict.fromkeys(tx.execute(keys).scalars(), True))
    for name in before.keys() - after.keys():
        tx.execute(delete(customer_domain).where(mine, customer_domain.c.domain == name))
        changes.note(tx, now, changes.DOMAIN, name)
    for name in before.keys() & after.keys():
        if before[name] and not after[name]:
            tx.execute(
                update(customer_domain).where(mine, customer_domain.c.domain == name).values(claimed=False)
            )
            changes.note(tx, now, changes.DOMAIN, name)
    note(tx, now, customer_id, after)


def owners(tx: Connection, names: Iterable[str] | None = None) -> dict[str, frozenset[int]]:
    """Return whose each domain is (of these, or of all): those who claim it, or else those seen at it."""
    statement = select(customer_domain.c.domain, customer_domain.c.customer_id, customer_domain.c.claimed)
    if names is not None:
        statement = statement.where(customer_domain.c.domain.in_(list(names)))
    claimed: dict[str, set[int]] = {}
    seen: dict[str, set[int]] = {}
    for name, customer_id, claims in tx.execute(statement):
        (claimed if claims else seen).setdefault(name, set()).add(customer_id)
    return {name: frozenset(found) for name, found in {**seen, **claimed}.items()}
