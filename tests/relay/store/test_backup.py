from __future__ import annotations

import asyncio
import errno
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, func, insert, select

from relay.clock import micros
from relay.errors import StoreError
from relay.keyring import Key, Keyring
from relay.store import audit, schema
from relay.store import backup as module
from relay.store.backup import backup, check, restore
from relay.store.engine import Store
from relay.store.journal import Batch, JournalRow
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from sqlalchemy import Connection

URL = "sqlite:///gatepost.db"
KEYS = Keyring([Key(1, b"k" * 32), Key(2, b"l" * 32)])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    store = Store(URL, home)
    store.migrate()
    with store.begin() as tx:
        add_customer(tx)
        add_account(tx)
        audit.append(tx, NOW, "admin", "add", "account 1")
        keep(tx, home, "m1")
    yield store
    store.close()


def keep(tx: Connection, home: Path, number: str) -> None:
    place = home / "spool" / number[-2:]
    place.mkdir(parents=True, exist_ok=True)
    (place / number).write_bytes(b"sealed " + number.encode())
    whose = {"account_id": 1, "customer_id": 1, "server_id": 1, "recipients": 1}
    times = {"at_us": micros(NOW), "next_us": 0, "deadline_us": 0}
    row = {"id": number, "state": "waiting", "envelope": b"e", "in_file": True, **whose, **times}
    tx.execute(insert(schema.outbox).values(row))


def copy(home: Path, target: Path) -> dict[str, object]:
    return backup(NOW, URL, home, target=target, spool=home / "spool", keyring=KEYS)


@pytest.mark.usefixtures("store")
def test_du_37_a_copy_comes_back_elsewhere(home: Path, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "copy", tmp_path / "elsewhere"
    manifest = copy(home, target)
    assert manifest["taken_at"] == NOW.isoformat()
    assert check(target, KEYS) == []
    modes = {path.stat().st_mode & 0o077 for path in (target, *target.rglob("*"))}
    assert modes == {0}
    elsewhere.mkdir()
    restore(target, URL, elsewhere, spool=elsewhere / "spool", keyring=KEYS)
    again = Store(URL, elsewhere)
    again.migrate()
    with again.begin() as tx:
        assert tx.execute(select(schema.account.c.login)).scalars().all() == ["alice@acme.example"]
        assert audit.append(tx, NOW, "admin", "restore", "all") == 2
        assert audit.verify(tx) is None
    assert (elsewhere / "spool" / "m1" / "m1").read_bytes() == b"sealed m1"
    again.close()


async def test_du_37_a_copy_under_load_is_whole(home: Path, tmp_path: Path, store: Store) -> None:
    batch, writing = Batch(store), True

    async def write() -> int:
        number = 0
        while writing:
            number += 1
            batch.add(JournalRow(f"j{number}", 1, 1, NOW, "deliver", recipients=b"r" * 32))
            if number % 20 == 0:
                await store.write(partial(keep, home=home, number=f"b{number:04}"))
            await asyncio.sleep(0)
        return number

    writer = asyncio.create_task(write())
    for round_ in range(3):
        target = tmp_path / f"copy{round_}"
        await asyncio.to_thread(copy, home, target)
        assert check(target, KEYS) == []
        with Store("sqlite:///gatepost.db", target).read() as tx:
            rows = tx.execute(select(func.count()).select_from(schema.message)).scalar_one()
            counted = select(func.coalesce(func.sum(schema.tally.c.value), 0)).where(
                schema.tally.c.name == "messages"
            )
            assert tx.execute(counted).scalar_one() == rows
    writing = False
    assert await writer > 20
    assert store.healthy


@pytest.mark.usefixtures("store")
def test_what_is_wrong_with_a_copy_is_said(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copy(home, target)
    assert check(target, Keyring([Key(1, b"x" * 32), Key(2, b"l" * 32)])) == [
        "master key 1 is another or missing"
    ]
    assert check(target, Keyring([Key(1, b"k" * 32)])) == ["master key 2 is another or missing"]
    body = target / "spool" / "m1" / "m1"
    body.write_bytes(b"other")
    assert check(target) == ["spool/m1/m1 was altered"]
    body.unlink()
    assert check(target) == ["spool/m1/m1 is missing"]
    body.symlink_to(tmp_path / "copy" / "gatepost.db")
    (target / "spool" / "more").symlink_to("/etc/hostname")
    assert check(target) == ["spool/m1/m1 was altered", "spool/more was put in"]
    (target / "manifest.json").write_text("{}")
    assert "unreadable" in check(target)[0]
    assert "unreadable" in check(tmp_path / "nowhere")[0]
    with pytest.raises(StoreError, match="unreadable"):
        restore(target, URL, tmp_path, spool=tmp_path / "spool")


@pytest.mark.usefixtures("store")
def test_a_waiting_message_without_its_body_shows(home: Path, tmp_path: Path) -> None:
    (home / "spool" / "m1" / "m1").unlink()
    copy(home, tmp_path / "copy")
    assert check(tmp_path / "copy") == ["the body of message m1 is missing"]


@pytest.mark.usefixtures("store")
def test_what_leaves_while_the_copy_is_made_is_not_in_it(
    home: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row was there at the moment of the copy; its body was gone before that could be copied."""
    with store.begin() as tx:
        keep(tx, home, "m2")
    spool = iter([tmp_path / "empty", home / "spool"])
    copied = module._copy_spool

    def late(_source: Path, place: Path) -> None:
        if (source := next(spool)).exists():
            with store.begin() as tx:
                tx.execute(delete(schema.outbox).where(schema.outbox.c.id == "m2"))
            (home / "spool" / "m2" / "m2").unlink()
        copied(source, place)

    monkeypatch.setattr(module, "_copy_spool", late)
    copy(home, tmp_path / "copy")
    assert check(tmp_path / "copy", KEYS) == []
    with Store(URL, tmp_path / "copy").read() as tx:
        assert tx.execute(select(schema.outbox.c.id)).scalars().all() == ["m1"]


@pytest.mark.usefixtures("store")
def test_nothing_is_ever_overwritten(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    copy(home, target)
    with pytest.raises(StoreError):
        copy(home, target)
    with pytest.raises(StoreError, match="exists already"):
        restore(target, URL, home, spool=home / "spool")


@pytest.mark.usefixtures("store")
def test_a_journal_that_another_database_left_is_not_taken_up(home: Path, tmp_path: Path) -> None:
    copy(home, tmp_path / "copy")
    place = tmp_path / "new"
    place.mkdir()
    (place / "gatepost.db-wal").write_bytes(b"of another")
    with pytest.raises(StoreError, match=r"gatepost\.db-wal exists already"):
        restore(tmp_path / "copy", URL, place, spool=place / "spool")


@pytest.mark.usefixtures("store")
def test_a_full_disk_leaves_nothing_behind(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(home, tmp_path / "copy")
    place = tmp_path / "new"
    place.mkdir()

    def full(source: BinaryIO, target: BinaryIO) -> None:
        target.write(source.read(100))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_copy_spool", lambda *_: None)
        patched.setattr(shutil, "copyfileobj", full)
        with pytest.raises(StoreError, match="No space left"):
            restore(tmp_path / "copy", URL, place, spool=place / "spool")
    restore(tmp_path / "copy", URL, place, spool=place / "spool")
    assert {path.name for path in place.iterdir()} == {"gatepost.db", "spool"}


def test_what_was_deleted_is_not_in_the_copy(home: Path, tmp_path: Path, store: Store) -> None:
    canary = os.urandom(16).hex()
    with store.begin() as tx:
        tx.execute(insert(schema.counter).values(name=canary))
    with store.begin() as tx:
        tx.execute(delete(schema.counter).where(schema.counter.c.name == canary))
    copy(home, tmp_path / "copy")
    assert canary.encode() not in (tmp_path / "copy" / "gatepost.db").read_bytes()
