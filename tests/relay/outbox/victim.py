"""A process that takes and delivers mail until it is killed: forked from one that has imported everything.

Reads one JSON order a line: {"url","folder","port","numbers","point","nth","drain"}. For each it forks a
child, which prints `acked N` when message N is promised, kills itself with SIGKILL when it passes `point` for
the nth time, and otherwise ends when the outbox is empty (drain) or all are promised.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from relay import clock
from relay.config import Config
from relay.keyring import Keyring
from relay.log import Log
from relay.metrics import Metrics
from relay.outbox import leases, overdue, queue
from relay.outbox.ledger import Ledger
from relay.outbox.queue import Outbox, Parcel, Recipient, WaitingEnvelope, Why
from relay.outbox.report import Reports
from relay.outbox.spool import Spool
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.engine import Store
from relay.upstream.client import Connection
from relay.upstream.pool import Pool
from relay.upstream.route import Route
from relay.upstream.transaction import Transaction

LEASE = timedelta(seconds=1)
CONFIG = {"first_retry": "50ms", "longest_retry": "200ms"}
POINTS = (
    "before file", "after file", "in commit", "after commit", "after 250", "in body", "after upstream 250",
    "in bounce", "before record", "after record",
)  # fmt: skip


def body(number: int) -> bytes:
    """Return message `number`: every third is large, with every kind of line."""
    dice = random.Random(number)  # noqa: S311 - it makes test mail
    lines = [
        bytes(dice.choices(b".abcxyz \t=", k=dice.randrange(70)))
        for _ in range(2000 if number % 3 == 0 else 9)
    ]
    return b"X-Number: %d\r\n\r\n" % number + b"".join(line + b"\r\n" for line in lines)


def recipients(number: int) -> tuple[Recipient, ...]:
    """Return its recipients: every fifth message has one that is refused."""
    people = (Recipient(f"ok{number}@x.example"), Recipient(f"bad{number}@x.example"))
    return people if number % 5 == 0 else people[:1]


class Killer:
    """Kills this process at a point, the nth time that it comes by."""

    def __init__(self, point: str, nth: int) -> None:
        self.point, self.left = point, nth

    def __call__(self, point: str) -> None:
        if point == self.point:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, before: str = "", after: str = "") -> None:
        """Pass points before and after a function of the product."""
        real: Callable[..., Any] = getattr(owner, name)

        def plain(*args: Any, **more: Any) -> Any:
            self(before)
            result = real(*args, **more)
            self(after)
            return result

        async def waiting(*args: Any, **more: Any) -> Any:
            self(before)
            result = await real(*args, **more)
            self(after)
            return result

        setattr(owner, name, waiting if asyncio.iscoroutinefunction(real) else plain)

    def lie_in_wait(self) -> None:
        """Put every point into place."""
        self.around(Spool, "_write", before="before file", after="after file")
        self.around(rows, "add", after="in commit")
        self.around(Outbox, "accept", after="after commit")
        self.around(Connection, "writelines", after="in body")
        self.around(Transaction, "data", after="after upstream 250")
        self.around(Reports, "about", after="in bounce")
        self.around(Ledger, "finish", before="before record", after="after record")


async def main(order: dict[str, Any]) -> None:
    """Take the ordered messages and deliver."""
    folder = Path(order["folder"])
    store = Store(order["url"], folder)
    with store.read() as tx:
        account = accounts.account(tx, "a@acme.example")
    config = Config.model_validate({"hostname": "gate.example", "folder": folder, "outbox": CONFIG})
    route = Route("server", (f"127.0.0.1:{order['port']}",))
    pool = Pool(config.upstream, config.hostname)
    outbox = Outbox(
        config, store, Keyring.load(folder / "master.keys"), pool, lambda _: route, Metrics(Log("error"))
    )
    await outbox._start()
    running = asyncio.create_task(outbox.run())
    kill = order["kill"]

    async def take(number: int) -> None:
        envelope = WaitingEnvelope("a@acme.example", recipients(number))
        parcel = Parcel(f"number{number:010}", account, envelope, [body(number)], Why.QUEUE)
        await outbox.accept(parcel)
        os.write(1, b"acked %d\n" % number)
        kill("after 250")

    await asyncio.gather(*(take(number) for number in order["numbers"]))
    end = clock.monotonic() + 20
    while (await outbox.counts())["waiting"] and clock.monotonic() < end:  # noqa: ASYNC110 - the store tells no one
        await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await pool.close()
    store.close()


def child(order: dict[str, Any]) -> None:
    """Run one order in this process, which may not outlive it."""
    leases.LEASE = overdue.LEASE = LEASE  # type: ignore[attr-defined]
    order["kill"] = Killer(order["point"], order["nth"])
    order["kill"].lie_in_wait()
    asyncio.run(main(order))


if __name__ == "__main__":
    assert queue is not None
    os.write(1, b"ready\n")
    for text in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(json.loads(text))
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"dead %d\n" % status)
