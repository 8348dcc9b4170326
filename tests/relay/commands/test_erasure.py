from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from relay import clock
from relay.commands import erasure
from relay.commands.accounts import account
from relay.commands.context import Context
from relay.outbox.queue import Why
from relay.store import accounts, audit, schema
from relay.store import outbox as rows
from relay.store.engine import Store
from tests.relay.outbox.conftest import LARGE, Bench, bench, keyring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["bench", "keyring"]

LOGIN = "a@acme.example"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    yield store
    store.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "SETTLE_SECONDS", 0.0)


def erase(bench: Bench, *options: str) -> Result:
    path = bench.config.folder / "gatepost.toml"
    path.write_text('hostname = "gate.example"\n[keys]\nmaster = "master.keys"\n')
    words = ["erase", LOGIN, "--reason", "asked to", *options]
    return CliRunner().invoke(account, words, obj=Context(path), catch_exceptions=False)


def traces(bench: Bench) -> list[str]:
    """Return the files of the whole folder in which the login stands."""
    files = [path for path in bench.config.folder.rglob("*") if path.is_file()]
    return [path.name for path in files if LOGIN.encode() in path.read_bytes().lower()]


def spooled(bench: Bench) -> list[Any]:
    return [path for path in bench.outbox.spool.folder.rglob("*") if path.is_file()]


async def test_mail_that_waits_is_neither_lost_nor_kept_without_a_word(bench: Bench) -> None:
    number = await bench.outbox.hold(bench.parcel(why=Why.HELD))
    refused = await asyncio.to_thread(erase, bench)
    assert refused.exit_code == 1
    assert "of a@acme.example still waiting: say --waiting" in refused.stderr
    assert (await bench.store.query(lambda tx: rows.get(tx, number))) is not None
    assert bench.account == (await bench.store.query(lambda tx: accounts.account(tx, LOGIN)))


async def test_nothing_is_left_in_database_log_and_spool(bench: Bench) -> None:
    await bench.outbox.hold(bench.parcel(LARGE, why=Why.HELD))
    assert spooled(bench)
    assert "gatepost.db" in "".join(traces(bench))
    done = await asyncio.to_thread(erase, bench, "--waiting", "delete", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["mail"], said["left"]) == (2, [])
    assert traces(bench) == []
    assert spooled(bench) == []
    with bench.store.read() as tx:
        assert tx.execute(schema.outbox_body.select()).first() is None
        assert tx.execute(schema.campaign.select()).first() is None
        assert audit.verify(tx) is None
        assert audit.entries(tx, limit=1)[0].reason == "asked to"


async def test_their_owner_hears_of_given_up_mail_before_the_account_goes(bench: Bench) -> None:
    await bench.outbox.hold(bench.parcel(why=Why.HELD))
    async with bench.running():
        done = await asyncio.to_thread(erase, bench, "--waiting", "bounce")
        assert done.exit_code == 0, done.output
    assert b"cancelled the delivery" in bench.server.messages[-1].data
    assert traces(bench) == []


async def test_without_anybody_to_deliver_it_is_refused_and_can_be_done_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "REPORT_SECONDS", 0.0)
    await bench.outbox.hold(bench.parcel(why=Why.HELD))
    refused = await asyncio.to_thread(erase, bench, "--waiting", "bounce")
    assert (refused.exit_code, "still wait" in refused.stderr) == (1, True)
    done = await asyncio.to_thread(erase, bench, "--waiting", "delete")
    assert done.exit_code == 0, done.output


async def test_whoever_else_names_the_person_is_told(bench: Bench) -> None:
    with bench.store.begin() as tx:
        accounts.add_account(
            tx, clock.now(), "b@acme.example", customer="acme", fingerprint=b"g", senders=[LOGIN]
        )
    done = await asyncio.to_thread(erase, bench)
    assert done.exit_code == 0
    assert "still named in account b@acme.example: senders" in done.stderr
