from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from relay.store import correspondents, journal, schema
from relay.store.correspondents import FIRST_TIME, Correspondents, Written
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from relay.model import Account
    from relay.store.engine import Store


@pytest.fixture
def account(store: Store) -> Account:
    with store.begin() as tx:
        add_customer(tx)
        return add_account(tx)


def first_times(store: Store, account: Account) -> int:
    with store.read() as tx:
        return journal.counts(tx, account.id, (FIRST_TIME,), NOW - timedelta(hours=1))[FIRST_TIME]


async def test_a_recipient_is_new_once_whatever_process_asks(store: Store, account: Account) -> None:
    ben, ida = b"ben" + bytes(13), b"ida" + bytes(13)
    here, there = Correspondents(store), Correspondents(store)
    assert not await here.knows(account, ben)
    here.wrote(account, [ben, ben, ida], NOW)
    here._batch.flush()
    await store.flush()
    there.wrote(account, [ben], NOW)
    there._batch.flush()
    await store.flush()
    assert first_times(store, account) == 2
    assert await here.knows(account, ben)
    assert await Correspondents(store).knows(account, ida)
    assert not await there.knows(account, b"max" + bytes(13))


async def test_the_last_time_is_kept_to_the_day_and_a_known_one_costs_no_write(
    store: Store, account: Account
) -> None:
    ben = b"ben" + bytes(13)
    known = Correspondents(store)
    for hours in (0, 1, 2, 21):
        known.wrote(account, [ben], NOW + timedelta(hours=hours))
        known._batch.flush()
    await store.flush()
    with store.read() as tx:
        row = tx.execute(select(schema.correspondent)).one()
    assert row.last_us - row.first_us == 21 * 3_600_000_000
    assert first_times(store, account) == 1


def test_rows_of_one_batch_count_each_recipient_once(store: Store, account: Account) -> None:
    with store.begin() as tx:
        correspondents.write(tx, [Written(account.id, NOW, (1, 2)), Written(account.id, NOW, (2, -3))])
        correspondents.write(tx, [Written(account.id, NOW, (1, 2, -3))])  # in doubt, and so again
    assert first_times(store, account) == 3
