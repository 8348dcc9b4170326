"""DU-37: a copy taken under load, on either store, goes on elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.service.faults.load import Load
from tests.service.faults.stores import Postgres
from tests.service.harness import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.faults.book import Entry
    from tests.service.faults.site import Site

pytestmark = pytest.mark.service


@pytest.fixture(params=["on_sqlite", "on_postgres"])
def site(request: pytest.FixtureRequest) -> Site:
    running: Site = request.getfixturevalue(request.param)
    return running


def test_du_37_a_copy_taken_under_load_goes_on_elsewhere(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All that waited or was held in the copy arrives from there; what had left before is not sent again."""
    copy = tmp_path_factory.mktemp("copies") / "copy"
    held = hold(site)
    load = Load(site.relay, site.book, sessions=4, seed=6)
    load.let_in()
    try:
        until(lambda: len(site.book.entries) > 20)
        site.relay.run("backup", str(copy))
        until(lambda: len(site.book.entries) > 40)
    finally:
        load.end()
    site.relay.kill()
    site.relay.wait_for_death()
    move(site, copy, tmp_path_factory.mktemp("elsewhere"))
    then = site.store.remains()
    assert then.faults == []
    assert {entry.number for entry in held} <= set(then.waits)
    before = {entry.number: entry.copies.copy() for entry in site.book.entries}
    site.relay.start()
    site.store.age_leases()
    assert site.drain() == []
    assert not any(entry.copies for entry in held), "held mail stays held"
    assert len(site.relay.rows("held", "list")) == len(held)
    site.relay.run("held", "release", "--all", "--reason", "looked at after the move")
    until(lambda: all(entry.copies for entry in held))
    assert site.drain() == []
    assert site.relay.stop() == 0
    for entry in site.book.entries:
        waited = then.waits.get(entry.number, set())
        more = {one for one in entry.people if entry.copies[one] > before[entry.number][one]}
        assert more == waited & set(entry.good)
        assert all(entry.copies[one] <= before[entry.number][one] + 1 for one in entry.people)


def hold(site: Site) -> list[Entry]:
    """Return messages, small and large, that the daemon took and holds for staff."""
    usual = site.relay.config.read_text()
    site.relay.run("customer", "change", "acme", "--mode", "enforce")
    site.relay.config.write_text(usual.replace("[screening]", "[screening]\ntag = -50.0\nhold = -50.0"))
    site.relay.reload()
    with site.client() as client:
        sent = [site.send(client, "now", large=large) for large in (False, True)]
    assert all(answer.startswith(b"250") for answer, _ in sent)
    assert len(site.relay.rows("held", "list")) == len(sent)
    site.relay.config.write_text(usual)
    site.relay.run("customer", "change", "acme", "--mode", "observe")
    site.relay.reload()
    return [entry for _, entry in sent]


def move(site: Site, copy: Path, elsewhere: Path) -> None:
    """Bring a copy back on another machine: its configuration, the keys, and nothing else of the old one."""
    old, store = site.relay.folder, site.store
    settings = (old / "gatepost.toml").read_text()
    if isinstance(store, Postgres):
        gone, store.url = store.url, store.server.empty()
        settings = settings.replace(gone, store.url)
        store.server.drop(gone)
    store.home = elsewhere
    (elsewhere / "gatepost.toml").write_text(settings)
    (elsewhere / "keys").mkdir()
    for key in (old / "keys").iterdir():
        place = elsewhere / "keys" / key.name
        place.write_bytes(key.read_bytes())
        place.chmod(0o600)
    site.relay.folder, site.relay.config = elsewhere, elsewhere / "gatepost.toml"
    assert json.loads((copy / "manifest.json").read_text())["files"]
    site.relay.run("restore", str(copy), "--check")
    site.relay.run("restore", str(copy))
