"""Whatever is written together, it is as if each had been written alone, one after the other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update

from relay.errors import Conflict, StoreError
from relay.model import Level, Standing, State
from relay.store import schema
from relay.store.engine import Store
from relay.store.standing import set_standing, standing_of
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

counter = schema.counter
OPERATIONS = st.tuples(
    st.sampled_from(["add", "add", "raise", "sql", "count", "nested"]), st.sampled_from(["a", "b", "c", "d"])
)


def work(tx: Connection, what: str, key: str) -> str:
    """Do one of the things that jobs do, some of which fail half-way."""
    if what == "nested":
        try:
            with tx.begin_nested():
                tx.execute(insert(counter).values(name=key, value=100))
                tx.execute(text("SELECT * FROM nowhere"))
        except Exception:  # noqa: BLE001 - as careless as work may be
            return key
    if what == "count":
        tx.execute(update(counter).where(counter.c.name == key).values(value=counter.c.value + 1))
        return key
    tx.execute(insert(counter).values(name=key, value=0))
    if what == "raise":
        raise ZeroDivisionError
    if what == "sql":
        tx.execute(text("SELECT * FROM nowhere"))
    return key


def expected(operations: list[tuple[str, str]]) -> tuple[dict[str, int], list[type]]:
    """Return what is stored, and what each job gives, if they run one after the other."""
    rows: dict[str, int] = {}
    outcomes: list[type] = []
    for what, key in operations:
        if what == "count":
            rows.update({key: rows[key] + 1} if key in rows else {})
        elif what != "nested" and key in rows:
            outcomes.append(Conflict)
            continue
        elif what == "add":
            rows[key] = 0
        outcomes.append({"raise": ZeroDivisionError, "sql": StoreError}.get(what, str))
    return rows, outcomes


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(OPERATIONS, max_size=30))
def test_a_group_is_what_its_jobs_are_alone(store: Store, operations: list[tuple[str, str]]) -> None:
    async def run() -> list[object]:
        jobs = (store.write(partial(work, what=what, key=key)) for what, key in operations)
        return await asyncio.gather(*jobs, return_exceptions=True)

    with store.begin() as tx:
        tx.execute(delete(counter).where(counter.c.name.not_in(schema.COUNTERS)))
    outcomes = [type(outcome) for outcome in asyncio.run(run())]
    with store.read() as tx:
        found = select(counter.c.name, counter.c.value).where(counter.c.name.not_in(schema.COUNTERS))
        rows = {row.name: row.value for row in tx.execute(found)}
    assert (rows, outcomes) == expected(operations)


async def test_whoever_has_an_answer_can_see_it_from_elsewhere(
    store: Store, url: str, tmp_path: Path
) -> None:
    elsewhere = Store(url, tmp_path)

    async def write_and_look(number: int) -> bool:
        await store.write(lambda tx: tx.execute(insert(counter).values(name=f"n{number}")) and None)
        seen = await elsewhere.query(
            lambda tx: tx.execute(select(counter.c.name).where(counter.c.name == f"n{number}")).first()
        )
        return seen is not None

    assert all(await asyncio.gather(*(write_and_look(number) for number in range(100))))
    elsewhere.close()


async def test_no_decision_is_lost_between_two_who_compare_and_set(
    store: Store, url: str, tmp_path: Path
) -> None:
    other = Store(url, tmp_path)
    with store.begin() as tx:
        add_customer(tx)
        number = add_account(tx).id

    async def decide(node: Store) -> int:
        """Return how many tries one decision took."""
        for attempt in range(1, 200):
            seen = await node.query(lambda tx: standing_of(tx, Level.ACCOUNT, number))
            wanted = Standing(State.THROTTLED, NOW, reason=str(seen.version))
            try:
                await node.write(
                    lambda tx, old=seen.version, new=wanted: set_standing(  # type: ignore[misc]
                        tx, NOW, Level.ACCOUNT, number, new, expected_version=old
                    )
                )
            except Conflict:
                continue
            return attempt
        raise AssertionError("never")

    tries = await asyncio.gather(*(decide(node) for node in (store, other) * 10))
    with store.read() as tx:
        final = standing_of(tx, Level.ACCOUNT, number)
    assert (final.version, final.reason) == (20, "19")
    assert sum(tries) > 20  # some were second, and noticed
    other.close()
