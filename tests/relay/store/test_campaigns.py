from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.clock import micros
from relay.model import Grade
from relay.store import campaigns, changes, complaints, habits, journal, schema
from relay.store.campaigns import ENOUGH_REPORTS
from tests.relay.store.people import NOW, add_account, add_customer
from tests.relay.store.test_journal import row

if TYPE_CHECKING:
    from relay.model import Account
    from relay.store.engine import Store

PRINT = 0xF0F0F0F0F0F0F0F0  # the highest bit is set: the database keeps signed numbers


@pytest.fixture
def account(store: Store) -> Account:
    with store.begin() as tx:
        add_customer(tx)
        found = add_account(tx)
        rows = [row(f"m{n}", account_id=found.id, fingerprint=PRINT) for n in range(5)]
        journal.append(tx, [*rows, row("short", account_id=found.id)])
        return found


def noted(store: Store) -> int:
    with store.read() as tx:
        return sum(change.kind == changes.CAMPAIGN for change in changes.since(tx, 0))


def vote(
    number: int, grade: Grade = Grade.A, *, withdrawn: bool = False, message: str = ""
) -> complaints.Vote:
    return complaints.Vote(
        message_id=message or f"m{number}", voter=bytes([number]) * 16, complaint_id=f"c{number}",
        account_id=1, grade=grade, reporter="fbl.example", sent_at=NOW, withdrawn=withdrawn, most=1,
    )  # fmt: skip


def test_a_text_is_known_once_enough_people_complained(store: Store, account: Account) -> None:
    for number in range(ENOUGH_REPORTS):
        with store.begin() as tx:
            assert not any(one.in_force for one in campaigns.known(tx))
            complaints.merge(tx, NOW, [vote(number), vote(number)])
    with store.read() as tx:
        (one,) = campaigns.known(tx)
        assert journal.message(tx, "m0").fingerprint == PRINT  # type: ignore[union-attr]
    assert (one.fingerprint, one.reports, one.in_force, one.login) == (PRINT, 3, True, account.login)
    assert noted(store) == 1
    with store.begin() as tx:
        complaints.merge(tx, NOW, [vote(0, withdrawn=True)])
        assert not campaigns.known(tx)[0].in_force
    assert noted(store) == 2


def test_unauthenticated_reports_and_short_mail_make_no_campaign(store: Store, account: Account) -> None:
    with store.begin() as tx:
        complaints.merge(tx, NOW, [vote(n, Grade.B) for n in range(5)])
        complaints.merge(tx, NOW, [vote(n, message="short") for n in range(5)])
        complaints.merge(tx, NOW, [vote(n, message="unknown") for n in range(5)])
        assert campaigns.known(tx) == []
    assert account.id == 1


def test_staff_condemn_at_once_and_whoever_lets_go_forgets(store: Store, account: Account) -> None:
    with store.begin() as tx:
        campaigns.condemn(tx, NOW, "m1")
        campaigns.condemn(tx, NOW, "short")
        (one,) = campaigns.known(tx)
        assert (one.source, one.in_force, one.account_id) == ("staff", True, account.id)
        campaigns.acquit(tx, NOW, "m2")
        assert campaigns.known(tx) == []
        assert not campaigns.forget(tx, NOW, PRINT)


def test_a_profile_is_read_from_what_is_counted_anyway_and_erased(store: Store, account: Account) -> None:
    def write(tx: object, number: int, days: int) -> None:
        at = NOW - timedelta(days=days)
        journal.append(
            tx,  # type: ignore[arg-type]
            [
                row(
                    f"h{number}", account_id=account.id, at=at, client_network="192.0.2.0/24", program="p",
                    recipient_count=number,
                )
            ],
        )  # fmt: skip

    with store.begin() as tx:
        for number, days in ((3, 20), (7, 2), (1000, 0)):
            write(tx, number, days)
        found = habits.profile(tx, account.id, NOW)
        assert (found.days, found.messages, found.busiest_day, found.largest) == (2, 2, 7, 7)
        assert found.hours[12] == 2
        assert set(found.networks) == {"192.0.2.0/24"}
        assert set(found.programs) == {"p"}
        assert found.since is not None
        assert NOW - found.since > timedelta(days=19)
        assert habits.today(tx, account.id, NOW) >= 1000
        habits.forget(tx, NOW, account.id)
        gone = habits.profile(tx, account.id, NOW + timedelta(days=1))
    assert (gone.since, gone.messages, gone.networks) == (None, 0, {})
    with store.read() as tx:
        assert tx.execute(schema.habit.select()).one().since_us == micros(NOW)
