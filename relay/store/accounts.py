"""Customers, servers, accounts and credentials. Names and logins are unique; logins compare without case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from relay.clock import micros
from relay.errors import ConfigError, Conflict, Fault, NotFound
from relay.model import Account, AccountClass, Credential, Customer, Forward, Mode, Server, Tls, UpstreamAuth
from relay.store import changes, domains, rows, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping, Select
    from sqlalchemy.sql.elements import ColumnElement

_account, _customer, _server, _credential = schema.account, schema.customer, schema.server, schema.credential
#: SQLite takes 32,766 parameters, PostgreSQL 65,535; stay far below both.
_MANY = 5000
#: good passwords of one account that only their fingerprints are known of
_KEPT_FINGERPRINTS = 8


def login_key(login: str) -> str:
    """Return the form in which logins are compared."""
    return login.strip().lower()


def add_customer(  # noqa: PLR0913 - one argument a fact
    tx: Connection,
    now: datetime,
    name: str,
    *,
    hosts: Sequence[str],
    tls: Tls = Tls.NONE,
    auth: UpstreamAuth = UpstreamAuth.NONE,
    relay_login: str = "",
    relay_secret_file: str = "",
    mode: Mode = Mode.ENFORCE,
    contact: str = "",
    brand: str = "",
    phone: str = "",
    parent: str | None = None,
    provision_domains: Sequence[str] = (),
    trusted_hosts: bool = True,
    forward: Forward = Forward.PROXY,
) -> Customer:
    """Add a customer and one server of the same name; Conflict for a taken name, NotFound for the parent.

    ConfigError where its mail should be queued and nothing can log in later; Conflict for another's domain.
    """
    parent_id = customer(tx, parent).id if parent else None
    born = {"name": name, "created_us": micros(now), "since_us": micros(now)}
    facts = {"mode": str(mode), "contact": contact, "brand": brand, "phone": phone, "parent_id": parent_id}
    number = _insert(tx, _customer, f"customer {name}", **born, **facts)
    server_facts = {
        "hosts": list(hosts),
        "tls": str(tls),
        "auth": str(auth),
        "relay_login": relay_login,
        "relay_secret_file": relay_secret_file,
        "provision_domains": [domains.plain(domain) for domain in provision_domains],
        "trusted_hosts": trusted_hosts,
        "forward": str(forward),
    }
    _insert(tx, _server, f"server {name}", customer_id=number, **born, **server_facts)
    domains.note(tx, now, number, {domains.plain(domain): True for domain in provision_domains})
    changes.note(tx, now, changes.CUSTOMER, number)
    for made in servers_of(tx, number):
        _check_forward(made)
        _check_domains(tx, made)
    return customer(tx, name)


def _check_forward(given: Server) -> None:
    """Refuse to queue what could never be delivered: a client's own password dies with its session."""
    if given.forward is Forward.QUEUE and not given.takes_later:
        allowed = "with --auth passthrough it needs a login of ours too: --relay LOGIN:SECRETFILE"
        raise ConfigError([Fault(f"customer {given.name}: forward", "queue", allowed)])


def _check_domains(tx: Connection, given: Server) -> None:
    """Refuse two servers for one domain: nobody could say whose a new login there is."""
    for other in servers(tx):
        if other.id != given.id and (both := {*other.provision_domains} & {*given.provision_domains}):
            raise Conflict(f"logins at {min(both)} become accounts of customer {other.name} already")


def _insert(tx: Connection, table: Table, what: str, **values: Any) -> int:
    try:
        return int(tx.execute(insert(table).values(**values).returning(table.c.id)).scalar_one())
    except IntegrityError:
        raise Conflict(f"{what} exists already") from None


def _one(tx: Connection, table: Table, key: ColumnElement[bool], what: str) -> RowMapping:
    row = tx.execute(select(table).where(key)).mappings().first()
    if row is None:
        raise NotFound(f"there is no {what}")
    return row


def customer(tx: Connection, name: str) -> Customer:
    """Return a customer by name; NotFound."""
    return rows.customer(_one(tx, _customer, _customer.c.name == name, f"customer {name}"))


def customer_by_id(tx: Connection, number: int) -> Customer:
    """Return a customer by id; NotFound."""
    return rows.customer(_one(tx, _customer, _customer.c.id == number, f"customer with id {number}"))


def customers(tx: Connection) -> list[Customer]:
    """Return all customers by name."""
    return [rows.customer(row) for row in tx.execute(select(_customer).order_by(_customer.c.name)).mappings()]


def server(tx: Connection, name: str) -> Server:
    """Return a server by name; NotFound."""
    return rows.server(_one(tx, _server, _server.c.name == name, f"server {name}"))


def server_of(tx: Connection, number: int) -> Server:
    """Return a server by id; NotFound."""
    return rows.server(_one(tx, _server, _server.c.id == number, f"server with id {number}"))


def servers(tx: Connection) -> list[Server]:
    """Return all servers by name."""
    return [rows.server(row) for row in tx.execute(select(_server).order_by(_server.c.name)).mappings()]


def servers_of(tx: Connection, customer_id: int) -> list[Server]:
    """Return the servers of a customer, the first one first."""
    mine = select(_server).where(_server.c.customer_id == customer_id).order_by(_server.c.id)
    return [rows.server(row) for row in tx.execute(mine).mappings()]


def add_account(  # noqa: PLR0913 - one argument a fact
    tx: Connection,
    now: datetime,
    login: str,
    *,
    customer: str,
    password_hash: str = "",
    fingerprint: bytes = b"",
    senders: Sequence[str] = (),
    klass: AccountClass = AccountClass.APP,
) -> Account:
    """Add a login to a customer's first server; without senders it may send as itself alone.

    Without a password (neither hash nor fingerprint) the customer's server checks logins. Conflict for a
    taken login, NotFound for the customer.
    """
    owner = _one(tx, _customer, _customer.c.name == customer, f"customer {customer}")
    first = select(_server.c.id).where(_server.c.customer_id == owner["id"]).order_by(_server.c.id).limit(1)
    number = _insert(
        tx,
        _account,
        f"account {login}",
        login=login.strip(),
        login_key=login_key(login),
        customer_id=owner["id"],
        server_id=tx.execute(first).scalar_one(),
        klass=str(klass),
        senders=list(senders) or [login.strip()],
        created_us=micros(now),
        since_us=micros(now),
    )
    if password_hash or fingerprint:
        _add_credential(tx, now, number, password_hash, fingerprint)
    domains.note(tx, now, owner["id"], domains.of_senders([login, *senders]))
    changes.note(tx, now, changes.ACCOUNT, number)
    return account_by_id(tx, number)


def _joined() -> Select[Any]:
    """Select accounts with their customer and server; each table's columns behind its name."""
    columns = [
        column.label(f"{table.name}_{column.name}")
        for table in (_account, _customer, _server)
        for column in table.c
    ]
    joined = _account.join(_customer, _customer.c.id == _account.c.customer_id).join(
        _server, _server.c.id == _account.c.server_id
    )
    return select(*columns).select_from(joined)


def _load(tx: Connection, where: ColumnElement[bool] | None = None) -> list[Account]:
    """Read accounts by login, their credentials, and each customer and server once."""
    statement = _joined().order_by(_account.c.login_key)
    found = tx.execute(statement if where is None else statement.where(where)).mappings().all()
    secrets = _credentials_of(tx, [row["account_id"] for row in found])
    owners: dict[int, Customer] = {}
    homes: dict[int, Server] = {}
    loaded = []
    for row in found:
        owner = owners.get(row["customer_id"]) or owners.setdefault(
            row["customer_id"], rows.customer(row, "customer_")
        )
        home = homes.get(row["server_id"]) or homes.setdefault(row["server_id"], rows.server(row, "server_"))
        loaded.append(rows.account(row, owner, home, tuple(secrets.get(row["account_id"], ())), "account_"))
    return loaded


def _credentials_of(tx: Connection, numbers: list[int]) -> dict[int, list[Credential]]:
    found: dict[int, list[Credential]] = {}
    for start in range(0, len(numbers), _MANY):
        some = _credential.c.account_id.in_(numbers[start : start + _MANY])
        for row in tx.execute(select(_credential).where(some).order_by(_credential.c.id)).mappings():
            found.setdefault(row["account_id"], []).append(rows.credential(row))
    return found


def account(tx: Connection, login: str) -> Account:
    """Return an account by login, in any case; NotFound."""
    if found := _load(tx, _account.c.login_key == login_key(login)):
        return found[0]
    raise NotFound(f"there is no account {login}")


def account_by_id(tx: Connection, number: int) -> Account:
    """Return an account by id; NotFound."""
    if found := _load(tx, _account.c.id == number):
        return found[0]
    raise NotFound(f"there is no account with id {number}")


def accounts(tx: Connection, customer: str | None = None) -> list[Account]:
    """Return all accounts, or a customer's, by login; NotFound for the customer."""
    if customer is None:
        return _load(tx)
    owner = _one(tx, _customer, _customer.c.name == customer, f"customer {customer}")
    return _load(tx, _account.c.customer_id == owner["id"])


def set_senders(tx: Connection, now: datetime, login: str, senders: Sequence[str]) -> None:
    """Change who an account may send as; NotFound."""
    found = account(tx, login)
    tx.execute(update(_account).where(_account.c.id == found.id).values(senders=list(senders)))
    domains.rederive(tx, now, found.customer.id)
    changes.note(tx, now, changes.ACCOUNT, found.id)


def set_class(tx: Connection, now: datetime, login: str, klass: AccountClass) -> None:
    """Change an account's class; NotFound."""
    number = account(tx, login).id
    tx.execute(update(_account).where(_account.c.id == number).values(klass=str(klass)))
    changes.note(tx, now, changes.ACCOUNT, number)


def set_mode(tx: Connection, now: datetime, name: str, mode: Mode) -> None:
    """Change whether decisions about a customer bite; NotFound."""
    number = customer(tx, name).id
    tx.execute(update(_customer).where(_customer.c.id == number).values(mode=str(mode)))
    changes.note(tx, now, changes.CUSTOMER, number)


def set_facts(tx: Connection, now: datetime, name: str, **facts: str) -> None:
    """Change a customer's contact, brand or phone; NotFound."""
    number = customer(tx, name).id
    tx.execute(update(_customer).where(_customer.c.id == number).values(**facts))
    changes.note(tx, now, changes.CUSTOMER, number)


def set_server(  # noqa: PLR0913 - one argument a fact
    tx: Connection,
    now: datetime,
    name: str,
    *,
    hosts: Sequence[str] = (),
    tls: Tls | None = None,
    auth: UpstreamAuth | None = None,
    relay: tuple[str, str] | None = None,
    forward: Forward | None = None,
    provision_domains: Sequence[str] | None = None,
) -> None:
    """Change where a customer's mail is handed on and how; what is left out stays.

    A `relay` login of ("", "") is taken away. NotFound; Conflict, ConfigError as in `add_customer`.
    """
    number = customer(tx, name).id
    old = servers_of(tx, number)
    for before in old:
        how = auth or before.auth
        if relay is not None and how is not UpstreamAuth.PASSTHROUGH:
            how = UpstreamAuth.RELAY if relay[0] else UpstreamAuth.NONE
        passes = how is UpstreamAuth.PASSTHROUGH
        wanted = before.provision_domains if provision_domains is None else provision_domains
        values: dict[str, Any] = {
            "hosts": list(hosts or before.hosts),
            "tls": str(tls or before.tls),
            "auth": str(how),
            "forward": str(forward or before.forward),
            # only a server that checks passwords can say which logins there are
            "provision_domains": [domains.plain(domain) for domain in wanted] if passes else [],
        }
        if relay is not None:
            values |= {"relay_login": relay[0], "relay_secret_file": relay[1]}
        if hosts:
            values["trusted_hosts"] = True
        tx.execute(update(_server).where(_server.c.id == before.id).values(**values))
    after = servers_of(tx, number)
    if [one.provision_domains for one in after] != [one.provision_domains for one in old]:
        domains.rederive(tx, now, number)
    for changed in after:
        _check_forward(changed)
        _check_domains(tx, changed)
        changes.note(tx, now, changes.SERVER, changed.id)


def set_password(
    tx: Connection, now: datetime, login: str, password_hash: str, fingerprint: bytes
) -> Account:
    """Replace an account's good passwords by one; blocked ones stay blocked.

    NotFound for the login; Conflict for a password that was blocked: whoever stole it still has it.
    """
    number = account(tx, login).id
    if any(found.blocked and found.fingerprint == fingerprint for found in credentials(tx, login)):
        raise Conflict("that password was blocked: choose another")
    tx.execute(
        _credential.delete().where(_credential.c.account_id == number, _credential.c.blocked.is_(False))
    )
    _add_credential(tx, now, number, password_hash, fingerprint)
    changes.note(tx, now, changes.ACCOUNT, number)
    return account_by_id(tx, number)


def _add_credential(
    tx: Connection, now: datetime, number: int, password_hash: str, fingerprint: bytes
) -> int:
    return _insert(
        tx,
        _credential,
        "credential",
        account_id=number,
        hash=password_hash,
        fingerprint=fingerprint,
        created_us=micros(now),
    )


def credentials(tx: Connection, login: str) -> tuple[Credential, ...]:
    """Return an account's credentials, blocked ones too; NotFound."""
    return account(tx, login).credentials


def block_credential(tx: Connection, now: datetime, number: int, blocked: bool) -> Credential:  # noqa: FBT001
    """Block a credential or take it again; NotFound. The account stays as it is."""
    owner = _one(tx, _credential, _credential.c.id == number, f"credential {number}")["account_id"]
    at_us = micros(now) if blocked else None
    tx.execute(
        update(_credential).where(_credential.c.id == number).values(blocked=blocked, blocked_us=at_us)
    )
    changes.note(tx, now, changes.ACCOUNT, owner)
    return rows.credential(_one(tx, _credential, _credential.c.id == number, f"credential {number}"))


def block_fingerprint(tx: Connection, now: datetime, login: str, fingerprint: bytes) -> Credential:
    """Block a password that only its fingerprint is known of (the customer's server checks it); NotFound."""
    found = account(tx, login)
    same = [known for known in found.credentials if known.fingerprint == fingerprint]
    number = same[0].id if same else _add_credential(tx, now, found.id, "", fingerprint)
    return block_credential(tx, now, number, True)  # noqa: FBT003


def know_fingerprint(tx: Connection, now: datetime, number: int, fingerprint: bytes) -> int:
    """Return the credential of a password that the customer's server took, kept at its first use.

    So that a compromise can block it; of the good ones of an account the newest few are kept.
    """
    mine = (_credential.c.account_id == number) & (_credential.c.hash == "")
    rows = tx.execute(select(_credential).where(mine).order_by(_credential.c.id.desc())).all()
    for row in rows:
        if row.fingerprint == fingerprint:
            return int(row.id)
    old = [row.id for row in rows if not row.blocked][_KEPT_FINGERPRINTS - 1 :]
    tx.execute(_credential.delete().where(_credential.c.id.in_(old)))
    made = _add_credential(tx, now, number, "", fingerprint)
    changes.note(tx, now, changes.ACCOUNT, number)
    return made


def logins(tx: Connection, numbers: Iterable[int]) -> dict[int, str]:
    """Return the logins of account ids; unknown ids are left out."""
    wanted = list(set(numbers))
    found: dict[int, str] = {}
    for start in range(0, len(wanted), _MANY):
        some = _account.c.id.in_(wanted[start : start + _MANY])
        found.update(
            (row.id, row.login) for row in tx.execute(select(_account.c.id, _account.c.login).where(some))
        )
    return found
