from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.config import Retention
from relay.model import Level, Mode, State
from relay.notice import Channel, Kind
from relay.store import accounts, decisions, notices, retention
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from datetime import datetime

    from relay.store.engine import Store

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def account(store: Store) -> int:
    with store.begin() as tx:
        add_customer(tx, contact="ops@acme.example", brand="Acme Hosting", phone="+1 555")
        return add_account(tx).id


def add_case(store: Store, number: int, case_id: str = "C-1", at: datetime = NOW, **facts: Any) -> None:
    given: dict[str, Any] = {
        "level": Level.ACCOUNT,
        "step": "complaints_off",
        "from_state": State.ACTIVE,
        "to_state": State.DEACTIVATED,
        "until": at + HOUR,
        "reason": "18 complaints",
        "evidence": {"action": "deactivate", "lifts": "time", "numbers": {"votes": 18}, "mode": "enforce"},
        "set_by": decisions.POLICY,
        **facts,
    }
    with store.begin() as tx:
        decisions.add(tx, at, case_id=case_id, subject_id=number, **given)


def derive(store: Store, now: datetime = NOW, channels: tuple[Channel, ...] = (Channel.CUSTOMER,)) -> int:
    with store.begin() as tx:
        return notices.derive(tx, notices.recent(tx, NOW - HOUR), now, channels)


def due(store: Store, now: datetime = NOW) -> list[notices.Due]:
    with store.read() as tx:
        return notices.due(tx, now)


def test_a_case_is_told_once_by_each_channel_with_all_that_it_says(store: Store, account: int) -> None:
    add_case(store, account)
    assert derive(store, channels=tuple(Channel)) == 3
    assert derive(store, channels=tuple(Channel)) == 0
    found = due(store)
    assert [one.channel for one in found] == list(Channel)
    assert {one.contact for one in found} == {"ops@acme.example"}
    notice = found[0].notice
    assert (notice.kind, notice.case_id, notice.at) == (Kind.DEACTIVATE, "C-1", NOW)
    assert (notice.subject, notice.customer, notice.level) == ("alice@acme.example", "acme", "account")
    assert (notice.state, notice.until, notice.reason) == ("deactivated", NOW + HOUR, "18 complaints")
    assert (notice.lifts, notice.numbers, notice.set_by) == ("time", {"votes": 18}, "policy")
    assert (notice.brand, notice.phone) == ("Acme Hosting", "+1 555")


def test_the_same_kind_is_told_once_an_hour(store: Store, account: int) -> None:
    for place, minutes in enumerate((0, 30, 59)):
        add_case(store, account, f"C-{place}", NOW + minutes * MINUTE)
    add_case(store, account, "C-other", NOW + MINUTE, to_state=State.SUSPENDED)
    add_case(store, account, "C-later", NOW + HOUR)
    assert derive(store) == 3
    assert [one.notice.case_id for one in due(store, NOW + HOUR)] == ["C-0", "C-other", "C-later"]


@pytest.mark.parametrize(
    "facts",
    [
        {"to_state": State.ACTIVE},
        {"to_state": State.CLOSED},
        {"evidence": {"action": "deactivate", "mode": str(Mode.OBSERVE)}},
    ],
)
def test_what_nobody_feels_is_told_to_nobody(store: Store, account: int, facts: dict[str, Any]) -> None:
    add_case(store, account, **facts)
    assert derive(store) == 0


def test_old_cases_are_not_told(store: Store, account: int) -> None:
    add_case(store, account, at=NOW - HOUR - MINUTE)
    add_case(store, account, "C-2", at=NOW - HOUR)
    assert derive(store) == 1


def test_servers_and_customers_have_their_names(store: Store, account: int) -> None:
    with store.read() as tx:
        server, customer = accounts.server(tx, "acme").id, accounts.customer(tx, "acme").id
    add_case(store, server, "C-s", level=Level.SERVER)
    add_case(store, customer, "C-c", level=Level.CUSTOMER, evidence={})
    add_case(store, account + 99, "C-x")
    derive(store)
    found = {one.notice.case_id: one for one in due(store)}
    assert found["C-s"].notice.subject == found["C-c"].notice.subject == "acme"
    assert found["C-c"].contact == "ops@acme.example"
    assert (found["C-c"].notice.numbers, found["C-c"].notice.lifts) == ({}, "")
    assert (found["C-x"].notice.subject, found["C-x"].contact) == (f"number {account + 99}", "")


def test_what_was_sent_is_not_sent_again(store: Store, account: int) -> None:
    add_case(store, account)
    derive(store)
    with store.begin() as tx:
        notices.sent(tx, notices.due(tx, NOW)[0].id)
    assert due(store) == []
    assert derive(store) == 0


def test_failures_wait_longer_and_longer_and_are_given_up(store: Store, account: int) -> None:
    add_case(store, account)
    derive(store)
    now, pauses = NOW, []
    while found := due(store, now):
        with store.begin() as tx:
            notices.failed(tx, found[0], now, "451 no")
        tried = now
        while not due(store, now) and now - tried < timedelta(days=1):
            now += MINUTE
        pauses.append((now - tried) // MINUTE)
    assert pauses == [1, 5, 15, 60, 240, 720, 1440]


async def test_every_notice_is_deleted_in_time_whatever_became_of_it(store: Store, account: int) -> None:
    add_case(store, account)
    derive(store, channels=tuple(Channel))
    with store.begin() as tx:
        notices.sent(tx, notices.due(tx, NOW)[0].id)
    keep = Retention()
    await retention.purge_all(store, NOW + keep.journal, keep)
    assert len(due(store)) == 2
    await retention.purge_all(store, NOW + keep.journal + MINUTE, keep)
    assert due(store) == []


def test_a_crowd_on_one_way_keeps_no_other_from_its_turn(store: Store, account: int) -> None:
    for number in range(3):
        add_case(store, account, f"C-{number}", at=NOW + number * HOUR)
    derive(store)
    add_case(store, account, "C-3", at=NOW + 3 * HOUR)
    derive(store, channels=(Channel.CUSTOMER, Channel.WEBHOOK))
    with store.read() as tx:
        found = notices.due(tx, NOW, most=2)
    assert [one.channel for one in found] == [Channel.CUSTOMER] * 2 + [Channel.WEBHOOK] * 2
