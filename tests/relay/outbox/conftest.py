from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay import clock, ids
from relay.config import Config
from relay.events import Event
from relay.keyring import Keyring
from relay.log import Log
from relay.metrics import Metrics
from relay.model import Account, Level, Mode, Server, Standing, State, Tls, UpstreamAuth
from relay.outbox.queue import Outbox, Parcel, Recipient, WaitingEnvelope, Why
from relay.store import accounts
from relay.store import outbox as rows
from relay.store.engine import Store
from relay.store.standing import set_standing
from relay.upstream.pool import Pool
from relay.upstream.route import Route
from tests.relay.store.conftest import empty_url, migrated_file, postgres_server, url
from tests.relay.upstream.fake import FakeServer

__all__ = ["empty_url", "migrated_file", "postgres_server", "url"]

BODY = b"Subject: hi\r\nMessage-ID: <1@acme.example>\r\n\r\nbody\r\n"
LARGE = b"Subject: big\r\n\r\n" + b"x" * 76 * 2000 + b"\r\n"


class Recorder(Metrics):
    """Metrics that also keep their events."""

    def __init__(self) -> None:
        super().__init__(Log("error"))
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        super().emit(event)
        self.events.append(event)


@dataclass
class Bench:
    """An outbox with everything under it, a customer with one account, and the customer's server."""

    store: Store
    keyring: Keyring
    config: Config
    server: FakeServer
    account: Account
    pool: Pool
    outbox: Outbox
    metrics: Recorder
    now: list[timedelta] = field(default_factory=lambda: [timedelta()])

    def parcel(self, body: bytes = BODY, *to: str, why: Why = Why.QUEUE, **more: Any) -> Parcel:
        people = tuple(Recipient(one) for one in to or ("b@there.example",))
        envelope = more.pop("envelope", WaitingEnvelope("a@acme.example", people))
        number = ids.message_id(clock.now())
        return Parcel(number, self.account, envelope, [body[:5], body[5:]], why, **more)

    def later(self, span: timedelta) -> None:
        """Let time pass, for wall clock and schedule alike."""
        self.now[0] += span

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def build(store: Store, keyring: Keyring, folder: Path, server: FakeServer, account: Account) -> Bench:
    config = Config.model_validate({"hostname": "gate.example", "folder": folder})
    pool, metrics = Pool(config.upstream, config.hostname), Recorder()

    def route(_server: Server) -> Route:
        return server.route()

    outbox = Outbox(config, store, keyring, pool, route, metrics)
    bench = Bench(store, keyring, config, server, account, pool, outbox, metrics)
    bench.outbox.ledger.steady.now = lambda: clock.now() + bench.now[0]  # type: ignore[method-assign]
    bench.outbox.ledger.chance = lambda: 0.5
    return bench


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "master.keys")


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    store = Store(url, tmp_path)
    yield store
    store.close()


def add_account(store: Store, customer: str = "acme") -> Account:
    with store.begin() as tx:
        now = clock.now()
        accounts.add_customer(
            tx,
            now,
            customer,
            hosts=("127.0.0.1:25",),
            tls=Tls.NONE,
            auth=UpstreamAuth.NONE,
            mode=Mode.ENFORCE,
            contact="",
            brand="",
            phone="",
            parent=None,
        )
        return accounts.add_account(
            tx, now, f"a@{customer}.example", customer=customer, password_hash="", fingerprint=b"f"
        )


@pytest.fixture
async def bench(store: Store, keyring: Keyring, tmp_path: Path) -> AsyncIterator[Bench]:
    async with FakeServer().running() as server:
        bench = build(store, keyring, tmp_path, server, add_account(store))
        yield bench
        await bench.pool.close()
        assert server.violations == []


Clock = Callable[[], timedelta]


def waiting(bench: Bench) -> list[rows.Row]:
    with bench.store.read() as tx:
        return rows.page(tx, rows.Filter())


def switch(bench: Bench, state: State) -> None:
    with bench.store.begin() as tx:
        set_standing(
            tx,
            clock.now(),
            Level.ACCOUNT,
            bench.account.id,
            Standing(state, clock.now()),
            expected_version=None,
        )
