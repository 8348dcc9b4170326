from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.console.health import Facts, State, findings, numbers
from relay.log import Log
from relay.metrics import Metrics
from relay.premises import Premises, Room
from relay.store.backlog import Backlog
from relay.store.emergency import Name, Switch, turn_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.relay.console.conftest import World

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
WELL = Facts(
    ready=True,
    parts={"store": True, "draining": False},
    numbers=numbers(Metrics(Log("error")).render().decode()),
    premises=Premises(NOW + timedelta(days=60), {"store": Room(50, 100), "outbox": Room(50, 100)}),
    switches=(),
    backlogs=(),
)
BRAKE = Switch(Name.BRAKE, NOW - timedelta(minutes=5), NOW + timedelta(minutes=25), "staff:eve", "a loop")


def test_a_new_node_is_well() -> None:
    found = findings(WELL, NOW)
    assert {one.state for one in found} == {State.WELL}
    assert [one.what for one in found] == [
        "Mail", "Workers", "Outbox", "Certificate", "Disk of the store", "Disk of the outbox"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        ({"ready": False, "parts": {"store": False, "draining": False}}, "now", "is not taken now: store"),
        ({"ready": False, "parts": {"store": True, "draining": True}}, "now", "is not taken now: draining"),
        ({"switches": (BRAKE,)}, "now", "is on, all mail is taken, none delivered; for 25 more min"),
        ({"switches": (BRAKE,)}, "now", "by staff:eve: a loop"),
        ({"premises": Premises(NOW + timedelta(days=13), {})}, "soon", "Certificate ends on 2026-12-05"),
        ({"premises": Premises(NOW + timedelta(days=2), {})}, "now", "Certificate ends on 2026-11-24"),
        ({"premises": Premises(NOW - timedelta(days=2), {})}, "now", "Certificate ended on 2026-11-20"),
        ({"premises": Premises(None, {})}, "now", "Certificate cannot be read"),
        ({"premises": Premises(NOW + timedelta(days=60), {"store": Room(9, 100)})}, "soon", "store 9% free"),
        ({"premises": Premises(NOW + timedelta(days=60), {"outbox": Room(2, 100)})}, "now", "outbox 2% free"),
        ({"backlogs": (Backlog("acme", 1200, NOW - timedelta(hours=1)),)}, "soon", "acme 1,200 messages"),
        ({"backlogs": (Backlog("acme", 1, NOW - timedelta(hours=13)),)}, "now", "Server acme 1 message"),
        ({"numbers": {"gatepost_worker_deaths_total": 2.0}}, "soon", "Workers ended unasked, 2"),
        ({"numbers": {"gatepost_bugs_total": 1.0}}, "soon", "Program met 1 unexpected"),
        ({"numbers": {"gatepost_journal_rows_lost_total": 7.0}}, "now", "Journal lost 7 rows"),
        ({"numbers": {"gatepost_config_reload_ok": 0.0}}, "soon", "Configuration the newest has a fault"),
        ({"numbers": {"gatepost_outbox_messages poison": 1.0}}, "soon", "Outbox 1 set aside"),
        ({"numbers": {"gatepost_outbox_unscreened_messages": 3.0}}, "soon", "Screening 3 messages waiting"),
        ({"numbers": {"gatepost_outbox_oldest_seconds": 50_000.0}}, "soon", "the oldest for 13 h"),
    ],
)  # fmt: skip
def test_what_is_wrong_comes_first_and_in_words(change: dict[str, Any], state: str, says: str) -> None:
    found = findings(dataclasses.replace(WELL, **change), NOW)
    first = found[0]
    assert (first.state, says in f"{first.what} {first.text}") == (state, True), first


def test_the_front_page_says_at_once_that_something_is_wrong(world: World) -> None:
    with world.store.begin() as tx:
        turn_on(
            tx, world.now, dataclasses.replace(BRAKE, since=world.now, until=world.now + timedelta(hours=1))
        )
    client = world.at_desk("viewer")
    for path in ("/", "/health"):
        page = client.get(path).text
        assert "Something needs you now" in page, path
        assert "by staff:eve: a loop" in page, path


def test_programs_ask_the_same_and_customers_may_not(
    world: World, token: Callable[..., dict[str, str]]
) -> None:
    world.waits("anna@acme.example", state="waiting", attempts=2)
    answer = world.client().get("/api/v1/health", headers=token("read")).json()
    assert answer["state"] == "now"
    assert {"what", "state", "text", "path"} == set(answer["findings"][0])
    assert any(one["what"].startswith("Server ") for one in answer["findings"])
    theirs = world.client().get("/api/v1/health", headers=token("read", customer="acme"))
    assert theirs.status_code == 404
