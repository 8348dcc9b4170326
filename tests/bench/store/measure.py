"""What the store costs: `python -m tests.bench.store.measure [URL]`, in a folder of its own by default."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

from relay import clock
from relay.store import accounts, changes, journal
from relay.store.directory import Directory
from relay.store.engine import Store

NOW = clock.now()
HITS = [{"rule": "subject_shouts", "score": 1.2, "evidence": "FREE MONEY FOR YOU"}]
STAGES = {"admit": 0.1, "screen": 0.4, "stamp": 0.3, "forward": 1.2}


def row(number: int) -> journal.JournalRow:
    return journal.JournalRow(
        f"{number:016d}", number % 50, 1, NOW, "deliver", score=1.2, hits=HITS, reply_code=250, stages=STAGES,
        reply_text="2.0.0 Ok: queued as 4F2", size=5000, recipient_count=1, body_hash=os.urandom(32),
        recipients=os.urandom(16) + (number % 40).to_bytes(16, "big"), message_id_hash=os.urandom(16),
        client_network=f"192.0.{number % 3}.0/24", ruleset="abcdef",
    )  # fmt: skip


def say(what: str, begin: tuple[float, float], number: int) -> None:
    wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    each, work = wall / number * 1e6, cpu / number * 1e6
    print(f"{what:<34} {number / wall:>9,.0f}/s {each:>8.1f} µs {work:>8.1f} µs of CPU")


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


async def rows(store: Store, group: int, number: int) -> None:
    made = [row(group * 10**7 + n) for n in range(number)]
    begin = clocks()
    for start in range(0, number, group):
        await store.write(partial(journal.append, rows=made[start : start + group]))
    say(f"journal row, {group} to a commit", begin, number)


async def changes_at_once(store: Store, number: int) -> None:
    begin = clocks()
    await asyncio.gather(
        *(store.write(partial(changes.note, now=NOW, kind="account", key=n)) for n in range(number))
    )
    say(f"change, {number} at once", begin, number)


async def directory(store: Store, number: int) -> None:
    def fill() -> None:
        with store.begin() as tx:
            accounts.add_customer(tx, NOW, "acme", hosts=["127.0.0.1:25"])
            for n in range(number):
                accounts.add_account(
                    tx, NOW, f"u{n}@acme.example", customer="acme", password_hash="x", fingerprint=b"x"
                )

    begin = clocks()
    await asyncio.to_thread(fill)
    say("account added", begin, number)
    known = Directory(store)
    await known.poll()
    begin = clocks()
    for n in range(number):
        await known.account(f"u{n}@acme.example")
    say("login read from the store", begin, number)
    begin = clocks()
    for _ in range(100 * number):
        await known.account("u7@acme.example")
    say("login in memory", begin, 100 * number)
    begin = clocks()
    for _ in range(number):
        await known.poll()
    say("poll for changes", begin, number)


async def windows(store: Store, number: int) -> None:
    begin = clocks()
    names = ["messages", "relayed", "refusals"]
    since = NOW - timedelta(days=1)
    for n in range(number):
        await store.query(partial(journal.counts, account_id=n % 50, names=names, since=since))
    say("counters of 24 h", begin, number)


async def main(url: str, folder: Path) -> None:
    store = Store(url, folder)
    store.migrate()
    for group, number in ((1, 200), (20, 4000), (100, 10000), (500, 20000)):
        await rows(store, group, number)
    await changes_at_once(store, 1000)
    await directory(store, 500)
    await windows(store, 300)
    store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(sys.argv[1] if sys.argv[1:] else "sqlite:///bench.db", Path(place)))
