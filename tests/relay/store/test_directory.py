from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from relay.errors import StoreError
from relay.model import AccountClass, Level, Standing, State
from relay.store import accounts, changes, directory, schema
from relay.store.directory import Directory
from relay.store.standing import set_standing
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.store.changes import Change
    from relay.store.engine import Store

LOGIN = "alice@acme.example"


@pytest.fixture
async def known(store: Store) -> Directory:
    with store.begin() as tx:
        add_customer(tx)
        add_account(tx)
    found = Directory(store)
    await found.poll()
    return found


async def test_a_login_is_read_once_and_then_remembered(known: Directory) -> None:
    first = await known.account("ALICE@acme.example")
    assert first is not None
    assert first.login == LOGIN
    assert await known.account(LOGIN) is first
    assert known.peek(LOGIN) is first
    assert len(known) == 1


async def test_many_who_ask_at_once_cause_one_read(known: Directory) -> None:
    found = await asyncio.gather(*(known.account(LOGIN) for _ in range(50)))
    assert len({id(account) for account in found}) == 1


@pytest.mark.parametrize("level", list(Level))
async def test_a_standing_changed_elsewhere_is_heard_at_the_next_poll(
    known: Directory, store: Store, level: Level
) -> None:
    found = await known.account(LOGIN)
    assert found is not None
    with store.begin() as tx:
        set_standing(tx, NOW, level, found.id, Standing(State.SUSPENDED, NOW), expected_version=0)
    heard: list[Change] = []
    known.listen(heard.extend)
    await known.poll()
    again = await known.account(LOGIN)
    assert again is not None
    assert again.effective.state is State.SUSPENDED
    assert [(each.kind, each.key) for each in heard] == [(str(level), str(found.id))]


async def test_a_login_that_was_missing_is_found_once_it_is_there(known: Directory, store: Store) -> None:
    assert await known.account("bob@acme.example") is None
    with store.begin() as tx:
        add_account(tx, "bob@acme.example")
    await known.poll()
    assert await known.account("bob@acme.example") is not None


async def test_a_missing_login_costs_one_read_a_second(
    known: Directory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await known.account("nobody") is None
    now = time.monotonic()
    with store.begin() as tx:
        add_account(tx, "nobody")
    assert await known.account("nobody") is None
    monkeypatch.setattr(directory, "monotonic", lambda: now + 1.1)
    assert await known.account("nobody") is not None


async def test_guessed_logins_do_not_fill_the_memory(
    known: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_MISSES", 10)
    for number in range(25):
        await known.account(f"guess{number}")
    assert len(known._missing) <= 10


async def test_memory_for_accounts_is_bounded(
    known: Directory, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MOST_ACCOUNTS", 3)
    with store.begin() as tx:
        for number in range(6):
            add_account(tx, f"n{number}")
    await known.poll()
    for number in range(6):
        assert await known.account(f"n{number}") is not None
    assert len(known) == 3
    assert sum(len(keys) for keys in known._keys.values()) == 9
    known.forget_everything()
    assert len(known) == 0


async def test_an_answer_older_than_a_change_already_heard_is_not_kept(
    known: Directory, store: Store
) -> None:
    """The read began before the change, and ended after the directory had forgotten."""
    stale = await store.query(lambda tx: accounts.account(tx, LOGIN))
    with store.begin() as tx:
        accounts.set_class(tx, NOW, LOGIN, AccountClass.BULK)
    await known.poll()
    known._note(LOGIN, stale, 0)
    assert known.peek(LOGIN) is None
    found = await known.account(LOGIN)
    assert found is not None
    assert found.klass is AccountClass.BULK


async def test_after_a_gap_everything_is_forgotten(known: Directory, store: Store) -> None:
    await known.account(LOGIN)
    with store.begin() as tx:
        for number in range(3):
            changes.note(tx, NOW, "account", 1000 + number)
        tx.execute(schema.change.delete().where(schema.change.c.key == "1000"))
    await known.poll()
    assert len(known) == 0


async def test_an_unreadable_store_is_not_a_missing_login(store: Store) -> None:
    found = Directory(store)
    store.close()
    with pytest.raises(StoreError):
        await found.account(LOGIN)


async def test_watch_polls_and_outlives_a_silent_store(known: Directory, store: Store) -> None:
    heard = asyncio.Event()

    def listener(_: Sequence[Change]) -> None:
        heard.set()

    known.listen(listener)
    task = asyncio.create_task(known.watch(poll_seconds=0.01))
    with store.begin() as tx:
        changes.note(tx, NOW, "account", 1)
    async with asyncio.timeout(5):
        await heard.wait()
    store.close()
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()


async def test_more_changes_than_a_page_are_all_heard(known: Directory, store: Store) -> None:
    heard: list[Change] = []
    known.listen(heard.extend)
    with store.begin() as tx:
        for number in range(changes.PAGE + 7):
            changes.note(tx, NOW, "account", number)
    while await known.poll():
        pass
    assert [each.key for each in heard] == [str(n) for n in range(changes.PAGE + 7)]


async def test_whose_a_domain_is(known: Directory, store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx, "beta", provision_domains=["beta.example"])
        add_account(tx, "bob@beta.example", "beta")
        acme, beta = accounts.customer(tx, "acme").id, accounts.customer(tx, "beta").id
    await known.poll()
    assert known.foreign(acme, "Beta.Example")
    assert known.foreign(acme, "mail.beta.example.")
    assert not known.foreign(beta, "mail.beta.example")
    assert not known.foreign(acme, "unheard.example")
    assert not known.foreign(acme, "")
    assert await known.customer_of_domain("beta.example") == beta
    assert await known.customer_of_domain("unheard.example") is None
    with store.begin() as tx:
        accounts.set_senders(tx, NOW, LOGIN, ["x@gone.example"])
        accounts.set_senders(tx, NOW, LOGIN, ["x@acme.example"])
    await known.poll()
    assert not known.foreign(beta, "gone.example")
    assert known.foreign(beta, "acme.example")
    fresh = Directory(store)
    await fresh.poll()
    assert fresh._owners == known._owners


async def test_a_hit_costs_less_than_two_microseconds(known: Directory) -> None:
    await known.account(LOGIN)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(2000):
            await known.account(LOGIN)
        best = min(best, (time.perf_counter() - begin) / 2000)
    assert best < 2e-6
