"""Takes one large message and says 250, for a look at its system calls."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from relay import clock, ids
from relay.config import Config
from relay.keyring import Keyring
from relay.log import Log
from relay.metrics import Metrics
from relay.outbox.queue import Outbox, Parcel, Recipient, WaitingEnvelope, Why
from relay.store.engine import Store
from relay.upstream.pool import Pool
from relay.upstream.route import Route
from tests.relay.outbox.conftest import add_account


async def main(folder: Path) -> None:
    store = Store("sqlite:///gatepost.db", folder)
    store.migrate()
    account = add_account(store)
    keyring = Keyring.create(folder / "master.keys")
    config = Config.model_validate({"hostname": "gate.example", "folder": folder})
    pool = Pool(config.upstream, config.hostname)
    outbox = Outbox(config, store, keyring, pool, lambda _: Route("none", ()), Metrics(Log("error")))
    envelope = WaitingEnvelope("a@acme.example", (Recipient("b@x.example"),))
    parcel = Parcel(ids.message_id(clock.now()), account, envelope, [b"x" * 100_000 + b"\r\n"], Why.QUEUE)
    os.write(1, b"BEGIN")
    await outbox.accept(parcel)
    os.write(1, b"250")
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
