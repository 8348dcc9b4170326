from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, update

from policies import ladder as ladders
from policies.behaviour import Sent
from policies.complaints import Bounced, Voted
from policies.replay import Moved, replay
from relay.clock import micros
from relay.keyring import Keyring
from relay.model import Level, State
from relay.store import decisions, history, journal, reporters, schema
from relay.store.journal import JournalRow
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from pathlib import Path

    from policies.replay import Event
    from relay.store.engine import Store

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    path = tmp_path / "master.keys"
    Keyring.create(path)
    return Keyring.load(path)


class Past:
    """One account and what it did."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store, self.keyring = store, keyring
        with store.begin() as tx:
            add_customer(tx)
            account = add_account(tx)
            self.account, self.customer = account.id, account.customer.id
            reporters.add(tx, NOW, "reporter.example", covers=["covered.example"])

    def sent(self, number: int, at: Any = NOW, domain: str = "covered.example", **facts: Any) -> None:
        hashed = b"r" * 16 + self.keyring.domain_hash(self.customer, domain)
        rows = [
            JournalRow(
                f"m{at}{domain}{place}",
                self.account,
                self.customer,
                at + place * timedelta(milliseconds=1),
                **{
                    "action": "deliver",
                    "recipient_count": 1,
                    "recipients": hashed,
                    "body_hash": b"b" * 16,
                    **facts,
                },
            )
            for place in range(number)
        ]
        with self.store.begin() as tx:
            journal.append(tx, rows)

    def voted(self, number: int, at: Any, sent_at: Any = NOW, **facts: Any) -> None:
        rows = [
            {
                "message_id": f"{at}{place}",
                "voter": b"v",
                "complaint_id": "c",
                "account_id": self.account,
                "grade": "A",
                "reporter": f"{place % 2}.example",
                "sent_us": micros(sent_at),
                "at_us": micros(at + place * timedelta(milliseconds=1)),
                **facts,
            }
            for place in range(number)
        ]
        with self.store.begin() as tx:
            tx.execute(insert(schema.vote), rows)

    def events(self, since: Any = NOW - DAY, until: Any = NOW + 9 * DAY) -> list[Event]:
        with self.store.read() as tx:
            return list(history.events(tx, self.keyring, since, until))


@pytest.fixture
def past(store: Store, keyring: Keyring) -> Past:
    return Past(store, keyring)


def test_messages_say_what_went_out_and_to_whom_reports_come_from(past: Past) -> None:
    past.sent(1)
    past.sent(1, NOW + MINUTE, "other.example")
    past.sent(1, NOW + 2 * MINUTE, outcome="refused", action="refuse", score=13.0)
    past.sent(1, NOW + 3 * MINUTE, outcome="refused", action="refuse", score=13.0, malformed="two From")
    found = [event for event in past.events() if isinstance(event, Sent)]
    assert [(one.recipients, one.relayed, one.to_reporters) for one in found] == [
        (1, 1, 1),
        (1, 1, 0),
        (1, 0, 0),
        (1, 0, 0),
    ]
    assert [bool(one.spam_body) for one in found] == [False, False, True, False]
    assert [one.refused for one in found] == [False, False, True, False]


def test_everything_comes_in_the_order_of_its_time_and_within_its_bounds(past: Past) -> None:
    past.sent(2)
    past.voted(1, NOW + 2 * MINUTE)
    past.voted(1, NOW + 3 * MINUTE, NOW - 2 * DAY)
    past.voted(1, NOW + 4 * MINUTE, withdrawn=True)
    past.voted(1, NOW + 20 * DAY)
    with past.store.begin() as tx:
        bounce = {
            "message_id": "m",
            "account_id": past.account,
            "customer_id": past.customer,
            "sent_us": micros(NOW),
            "at_us": micros(NOW + MINUTE),
            "status": "5.1.1",
            "kind": "invalid",
        }
        tx.execute(
            insert(schema.bounce),
            [
                {**bounce, "recipient_hash": b"a", "permanent": True},
                {**bounce, "recipient_hash": b"b", "permanent": False},
            ],
        )
        for place, (before, after, by) in enumerate(
            (
                ("active", "suspended", "staff:ada"),
                ("active", "active", "policy"),
                ("active", "throttled", "policy"),
            )
        ):
            decisions.add(
                tx,
                NOW + 5 * MINUTE,
                case_id=f"C{place}",
                level=Level.ACCOUNT,
                subject_id=past.account,
                step="x",
                from_state=State(before),
                to_state=State(after),
                until=None,
                reason="r",
                evidence={},
                set_by=by,
            )
    found = past.events()
    assert [type(event) for event in found] == [Sent, Sent, Bounced, Voted, Moved, Moved]
    assert [event.at for event in found] == sorted(event.at for event in found)
    assert {one.set_by for one in found if isinstance(one, Moved)} == {"staff:ada", "policy"}
    assert past.events(until=NOW) == []


def test_a_network_is_new_for_a_day_at_an_account_that_is_older(past: Past) -> None:
    past.sent(1, NOW - 2 * DAY, client_network="home")
    past.sent(1, NOW, client_network="home")
    past.sent(1, NOW, "other.example", client_network="far")
    past.sent(1, NOW + 2 * DAY, client_network="far")
    sent = [event for event in past.events(NOW - 3 * DAY) if isinstance(event, Sent)]
    assert sorted((one.at, one.network, one.new_network) for one in sent) == [
        (NOW - 2 * DAY, "home", False),
        (NOW, "far", True),
        (NOW, "home", False),
        (NOW + 2 * DAY, "far", False),
    ]


def test_the_shipped_ladder_replayed_over_a_storm_switches_off(past: Past) -> None:
    past.sent(300)
    past.voted(12, NOW + MINUTE)
    with past.store.read() as tx:
        assert history.classes(tx) == {past.account: "app"}
    (outcome,) = replay(ladders.load(), past.events())
    assert [(str(one.state), one.decision.action.name) for one in outcome.would] == [
        ("active", "complaints_warn"),
        ("deactivated", "complaints_off"),
        ("suspended", "complaints_suspend"),
    ]
    with past.store.begin() as tx:
        tx.execute(update(schema.vote).values(grade="B"))
    assert replay(ladders.load(), past.events()) == []
