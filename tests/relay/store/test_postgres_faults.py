"""PostgreSQL gone, killed, locked: errors of bounded time, and health that tells (CASES.md DU-23…26)."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from relay.errors import StoreError
from relay.store import engine, schema
from relay.store.connect import OutcomeUnknown
from relay.store.engine import Store
from tests.relay.store.conftest import add, counter, healed
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from tests.postgres import Server


@pytest.fixture
def on_postgres(postgres_server: Server, tmp_path: Path) -> Iterator[Store]:
    url = postgres_server.migrated()
    store = Store(url, tmp_path)
    yield store
    store.close()
    postgres_server.drop(url)


async def test_du_25_postgresql_gone_and_back_is_red_and_then_green(
    on_postgres: Store, postgres_server: Server
) -> None:
    await on_postgres.write(add)
    await asyncio.to_thread(postgres_server.stop)
    try:
        begin = steady()
        with pytest.raises(StoreError):
            await on_postgres.write(partial(add, name="b"))
        with pytest.raises(StoreError):
            await on_postgres.query(lambda tx: tx.execute(select(counter)).all())
        assert steady() - begin < 10
        assert not on_postgres.healthy
    finally:
        await asyncio.to_thread(postgres_server.start)
    assert await healed(on_postgres) < 10
    await on_postgres.write(partial(add, name="c"))
    found = await on_postgres.query(lambda tx: set(tx.execute(select(counter.c.name)).scalars()))
    assert found == {"a", "c", *schema.COUNTERS}


async def test_du_26_a_connection_killed_at_the_commit_leaves_the_outcome_unknown(on_postgres: Store) -> None:
    """A deferred trigger kills the connection while COMMIT runs: nobody may be told that it failed."""
    with on_postgres.begin() as tx:
        tx.execute(
            text(
                "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(1); RETURN NULL; END $$"
            )
        )
        tx.execute(
            text(
                "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON counter "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()"
            )
        )
    with pytest.raises(OutcomeUnknown):
        await on_postgres.write(add)
    assert await healed(on_postgres) < 5


async def test_a_killed_connection_fails_its_group_and_the_next_works(on_postgres: Store) -> None:
    def suicide(tx: Connection) -> None:
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        tx.execute(text("SELECT 1"))

    outcomes = await asyncio.gather(
        *(on_postgres.write(partial(add, name=f"n{n}")) for n in range(5)),
        on_postgres.write(suicide),
        *(on_postgres.write(partial(add, name=f"n{n}")) for n in range(5, 9)),
        return_exceptions=True,
    )
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [5]
    assert isinstance(outcomes[5], StoreError)
    await healed(on_postgres)
    found = await on_postgres.query(lambda tx: set(tx.execute(select(counter.c.name)).scalars()))
    assert found == {*(f"n{n}" for n in range(9)), *schema.COUNTERS}


async def test_a_server_that_was_demoted_is_left(on_postgres: Store) -> None:
    """After a failover an open connection may lead to what is a reader now: the next one finds the writer."""
    demoted = text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    await on_postgres.write(lambda tx: tx.execute(demoted) and None)
    with pytest.raises(StoreError, match="read-only"):
        await on_postgres.write(add)
    assert await healed(on_postgres) < 10
    await on_postgres.write(add)


async def test_du_23_a_lock_held_elsewhere_ends_in_an_error_of_bounded_time(
    on_postgres: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WAIT_SECONDS", 1.0)
    begin = steady()
    with on_postgres.begin() as tx:
        tx.execute(text("LOCK TABLE counter IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreError):
            await on_postgres.write(add)
    assert steady() - begin < 3
    await on_postgres.flush()
    await healed(on_postgres)
