"""DU-23…26: the store locked, damaged, gone or cut off under the real daemon."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.service.faults.load import Load
from tests.service.faults.site import Site
from tests.service.faults.stores import Postgres
from tests.service.harness import PATIENCE_SECONDS, until
from tests.steady import steady

if TYPE_CHECKING:
    from tests.postgres import Server

pytestmark = pytest.mark.service


def ready(site: Site) -> int:
    """Return the status of /readyz."""
    host, port = site.relay.address("http")
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=PATIENCE_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_du_23_a_lock_of_another_process_costs_451_in_time_and_nobody_else(on_sqlite: Site) -> None:
    with on_sqlite.client() as client, on_sqlite.client() as other:
        with on_sqlite.store.stalled():
            began = steady()
            answers: list[bytes] = []
            sending = threading.Thread(target=lambda: answers.append(on_sqlite.send(client, "later")[0]))
            sending.start()
            while sending.is_alive():
                asked = steady()
                assert other.say(b"NOOP").startswith(b"250")
                assert steady() - asked < 2, "the event loop stands still"
                sending.join(0.5)
            assert answers[0].startswith(b"451")
            assert steady() - began < 14
            until(lambda: ready(on_sqlite) == 503)
        until(lambda: ready(on_sqlite) == 200)
    with on_sqlite.client() as client:
        assert on_sqlite.send(client, "later")[0].startswith(b"250")
    assert on_sqlite.settle() == []


def test_du_24_a_missing_table_is_451_and_red_until_it_is_back(on_sqlite: Site) -> None:
    with on_sqlite.client() as client:
        assert on_sqlite.send(client, "now")[0].startswith(b"250")
        with contextlib.closing(sqlite3.connect(on_sqlite.relay.folder / "gatepost.db")) as database:
            database.execute("ALTER TABLE outbox_body RENAME TO elsewhere")
            answer, _ = on_sqlite.send(client, "later")
            assert answer.startswith(b"451"), answer
            assert ready(on_sqlite) == 503
            # what could be handed on is not taken either: its record would be lost
            assert on_sqlite.send(client, "now")[0].startswith(b"451")
            database.execute("ALTER TABLE elsewhere RENAME TO outbox_body")
        until(lambda: ready(on_sqlite) == 200)
        assert on_sqlite.send(client, "later")[0].startswith(b"250")
    assert on_sqlite.settle() == []


def test_du_24_a_damaged_database_is_said_and_promises_nothing(on_sqlite: Site) -> None:
    site = on_sqlite
    with site.client() as client:
        assert site.send(client, "now")[0].startswith(b"250")
    assert site.relay.stop() == 0
    database = site.relay.folder / "gatepost.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    done = site.relay.run("check", check=False)
    assert done.returncode != 0
    with pytest.raises(AssertionError, match="serve did not start"):
        site.relay.start()
    site.relay.wait_for_death()
    assert "Traceback" not in site.relay.log()
    database.write_bytes(whole)
    site.relay.start()
    with site.client() as client:
        assert site.send(client, "later")[0].startswith(b"250")
    assert site.settle() == []


def test_du_25_postgresql_gone_for_a_minute_under_load_and_back(
    on_postgres: Site, postgres_server: Server
) -> None:
    site = on_postgres
    load = Load(site.relay, site.book, sessions=4, seed=5)
    load.let_in()
    try:
        until(lambda: len(site.book.entries) > 20)
        postgres_server.stop()
        stopped_at = time.monotonic()
        gone = len(site.book.entries)
        until(lambda: sum(e.answers[-1:] == [] for e in site.book.entries[gone:]) + refused(site, gone) > 3)
        until(lambda: ready(site) == 503)
        load.shut()
        until(lambda: time.monotonic() > stopped_at + 60)
        postgres_server.start()
        until(lambda: ready(site) == 200, seconds=10)
        load.let_in()
        back = len(site.book.entries)
        until(lambda: any(entry.promised for entry in site.book.entries[back:]))
    finally:
        load.end()
    assert site.settle() == []


def refused(site: Site, since: int) -> int:
    return sum(answer.startswith(b"4") for e in site.book.entries[since:] for answer in e.answers)


def test_du_26_a_connection_cut_after_its_commit_was_sent_keeps_the_promise(on_postgres: Site) -> None:
    """The database committed and could not say so: the message is looked up, and taken once."""
    site = on_postgres
    assert isinstance(site.store, Postgres)
    with site.client() as client, psycopg.connect(site.store.url, autocommit=True) as connection:
        # the note about the login goes first: else its commit is the one that is cut
        until(lambda: connection.execute(b"SELECT 1 FROM login_event").fetchall())
        site.store.kill_after_commit(0)
        answers: list[bytes] = []
        sending = threading.Thread(target=lambda: answers.append(site.send(client, "later")[0]))
        sending.start()
        try:
            cut = b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            until(lambda: connection.execute(cut).fetchall())
        finally:
            site.store.calm()
        sending.join(PATIENCE_SECONDS)
        assert answers[0].startswith(b"250"), answers
    assert site.settle() == []
