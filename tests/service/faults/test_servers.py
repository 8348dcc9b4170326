"""A customer's server that dies at any byte or says nothing at all, under the real daemon."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.service.faults.site import Site
from tests.service.faults.stores import Sqlite
from tests.service.harness import until
from tests.steady import steady

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.faults.warm import Starter

pytestmark = pytest.mark.service


def test_a_server_that_dies_at_any_byte_loses_and_doubles_nothing(on_sqlite: Site) -> None:
    """Every cut of what the server says in one session, and of what it is told: promised, and there once."""
    site, upstream = on_sqlite, on_sqlite.upstream
    said = len(b"220 strict.example ESMTP\r\n250-strict.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
    said += len(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 stored\r\n")
    with site.client() as client:
        for cut in range(1, said, 3):
            upstream.dies_after_saying = cut
            answer, _ = site.send(client, "now")
            assert answer.startswith(b"250"), (cut, answer)
        for cut in range(1, 1000, 40):
            upstream.dies_after_hearing = cut
            answer, _ = site.send(client, "now")
            assert answer.startswith(b"250"), (cut, answer)
    assert site.settle() == []


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "MAIL"])
def test_a_silent_server_costs_a_client_no_more_than_the_configured_time(
    tmp_path: Path, starter: Starter, stage: str
) -> None:
    """From DATA on it is the 40 seconds of the promise that bound it."""
    store = Sqlite(tmp_path)
    with Site(tmp_path, store, starter=starter) as site:
        site.relay.configure("upstream", 'reply_timeout = "2s"\nconnect_timeout = "2s"')
        site.relay.start()
        with site.client() as client:
            site.upstream.silent = stage
            began = steady()
            answer, _ = site.send(client, "now")
            assert steady() - began < 8
        assert answer.startswith(b"250")
        site.upstream.silent = ""
        assert site.settle() == []
    store.close()


def test_du_30_a_server_slow_to_answer_the_dot_gets_one_copy_and_the_client_its_answer_in_time(
    on_sqlite: Site,
) -> None:
    """At 40 s the message waits in doubt; the late answer, read from the same connection, settles it."""
    site, seconds = on_sqlite, 50
    site.upstream.pause = seconds
    with site.client() as client:
        began, steadily = time.monotonic(), steady()
        answer, entry = site.send(client, "now")
        assert time.monotonic() - began > 35
        assert steady() - steadily < 45
    assert answer.startswith(b"250")
    (row,) = site.relay.rows("outbox", "list")
    assert row["reason"] == "in doubt"
    # staff's wish to try it now does not touch what is still on its way
    site.relay.run("outbox", "retry", row["id"], check=False)
    until(lambda: site.relay.rows("outbox", "list") == [])
    assert time.monotonic() - began > seconds
    site.upstream.pause = 0.0
    assert site.upstream.tried == 1
    assert entry.copies.total() == 1
    assert site.settle() == []
