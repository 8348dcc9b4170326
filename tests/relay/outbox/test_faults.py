"""Invariant I under kill -9: what was promised is delivered or reported, whatever was being done."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.keyring import Keyring
from relay.store import outbox as rows
from relay.store.engine import Store
from tests.relay.outbox.conftest import add_account
from tests.relay.outbox.victim import POINTS, body, recipients
from tests.relay.upstream.fake import FakeServer

SEED = 20261122
#: each window at least once; on PostgreSQL dead leases have to run out, which takes a second each
KILLS_PER_POINT = {"sqlite": 2, "postgresql": 1}
MESSAGES = 8


class Herd:
    """The process that victims are forked from."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.acked: list[int] = []

    async def run(self, order: dict[str, Any]) -> int:
        """Run one order and return the signal that ended it, 0 if none did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(30):
            while (words := (await self._process.stdout.readline()).split())[0] != b"dead":
                self.acked.append(int(words[1]))
        status = int(words[1])
        assert status & 0xFF00 == 0, "the victim failed instead of being killed"
        return status & 0x7F


@asynccontextmanager
async def herd() -> AsyncIterator[Herd]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.relay.outbox.victim", stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield Herd(process)
    finally:
        process.stdin.close()
        await process.wait()


def age(folder: Path) -> None:
    """Let an hour pass for files: then what a dead process left behind may go."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))


def number_of(data: bytes) -> int:
    return int(data.split(b"\r\n", 1)[0].removeprefix(b"X-Number: "))


async def test_du_11_to_18_nothing_promised_is_lost_whenever_the_process_is_killed(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(url, tmp_path)
    add_account(store)
    Keyring.create(tmp_path / "master.keys")
    dice = random.Random(SEED)  # noqa: S311 - a schedule of faults that can be repeated
    points = list(POINTS) * KILLS_PER_POINT[store.url.get_backend_name()]
    dice.shuffle(points)
    killed: Counter[str] = Counter()
    next_number = 0
    async with FakeServer(refused="bad").running() as server, herd() as victims:
        for point in points:
            numbers = list(range(next_number, next_number + MESSAGES))
            next_number += MESSAGES
            order = {"url": url, "folder": str(tmp_path), "port": server.port, "numbers": numbers}
            nth = dice.randint(1, 2)
            if await victims.run({**order, "point": point, "nth": nth}) == signal.SIGKILL:
                killed[point] += 1
        order = {"url": url, "folder": str(tmp_path), "port": server.port, "numbers": []}
        assert await victims.run({**order, "point": "never", "nth": 1}) == 0
        age(tmp_path / "spool")
        assert await victims.run({**order, "point": "never", "nth": 1}) == 0
        with store.read() as tx:
            left = rows.counts(tx)
        mail = [message for message in server.messages if not message.mail.startswith("MAIL FROM:<>")]
        reports = [message.data for message in server.messages if message.mail.startswith("MAIL FROM:<>")]
    copies = Counter(number_of(message.data) for message in mail)
    twice = sum(count - 1 for count in copies.values())
    with capsys.disabled():
        print(f"\nkills by window: {dict(killed)}")
        print(f"promised {len(victims.acked)}, delivered {len(copies)}, second copies {twice}, left {left}")
    assert set(killed) == set(POINTS), "a window was never hit"
    assert left["waiting"] == 0
    assert all(message.data == body(number_of(message.data)) for message in mail)
    with store.read() as tx:
        aside = {row.id for row in rows.page(tx, rows.Filter(state="poison"))}
    assert [n for n in victims.acked if not copies[n] and f"number{n:010}" not in aside] == []
    owed = {n for n in copies if len(recipients(n)) == 2}
    assert owed <= {n for n in owed if any(b"bad%d@x.example" % n in report for report in reports)}
    # at most the deliveries under way at a kill after the dot
    assert twice <= 5 * (
        killed["in body"] + killed["after upstream 250"] + killed["in bounce"] + killed["before record"]
    )
    files = {path.name for path in (tmp_path / "spool").rglob("*") if path.is_file()}
    assert files <= aside, "bodies of delivered mail are left behind"
    store.close()
