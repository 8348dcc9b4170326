"""What the store does when its database does not: it says so in bounded time, and heals by itself."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from relay.errors import Conflict, StoreError
from relay.store import connect, engine, schema, writer
from relay.store.engine import Store
from tests.relay.store.conftest import add, counter, healed
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection


ROOT = Path(__file__).parents[3]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Store]:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    yield store
    store.close()


async def test_du_23_a_short_lock_by_another_process_is_waited_out(on_sqlite: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "gatepost.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    writing = asyncio.create_task(on_sqlite.write(add))
    await asyncio.sleep(0.3)
    assert not writing.done()
    other.execute("COMMIT")
    await writing
    assert on_sqlite.healthy
    other.close()


async def test_du_23_a_long_lock_is_an_error_in_bounded_time_and_the_loop_lives(
    on_sqlite: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WAIT_SECONDS", 0.5)
    other = sqlite3.connect(tmp_path / "gatepost.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begin = steady()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    first, *others = await asyncio.gather(
        *(on_sqlite.write(partial(add, name=f"n{n}")) for n in range(5)), return_exceptions=True
    )
    assert steady() - begin < 2
    assert ticks > 20
    # the first group was under way, and may yet be committed; nobody is told that it was not
    assert isinstance(first, StoreError)
    assert all(isinstance(error, StoreError) for error in others)
    # a reader is not held up by a writer
    assert await on_sqlite.query(lambda tx: tx.execute(select(counter.c.name)).scalars().all()) is not None
    ticking.cancel()
    other.execute("COMMIT")
    other.close()
    await healed(on_sqlite)


async def test_a_group_that_cannot_begin_is_given_up_together(
    on_sqlite: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one after the other, each after its own wait for the lock."""
    monkeypatch.setattr(writer, "GROUP_SECONDS", 0.3)
    with on_sqlite._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=100")
    other = sqlite3.connect(tmp_path / "gatepost.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begin = steady()
    outcomes = await asyncio.gather(
        *(on_sqlite.write(partial(add, name=f"n{n}")) for n in range(100)), return_exceptions=True
    )
    assert steady() - begin < 3
    assert {type(outcome) for outcome in outcomes} == {StoreError}
    assert not on_sqlite.healthy
    other.execute("COMMIT")
    other.close()
    await healed(on_sqlite)
    await on_sqlite.write(add)


async def test_slow_questions_of_the_console_do_not_hold_up_mail(on_sqlite: Store) -> None:
    let_go = threading.Event()
    slow = [asyncio.create_task(on_sqlite.query(lambda _: let_go.wait(10))) for _ in range(20)]
    async with asyncio.timeout(2):
        await on_sqlite.query(lambda tx: tx.execute(select(counter)).all(), urgent=True)
    let_go.set()
    await asyncio.gather(*slow)


_SCRIPT = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import insert
from relay.store import schema
from relay.store.engine import Store

async def main():
    store = Store("sqlite:///gatepost.db", Path(sys.argv[1]))
    async def one(n):
        row = insert(schema.counter).values(name=f"n{n}", value=n)
        await store.write(lambda tx: tx.execute(row) and None)
        print(n, flush=True)
    for start in range(0, 10**6, 20):
        await asyncio.gather(*(one(n) for n in range(start, start + 20)))

asyncio.run(main())
"""


def test_what_was_said_to_be_written_outlives_a_kill(tmp_path: Path) -> None:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    store.close()
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path)]
    said = set()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.add(f"n{int(line)}")
            if len(said) == 333:
                process.kill()
    store = Store("sqlite:///gatepost.db", tmp_path)
    with store.read() as tx:
        found = set(tx.execute(select(counter.c.name)).scalars())
        assert tx.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert said <= found
    store.close()


async def test_du_24_a_missing_table_makes_health_red_until_it_is_back(on_sqlite: Store) -> None:
    with on_sqlite.begin() as tx:
        tx.execute(text("ALTER TABLE vote RENAME TO gone"))
    with pytest.raises(StoreError, match="no such table"):
        await on_sqlite.write(lambda tx: tx.execute(select(schema.vote)).first())
    assert not on_sqlite.healthy
    with pytest.raises(StoreError):
        await on_sqlite.ready()
    # other tables still work, but the store stays red: the probe looks at every table
    await on_sqlite.write(add)
    assert not on_sqlite.healthy
    with on_sqlite.begin() as tx:
        tx.execute(text("ALTER TABLE gone RENAME TO vote"))
    assert await healed(on_sqlite) < 3
    await on_sqlite.ready()


async def test_du_24_a_damaged_file_is_an_error_not_a_crash(tmp_path: Path) -> None:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    store.close()
    file = tmp_path / "gatepost.db"
    raw = bytearray(file.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    file.write_bytes(raw)
    store = Store("sqlite:///gatepost.db", tmp_path)
    with pytest.raises(StoreError):
        await store.write(add)
    assert not store.healthy
    store.close()


def fill(tx: Connection) -> None:
    for number in range(50):
        add(tx, "x" * 5000 + str(number))


async def test_du_24_a_file_that_is_no_database_is_an_error_everywhere(tmp_path: Path) -> None:
    (tmp_path / "gatepost.db").write_bytes(b"not a database, whatever its name says" * 100)
    store = Store("sqlite:///gatepost.db", tmp_path)
    with pytest.raises(StoreError, match="not a database"):
        store.migrate()
    with pytest.raises(StoreError, match="not a database"):
        await store.write(add)
    with pytest.raises(StoreError, match="not a database"):
        await store.query(lambda tx: tx.execute(select(counter)).all())
    assert not store.healthy
    store.close()


async def test_no_work_whatever_it_does_ends_the_writer(on_sqlite: Store) -> None:
    def leave(_: Connection) -> None:
        raise SystemExit

    def broken_callback() -> None:
        raise ZeroDivisionError

    with pytest.raises(StoreError):
        await on_sqlite.write(leave)
    on_sqlite.write_later(lambda tx: tx.execute(text("SELECT * FROM nowhere")), lost=broken_callback)
    await on_sqlite.write(add)
    names = await on_sqlite.query(lambda tx: set(tx.execute(select(counter.c.name)).scalars()))
    assert names == {"a", *schema.COUNTERS}


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Store("sqlite:///nowhere/gatepost.db", tmp_path)


async def test_du_22_a_full_disk_is_an_error_and_passes(on_sqlite: Store) -> None:
    def pages(most: int) -> None:
        connection = on_sqlite._engine.raw_connection()
        connection.cursor().execute(f"PRAGMA max_page_count={most}")
        connection.close()

    pages(1)
    with pytest.raises(StoreError, match="full"):
        await on_sqlite.write(fill)
    assert not on_sqlite.healthy
    pages(1_000_000)
    await healed(on_sqlite)
    await on_sqlite.write(add)
    names = await on_sqlite.query(lambda tx: set(tx.execute(select(counter.c.name)).scalars()))
    assert names == {"a", *schema.COUNTERS}


async def test_what_runs_beside_a_full_disk_is_all_or_nothing(on_sqlite: Store) -> None:
    """SQLite ends the whole transaction by itself then; nothing may slip in outside of one."""

    def hiding(tx: Connection) -> None:
        with contextlib.suppress(OperationalError):
            fill(tx)
        add(tx, "hidden")

    connection = on_sqlite._engine.raw_connection()
    connection.cursor().execute("PRAGMA max_page_count=1")
    connection.close()
    works: list[Callable[[Connection], None]] = [
        partial(add, name="n0"),
        hiding,
        partial(add, name="n1"),
        fill,
        partial(add, name="n2"),
    ]
    outcomes = await asyncio.gather(*(on_sqlite.write(work) for work in works), return_exceptions=True)
    names = await on_sqlite.query(lambda tx: set(tx.execute(select(counter.c.name)).scalars()))
    succeeded = {f"n{n // 2}" for n, outcome in enumerate(outcomes) if n % 2 == 0 and outcome is None}
    assert names == succeeded | set(schema.COUNTERS)
    assert isinstance(outcomes[1], StoreError)
    assert isinstance(outcomes[3], StoreError)


async def test_a_readers_fault_does_not_stop_the_writer(on_sqlite: Store) -> None:
    with pytest.raises(StoreError):
        await on_sqlite.query(lambda tx: tx.execute(text("SELECT * FROM nowhere")).first())
    await on_sqlite.write(add)
    assert on_sqlite.healthy


async def test_too_much_waiting_work_is_refused_at_once(
    on_sqlite: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.writer.QUEUE", 3)
    let_go = asyncio.Event()
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    def block(_: Connection) -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(10)

    blocker = asyncio.create_task(on_sqlite.write(block))
    await started.wait()
    for number in range(3):
        on_sqlite.write_later(partial(add, name=f"n{number}"))
    with pytest.raises(StoreError, match="too much"):
        on_sqlite.write_later(add)
    let_go.set()
    await blocker
    on_sqlite.close()
    assert on_sqlite._writer.committed == 4


def _all_errors(base: type[Exception]) -> set[type[Exception]]:
    return {base} | {error for child in base.__subclasses__() for error in _all_errors(child)}


def test_every_error_of_the_drivers_becomes_one_of_ours() -> None:
    for kind in _all_errors(sqlite3.Error) | _all_errors(psycopg.Error):
        module = sqlite3 if kind.__module__ == "sqlite3" else psycopg
        wrapped = DBAPIError.instance("SELECT 1", None, kind("canary"), module.Error)
        assert isinstance(wrapped, DBAPIError)
        assert isinstance(connect.ours(wrapped), (StoreError, Conflict)), kind
