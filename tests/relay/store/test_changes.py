from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from relay.config import Retention
from relay.store import changes, hint, retention
from relay.store.engine import Store
from tests.relay.store.people import NOW

if TYPE_CHECKING:
    from pathlib import Path


async def test_numbers_have_no_gap_and_a_reader_never_misses_one(
    store: Store, url: str, tmp_path: Path
) -> None:
    """Three writers at once, some of whose work fails; a reader polls from the last number it saw."""
    others = [Store(url, tmp_path) for _ in range(2)]
    writing = True

    def work(number: int) -> None:
        with others[number % 2].begin() as tx:
            changes.note(tx, NOW, "account", f"x{number}")
            if number % 5 == 0:
                raise ZeroDivisionError

    async def write(number: int) -> None:
        def note(tx: object) -> None:
            changes.note(tx, NOW, "account", number)  # type: ignore[arg-type]
            if number % 3 == 0:
                raise ZeroDivisionError

        await store.write(note)

    async def read() -> list[changes.Change]:
        heard: list[changes.Change] = []
        while True:
            last_round = not writing
            after = heard[-1].seq if heard else 0
            heard += await store.query(partial(changes.since, seq=after))
            if last_round:
                return heard
            await asyncio.sleep(0.001)

    reader = asyncio.create_task(read())
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:
        mine = [write(number) for number in range(60)]
        theirs = [loop.run_in_executor(pool, work, number) for number in range(60)]
        await asyncio.gather(*mine, *theirs, return_exceptions=True)
    writing = False
    heard = await reader
    assert [each.seq for each in heard] == list(range(1, len(heard) + 1))
    expected = {str(n) for n in range(60) if n % 3} | {f"x{n}" for n in range(60) if n % 5}
    assert {each.key for each in heard} == expected
    for other in others:
        other.close()


def test_what_was_undone_leaves_no_gap(store: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), store.begin() as tx:
        changes.note(tx, NOW, "account", 1)
        raise ZeroDivisionError
    with store.begin() as tx:
        assert changes.note(tx, NOW, "account", 2) == 1
        assert changes.latest(tx) == 1


async def test_the_newest_is_kept_so_that_who_slept_for_days_finds_a_gap(store: Store) -> None:
    with store.begin() as tx:
        for key in range(5):
            changes.note(tx, NOW + timedelta(days=key), "account", key)
    await retention.purge_all(store, NOW + timedelta(days=30), Retention())
    with store.read() as tx:
        assert [each.key for each in changes.since(tx, 0)] == ["4"]
        assert changes.latest(tx) == 5


async def test_a_change_is_hinted_at_on_postgresql_and_polled_for_on_sqlite(store: Store) -> None:
    heard = asyncio.Event()
    listening = asyncio.create_task(hint.listen_forever(store, heard.set))
    if store.sqlite:
        await listening
        return
    async with asyncio.timeout(20):
        while not heard.is_set():  # until the listener is there
            await store.write(lambda tx: changes.note(tx, NOW, changes.ACCOUNT, 1))
            await asyncio.sleep(0)
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
