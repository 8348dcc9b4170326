"""A copy goes back into either kind of database, whichever it was taken from."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Float, Integer, LargeBinary, Table, insert, select, update
from sqlalchemy.engine import make_url

from relay.clock import micros
from relay.errors import StoreError
from relay.keyring import Key, Keyring
from relay.store import audit, schema
from relay.store.backup import backup, check, restore
from relay.store.engine import Store
from tests.relay.store.people import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.postgres import Server

KEYS = Keyring([Key(1, b"k" * 32)])
#: more than are copied at once
MANY = 450


def a_value(table: Table, name: str) -> Any:
    column = table.c[name]
    if column.foreign_keys or (column.primary_key and name == "id" and isinstance(column.type, Integer)):
        return "wörd" if name == "staff" else 5
    kinds: list[tuple[type, Any]] = [
        (BigInteger, -(2**62)),
        (Integer, 7),
        (Boolean, True),
        (Float, 0.1),
        (LargeBinary, bytes(range(256))),
        (JSON, {"ü": [1, None, "\\u0000"]}),
    ]
    return next((value for kind, value in kinds if isinstance(column.type, kind)), "wörd")


def fill(tx: Connection) -> None:
    """Put a row of every type of value into every table."""
    for table in schema.metadata.sorted_tables:
        if table.name in ("audit", "counter"):
            continue
        row = {column.name: a_value(table, column.name) for column in table.columns}
        if table.name == "customer":
            row["parent_id"] = None
        if table.name == "outbox":
            row["in_file"] = False
        tx.execute(insert(table).values(row))
    customer = {"mode": "enforce", "created_us": 1, "since_us": 1}
    tx.execute(insert(schema.customer).values(id=9, name="reseller", **customer))
    # a customer that came before its reseller
    tx.execute(update(schema.customer).where(schema.customer.c.id == 5).values(parent_id=9))
    audit.append(tx, NOW, "admin", "add", "account 5", "because", {"ü": 1})
    bodies = [{"id": f"m{n:04}", "sealed": bytes([n % 256]) * n} for n in range(MANY)]
    tx.execute(insert(schema.outbox_body), bodies)


def everything(tx: Connection) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(row._mapping) for row in tx.execute(select(table).order_by(*table.primary_key))]
        for table in schema.metadata.sorted_tables
    }


def new_customer(tx: Connection) -> int:
    row = {"name": "next", "mode": "enforce", "created_us": 1, "since_us": 1}
    made = tx.execute(insert(schema.customer).values(row).returning(schema.customer.c.id))
    return int(made.scalar_one())


def copied(store: Store, folder: Path) -> Path:
    """Return a checked copy of a store whose spool has one file."""
    spool = folder / "source-spool"
    (spool / "m1").mkdir(parents=True)
    (spool / "m1" / "m1").write_bytes(b"sealed")
    url = store.url.render_as_string(hide_password=False)
    backup(NOW, url, folder, target=folder / "copy", spool=spool, keyring=KEYS)
    assert check(folder / "copy", KEYS) == []
    return folder / "copy"


def test_du_37_every_row_of_every_table_comes_back_in_either_database(
    store: Store, empty_url: str, tmp_path: Path
) -> None:
    with store.begin() as tx:
        fill(tx)
        # a number that was given out, and whose owner is gone
        gone = new_customer(tx)
        tx.execute(schema.customer.delete().where(schema.customer.c.id == gone))
    with store.read() as tx:
        before = everything(tx)
    copy, home = copied(store, tmp_path), tmp_path / "home"
    assert {path.name for path in copy.iterdir()} == {"gatepost.db", "manifest.json", "spool"}
    home.mkdir()
    restore(copy, empty_url, home, spool=home / "spool", keyring=KEYS)
    assert check(copy, KEYS) == [], "a copy is as it was after it was brought back"
    again = Store(empty_url, home)
    again.migrate()
    with again.begin() as tx:
        assert everything(tx) == before
        assert audit.verify(tx) is None
        assert audit.append(tx, NOW, "admin", "restore", "all") == 2
        assert new_customer(tx) > max(gone, 9), "a number is never given out twice"
    again.close()
    assert (home / "spool" / "m1" / "m1").read_bytes() == b"sealed"


def test_du_37_a_copy_of_postgresql_is_of_one_moment(postgres_server: Server, tmp_path: Path) -> None:
    """What is written while the copy is made is in none of its tables, or in all."""
    url = postgres_server.migrated()
    store = Store(url, tmp_path)
    with store.begin() as tx:
        fill(tx)

    def both(tx: Connection, number: str) -> None:
        tx.execute(insert(schema.switch).values(name=number, since_us=micros(NOW), set_by="x"))
        tx.execute(insert(schema.pace).values(account_id=int(number), next_us=0))

    ended = threading.Event()

    def write() -> None:
        number = 100
        while not ended.is_set():
            number += 1
            with store.begin() as tx:
                both(tx, str(number))

    writing = threading.Thread(target=write)
    writing.start()
    try:
        copy = copied(store, tmp_path)
    finally:
        ended.set()
        writing.join()
    with Store("sqlite:///gatepost.db", copy).read() as tx:
        names = set(tx.execute(select(schema.switch.c.name)).scalars()) - {"wörd"}
        numbers = set(tx.execute(select(schema.pace.c.account_id)).scalars()) - {-(2**62)}
        assert names == {str(number) for number in numbers}
    store.close()
    postgres_server.drop(url)


def test_nothing_is_overwritten_and_what_fails_leaves_nothing(
    postgres_server: Server, tmp_path: Path
) -> None:
    url = postgres_server.migrated()
    store = Store(url, tmp_path)
    with store.begin() as tx:
        fill(tx)
    copy, spool = copied(store, tmp_path), tmp_path / "elsewhere"
    store.close()
    with pytest.raises(StoreError, match="exists already"):
        restore(copy, url, tmp_path, spool=spool)
    postgres_server.drop(url)
    with pytest.raises(StoreError, match="does not exist"):
        restore(copy, url, tmp_path, spool=spool)
    assert not spool.exists()
    empty = postgres_server.empty()
    # a table of somebody else's in the way of ours
    postgres_server.execute("CREATE TABLE vote (x int)", make_url(empty).database or "")
    with pytest.raises(StoreError, match="vote"):
        restore(copy, empty, tmp_path, spool=spool)
    assert list(spool.iterdir()) == []
    postgres_server.execute("DROP TABLE vote", make_url(empty).database or "")
    restore(copy, empty, tmp_path, spool=spool, keyring=KEYS)
    postgres_server.drop(empty)


def test_a_database_without_our_tables_is_not_copied(postgres_server: Server, tmp_path: Path) -> None:
    url = postgres_server.empty()
    with pytest.raises(StoreError, match="revision none"):
        backup(NOW, url, tmp_path, target=tmp_path / "copy", spool=tmp_path / "spool", keyring=KEYS)
    assert "no finished copy" in check(tmp_path / "copy")[0]
    postgres_server.drop(url)
