"""DU-32 and DU-33: ends under load, and clocks that jump, under the real daemon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.faults.load import Load
from tests.service.faults.site import Site
from tests.service.faults.stores import Sqlite
from tests.service.harness import until
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.service

FAKETIME = next((path for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("/nowhere"))


def flow(count: Callable[[], int], more: int) -> None:
    """Wait until a number has grown by so much."""
    before = count()
    until(lambda: count() > before + more)


def test_du_33_sigterm_under_load_ends_in_time_and_keeps_every_promise(on_sqlite: Site) -> None:
    site = on_sqlite
    load = Load(site.relay, site.book, sessions=6, seed=8)
    load.let_in()
    try:
        for _ in range(3):
            flow(lambda: sum(entry.promised for entry in site.book.entries), 8)
            load.shut()
            began = steady()
            assert site.relay.stop() == 0
            assert steady() - began < 30
            load.quiet()
            remains = site.store.remains()
            # nothing was torn: not even a second copy is to come
            assert remains.faults + site.book.broken(remains.waits, remains.reports) == []
            site.relay.start()
            load.let_in()
    finally:
        load.end()
    assert site.settle() == []


@pytest.fixture
def moved_clock(tmp_path: Path) -> Path:
    """The file that says how far the wall clock is off; no other clock is."""
    if not FAKETIME.exists():
        pytest.skip("needs libfaketime")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    return offset


def test_du_32_a_clock_that_jumps_ends_no_mail_early_and_starts_no_storm(
    tmp_path: Path, moved_clock: Path
) -> None:
    store = Sqlite(tmp_path)
    with Site(tmp_path, store) as site:
        site.relay.environment = {
            "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(moved_clock),
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        site.relay.start()
        site.upstream.refuses_all = True
        with site.client() as client:
            entries = [site.send(client, "later")[1] for _ in range(5)]
            assert all(entry.promised for entry in entries)
            for jump in ("+10d", "-10d", "+0"):
                moved_clock.write_text(jump)
                flow(lambda: site.upstream.tried, 5)
                began, tried = time.monotonic(), site.upstream.tried
                assert site.send(client, "later")[0].startswith(b"250"), "the session lives"
                flow(lambda: site.upstream.tried, 5)
                each = (site.upstream.tried - tried) / (time.monotonic() - began)
                assert each < 60, "a storm of retries"
                assert not any(entry.bounces for entry in site.book.entries), "given up before its time"
        site.upstream.refuses_all = False
        assert site.settle() == []
    store.close()
