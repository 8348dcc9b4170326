"""What the outbox costs: `python -m tests.bench.outbox.measure [COUNT] [SINK]`.

COUNT messages of 5 KB (10,000) are taken, the outbox is started anew with all of them waiting, and 5,000 are
delivered to a server on loopback that takes everything (SINK: HOST:PORT of one, as Postfix's smtp-sink, else
a small one in a process of its own). Prints rates, CPU of this process, memory, how soon it was ready again.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from relay import clock, ids
from relay.config import Config
from relay.events import DeliveryTried, Event
from relay.keyring import Keyring
from relay.log import Log
from relay.metrics import Metrics
from relay.model import Account, Server, Tls, UpstreamAuth
from relay.outbox.queue import Outbox, Parcel, Recipient, WaitingEnvelope, Why
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.engine import Store
from relay.upstream.pool import Pool
from relay.upstream.route import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

BODY = b"Subject: hello\r\n\r\n" + b"0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijkl\r\n" * 80
AT_ONCE = 50
#: What is delivered of them: more says nothing new.
MOST = 5000

SINK = """
import asyncio

class Sink(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer, self.data = transport, b"", False
        transport.write(b"220 sink ESMTP\\r\\n")

    def data_received(self, piece):
        self.buffer += piece
        while True:
            end = b"\\r\\n.\\r\\n" if self.data else b"\\r\\n"
            line, found, rest = self.buffer.partition(end)
            if not found:
                return
            self.buffer = rest
            verb = b"" if self.data else line[:4].upper()
            self.data = verb == b"DATA"
            self.transport.write({
                b"DATA": b"354 go\\r\\n",
                b"EHLO": b"250-sink\\r\\n250-PIPELINING\\r\\n250-8BITMIME\\r\\n250 DSN\\r\\n",
            }.get(verb, b"250 2.0.0 ok\\r\\n"))

async def main():
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Clock:
    """Says how long something took, in wall and CPU time."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def say(self, what: str, number: int) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        print(f"{what:<28} {number / wall:>8,.0f}/s {cpu / number * 1e6:>8.0f} µs of CPU a message")


class Counting(Metrics):
    """Metrics that count attempts, for who waits for them."""

    tried = 0

    def emit(self, event: Event) -> None:
        super().emit(event)
        self.tried += isinstance(event, DeliveryTried)


def outbox_in(folder: Path, store: Store, sink: str) -> Outbox:
    config = Config.model_validate({"hostname": "gate.example", "folder": folder})
    path = folder / "master.keys"
    keyring = Keyring.load(path) if path.exists() else Keyring.create(path)

    def route(_server: Server) -> Route:
        return Route("bench", (sink,), Tls.NONE)

    pool = Pool(config.upstream, config.hostname)
    return Outbox(config, store, keyring, pool, route, Counting(Log("error")))


def account_in(store: Store, sink: str) -> Account:
    with store.begin() as tx:
        now = clock.now()
        accounts.add_customer(tx, now, "acme", hosts=(sink,), auth=UpstreamAuth.NONE)
        return accounts.add_account(tx, now, "a@acme.example", customer="acme", fingerprint=b"f")


async def accept(outbox: Outbox, account: Account, number: int, why: Why) -> None:
    envelope = WaitingEnvelope("a@acme.example", (Recipient("b@there.example"),))
    limit = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with limit:
            parcel = Parcel(ids.message_id(clock.now()), account, envelope, [BODY], why)
            await outbox.accept(parcel)

    await asyncio.gather(*(one() for _ in range(number)))


async def deliver(outbox: Outbox, store: Store, number: int) -> None:
    before, started = memory(), time.perf_counter()

    def tried() -> int:
        assert isinstance(outbox.metrics, Counting)
        return outbox.metrics.tried

    task = asyncio.create_task(outbox.run())
    await until(lambda: tried() > 0)
    print(f"ready after {time.perf_counter() - started:.2f} s, {(memory() - before) >> 20} MB more")
    measured = Clock()
    account = account_of(store)
    taking = asyncio.create_task(accept(outbox, account, 200, Why.LATER))
    slow = Clock()
    await taking
    slow.say("taken while delivering", 200)
    await until(lambda: tried() >= number)
    measured.say("delivered", number)
    print(f"{(memory() - before) >> 20} MB more at the end")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await outbox.deliverer.pool.close()


def account_of(store: Store) -> Account:
    with store.read() as tx:
        return accounts.account(tx, "a@acme.example")


async def until(fact: Callable[[], bool]) -> None:
    while not fact():  # noqa: ASYNC110 - a benchmark, which must not change what it measures
        await asyncio.sleep(0.01)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run on the loop that the daemon runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    sink, process = sys.argv[2] if len(sys.argv) > 2 else "", None
    if not sink:
        process = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        sink = f"127.0.0.1:{process.stdout.readline().strip()}"
    try:
        with tempfile.TemporaryDirectory() as name:
            url = os.environ.get("GATEPOST_BENCH_STORE", "sqlite:///gatepost.db")
            store = Store(url, Path(name))
            store.migrate()
            account = account_in(store, sink)
            outbox = outbox_in(Path(name), store, sink)
            measured = Clock()
            run(accept(outbox, account, number, Why.QUEUE))
            measured.say(f"taken, {AT_ONCE} at once", number)
            store.close()
            store = Store(url, Path(name))
            run(deliver(outbox_in(Path(name), store, sink), store, min(number, MOST)))
            with store.read() as tx:
                print(rows.counts(tx))
            store.close()
    finally:
        if process is not None:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
