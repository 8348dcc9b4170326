from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from relay.errors import Conflict, StoreError
from relay.store import schema
from relay.store.connect import database_url
from relay.store.engine import READERS, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.postgres import Server

counter = schema.counter


def inserting(name: str, value: int = 0) -> Callable[[Connection], str]:
    def work(tx: Connection) -> str:
        tx.execute(insert(counter).values(name=name, value=value))
        return name

    return work


def names(store: Store) -> set[str]:
    with store.read() as tx:
        return set(tx.execute(select(counter.c.name)).scalars()) - set(schema.COUNTERS)


async def test_a_written_row_is_there_when_write_returns(store: Store) -> None:
    assert await store.write(inserting("a")) == "a"
    assert names(store) == {"a"}


async def test_what_work_raises_is_raised_here_and_its_changes_are_undone(store: Store) -> None:
    def half(tx: Connection) -> None:
        inserting("half")(tx)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(half)
    assert names(store) == set()


async def test_a_failing_job_never_harms_its_neighbours(store: Store) -> None:
    def failing(tx: Connection) -> None:
        inserting("lost")(tx)
        tx.execute(text("SELECT * FROM no_such_table"))

    jobs = [store.write(inserting(f"n{i % 40}")) for i in range(60)] + [store.write(failing)] * 1
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert names(store) == {f"n{i}" for i in range(40)}
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 20
    assert sum(type(outcome) is StoreError for outcome in outcomes) == 1


async def test_many_jobs_share_a_commit(store: Store) -> None:
    await asyncio.gather(*(store.write(inserting(f"n{i}")) for i in range(500)))
    assert store._writer.committed == 500
    assert store._writer.groups < 50


async def test_no_result_before_the_commit(store: Store) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def slow(tx: Connection) -> str:
        begun.set()
        let_go.wait(10)
        return inserting("slow")(tx)

    first = asyncio.create_task(store.write(inserting("first")))
    second = asyncio.create_task(store.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    # `first` ran in the same group or was committed before: either way it is settled only with its commit
    assert not first.done() or "first" in names(store)
    assert not second.done()
    let_go.set()
    assert (await first, await second) == ("first", "slow")
    assert names(store) == {"first", "slow"}


async def test_work_cancelled_while_it_waits_never_runs(store: Store) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def blocking(_: Connection) -> None:
        begun.set()
        let_go.wait(10)

    blocker = asyncio.create_task(store.write(blocking))
    await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.create_task(store.write(inserting("never")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    let_go.set()
    await blocker
    await store.flush()
    assert names(store) == set()


async def test_a_question_that_nobody_waits_for_any_more_is_not_asked(store: Store) -> None:
    """A database that hangs for a minute must not answer thousands of old questions before the new ones."""
    let_go, asked = threading.Event(), []
    reading = [asyncio.create_task(store.query(lambda _tx: let_go.wait(10))) for _ in range(READERS)]
    late = asyncio.create_task(store.query(lambda _tx: asked.append(1)))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    let_go.set()
    assert await asyncio.gather(*reading) == [True] * READERS
    await store.query(lambda tx: tx.execute(select(counter.c.name)).all())
    assert asked == []


async def test_write_later_is_committed_in_order_and_by_close(store: Store, url: str, tmp_path: Path) -> None:
    for i in range(100):
        store.write_later(inserting(f"n{i}"))
    store.close()
    again = Store(url, tmp_path)
    assert len(names(again)) == 100
    again.close()


async def test_a_lost_write_later_is_counted_and_logged_without_its_values(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_later(inserting("canary-7391"))
    store.write_later(inserting("canary-7391"))
    await store.flush()
    assert store.lost == 1
    assert "lost" in caplog.text
    assert "7391" not in caplog.text


async def test_errors_carry_no_values(store: Store) -> None:
    await store.write(inserting("canary-7391"))
    with pytest.raises(Conflict) as caught:
        await store.write(inserting("canary-7391"))
    assert "7391" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not [frame for frame in caught.traceback if "sqlalchemy" in str(frame.path)]
    assert "work" in [frame.name for frame in caught.traceback]
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_two_stores_count_without_losing_one(store: Store, url: str, tmp_path: Path) -> None:
    other = Store(url, tmp_path)
    await store.write(inserting("shared"))

    def count(tx: Connection) -> None:
        row = counter.c.name == "shared"
        value = tx.execute(select(counter.c.value).where(row).with_for_update()).scalar_one()
        tx.execute(update(counter).where(row).values(value=value + 1))

    await asyncio.gather(*(each.write(count) for each in (store, other) * 50))
    with store.read() as tx:
        assert tx.execute(select(counter.c.value).where(counter.c.name == "shared")).scalar() == 100
    other.close()


async def test_writers_that_lock_in_opposite_order_both_get_through(
    store: Store, url: str, tmp_path: Path
) -> None:
    other = Store(url, tmp_path)
    with store.begin() as tx:
        for name in "ab":
            inserting(name)(tx)

    def both(first: str, then: str) -> Callable[[Connection], None]:
        def work(tx: Connection) -> None:
            for name in (first, then):
                tx.execute(update(counter).where(counter.c.name == name).values(value=counter.c.value + 1))

        return work

    jobs = [store.write(both("a", "b")) for _ in range(30)] + [other.write(both("b", "a")) for _ in range(30)]
    await asyncio.gather(*jobs)
    with store.read() as tx:
        assert (
            tx.execute(select(func.sum(counter.c.value)).where(counter.c.name.in_(["a", "b"]))).scalar()
            == 120
        )
    other.close()


async def test_readers_see_one_moment_and_cannot_write(store: Store) -> None:
    await store.write(inserting("a"))
    assert await store.query(lambda tx: tx.execute(select(func.count()).select_from(counter)).scalar()) == 3
    with pytest.raises(StoreError, match=r"read-?only"):
        await store.query(inserting("b"))
    assert store.healthy


async def test_hostile_text_is_stored_and_found_again(store: Store) -> None:
    hostile = "a\0b\udcffc \U0001f600 \ud83d\ude00"
    await store.write(inserting(hostile))
    with store.read() as tx:
        found = tx.execute(select(counter.c.name).where(counter.c.name == hostile)).scalar()
    assert found == "a\ufffdb\ufffdc \U0001f600 \U0001f600"


async def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    assert not store.healthy
    with pytest.raises(StoreError, match="closed"):
        await store.write(inserting("a"))
    with pytest.raises(StoreError, match="closed"):
        await store.query(lambda _: None)


@pytest.mark.parametrize(
    "url",
    ["", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "gatepost.db", "://", "postgresql://x:port/y"],
)
def test_an_unusable_url_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store\.url"):
        Store(url, tmp_path)


def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match="deploy/venv postgres"):
        Store("postgresql://localhost/gatepost", tmp_path)


def test_a_database_without_a_locale_serves(postgres_server: Server, tmp_path: Path) -> None:
    """Where the server's own locale is C, `createdb` makes SQL_ASCII: its driver then gives bytes."""
    postgres_server.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    store = Store(postgres_server.url("ascii"), tmp_path)
    store.migrate()
    with store.begin() as tx:
        assert inserting("käse")(tx) == "käse"
    assert "käse" in names(store)
    store.close()


async def test_an_insert_that_does_nothing_says_so(store: Store) -> None:
    make = sqlite.insert if store.sqlite else postgresql.insert
    quiet = make(counter).values(name="once", value=1).on_conflict_do_nothing()
    assert [await store.write(lambda tx: tx.execute(quiet).rowcount) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://db.example/gatepost", "require"),
        ("postgresql:///gatepost?host=db.example", "require"),
        ("postgresql://db.example/gatepost?sslmode=verify-full", "verify-full"),
        ("postgresql:///gatepost?host=/run/postgresql", None),
        ("postgresql://localhost/gatepost", None),
        ("postgres://[::1]/gatepost", None),
    ],
)
def test_a_database_on_another_machine_is_spoken_to_in_tls(
    url: str, mode: str | None, tmp_path: Path
) -> None:
    assert database_url(url, tmp_path).query.get("sslmode") == mode


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()


def test_commits_reach_the_disk(tmp_path: Path) -> None:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    with store.begin() as tx:
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert tx.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    store.close()


async def test_a_batch_that_fails_to_hand_over_keeps_none_of_the_others_back(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()

    def broken() -> None:
        raise RuntimeError("a bug")

    store.soon(broken)
    store.soon(done.set)
    async with asyncio.timeout(10):
        await done.wait()
    assert "could not hand its rows over" in caplog.text
