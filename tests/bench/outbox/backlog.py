"""A restart with much waiting mail: `python -m tests.bench.outbox.backlog [--count N] [--store postgresql]`.

Starts the real daemon with an empty outbox, then with COUNT messages of 2 KB (100,000) that are all due, and
compares: seconds from the start to `ready`, memory, and how long a client of another customer waits for the
answer to its dot meanwhile. What it must hold to: ready within 10 s, 200 MB, new mail not slowed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import insert

from relay import clock, ids
from relay.clock import micros
from relay.keyring import Keyring
from relay.outbox.envelope import Recipient, WaitingEnvelope
from relay.outbox.spool import PURPOSE
from relay.store import accounts, schema
from relay.store.engine import Store
from tests import postgres
from tests.service.harness import CustomerServer, Relay
from tests.service.wire import Client

if TYPE_CHECKING:
    from collections.abc import Callable

OLD, NEW = "old@acme.example", "new@other.example"
BODY = b"Subject: hello\r\n\r\n" + b"0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijkl\r\n" * 32
CHUNK = 5000
SAMPLES = 100


@dataclass(frozen=True, slots=True)
class Figures:
    """What one start was like."""

    ready_seconds: float
    ready_cpu_seconds: float
    rss_mb: float
    dot_ms: float
    delivered: int


def seed(url: str, home: Path, count: int) -> None:
    """Put messages into the outbox, all of them due."""
    keyring, store = Keyring.load(home / "keys/master.keys"), Store(url, home)
    now = clock.now()
    with store.read() as tx:
        account = accounts.account(tx, OLD)
    envelope = WaitingEnvelope(OLD, (Recipient("b@x.example"),))
    common = {
        "state": "waiting", "reason": "later", "account_id": account.id, "customer_id": account.customer.id,
        "server_id": account.server.id, "at_us": micros(now), "next_us": micros(now), "size": len(BODY),
        "recipients": 1, "deadline_us": micros(now) + 10**12, "in_file": False, "attempts": 1, "deaths": 0,
        "fence": 0, "worker": "", "told": False, "last": "451", "score": 0.0, "hits": [], "campaign": "",
    }  # fmt: skip
    for start in range(0, count, CHUNK):
        numbers = [ids.message_id(now) for _ in range(min(CHUNK, count - start))]
        with store.begin() as tx:
            tx.execute(
                insert(schema.outbox),
                [{**common, "id": n, "envelope": envelope.seal(keyring, n)} for n in numbers],
            )
            tx.execute(
                insert(schema.outbox_body),
                [{"id": n, "sealed": keyring.seal(PURPOSE, BODY, n.encode())} for n in numbers],
            )
    store.close()


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def _cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def start(relay: Relay, old: CustomerServer) -> Figures:
    """Start the daemon, send as another customer for a while, and stop it."""
    before, began = len(old.messages), time.monotonic()
    relay.start()
    seconds = time.monotonic() - began
    assert relay.process is not None
    cpu = _cpu_seconds(relay.process.pid)
    spans: list[float] = []
    with Client(relay, NEW) as client:
        for number in range(SAMPLES):
            head = (
                f"From: {NEW}\r\nSubject: {number}\r\nMessage-ID: <{time.monotonic_ns()}@x>\r\n\r\n".encode()
            )
            client.envelope(NEW.encode(), b"b@x.example")
            assert client.say(b"DATA").startswith(b"354")
            asked = time.monotonic()
            client.send(head + b"hello\r\n.\r\n")
            assert client.reply().startswith(b"250")
            spans.append((time.monotonic() - asked) * 1000)
    rss = _rss_mb(relay.process.pid)
    delivered = len(old.messages) - before
    relay.kill()
    relay.wait_for_death()
    return Figures(seconds, cpu, rss, statistics.median(spans), delivered)


def measure(home: Path, url: str, count: int, tell: Callable[[str], None] = print) -> tuple[Figures, Figures]:
    """Return the figures of an empty and of a full outbox."""
    with CustomerServer() as old, CustomerServer() as new, Relay(home) as relay:
        relay.init()
        relay.config.write_text(relay.config.read_text().replace('"sqlite:///gatepost.db"', f'"{url}"'))
        for name, server, login in (("acme", old, OLD), ("other", new, NEW)):
            server_at = f"127.0.0.1:{server.port}"
            relay.run("customer", "add", name, "--server", server_at, "--mode", "observe")
            relay.account(login, name)
        start(relay, old)  # everything is in the page cache then
        empty = start(relay, old)
        began = time.monotonic()
        seed(url, home, count)
        tell(f"{count} messages put into the outbox in {time.monotonic() - began:.1f} s")
        full = start(relay, old)
    for name, one in (("empty", empty), ("full", full)):
        tell(
            f"{name:<6} ready after {one.ready_seconds:5.2f} s ({one.ready_cpu_seconds:.2f} s of CPU)"
            f"  {one.rss_mb:5.0f} MB  dot answered in {one.dot_ms:5.1f} ms  delivered so far {one.delivered}"
        )
    return empty, full


def main() -> int:
    """Measure on one store."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.outbox.backlog", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="gatepost-backlog-"))
    server = postgres.start() if given.store == "postgresql" else None
    try:
        measure(home, server.empty() if server else "sqlite:///gatepost.db", given.count)
    finally:
        if server is not None:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
