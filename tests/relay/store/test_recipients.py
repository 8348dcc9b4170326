from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.keyring import Key, Keyring
from relay.model import AccountClass
from relay.store import accounts, changes, complaints, journal, suppression
from relay.store.recipients import Gone, Recipients, gone, is_unknown
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from relay.model import Account
    from relay.store.engine import Store

RING = Keyring([Key(1, b"k" * 32)])
ANN = "Ann@There.Example"


@pytest.fixture
def account(store: Store) -> Account:
    with store.begin() as tx:
        add_customer(tx)
        return add_account(tx)


def test_an_address_that_is_not_there_is_told_from_other_refusals() -> None:
    assert is_unknown(550, "5.1.1", "")
    assert is_unknown(550, "", "No such user here")
    assert is_unknown(553, "5.0.0", "unknown recipient")
    assert not is_unknown(550, "5.7.1", "user unknown to our policy")
    assert not is_unknown(450, "4.1.1", "unknown")
    assert not is_unknown(550, "", "relaying denied")
    assert not is_unknown(250, "2.1.5", "")


async def test_what_servers_say_is_counted_and_two_days_of_it_suppress(
    store: Store, account: Account
) -> None:
    recipients = Recipients(store, RING)
    assert await recipients.suppressed(account, ANN, NOW) == ""
    last = changes_of(store)
    for now in (NOW, NOW + timedelta(hours=25)):
        recipients.tried(account, ANN, now, unknown=True)
        recipients.tried(account, "bea@there.example", now, unknown=False)
        recipients._tried.flush()
        await store.write(lambda _: None)
    later = NOW + timedelta(hours=25)
    with store.read() as tx:
        found = journal.counts(tx, account.id, ("attempts", "unknown_recipients"), NOW - timedelta(hours=1))
        news = changes.since(tx, last)
    assert found == {"attempts": 4, "unknown_recipients": 2}
    assert await recipients.suppressed(account, ANN, later) == "", "nobody told this process"
    recipients.heard(news)
    assert await recipients.suppressed(account, ANN.lower(), later) == "bounce"
    assert await recipients.suppressed(account, "bea@there.example", later) == ""
    assert await recipients.suppressed(account, ANN, later + timedelta(days=31)) == ""


async def test_a_list_that_changed_while_it_was_read_is_not_kept(store: Store, account: Account) -> None:
    recipients = Recipients(store, RING)

    class Slow:
        """Tells of a change after it has read, before it answers."""

        async def query(self, work: Any, *, urgent: bool) -> Any:
            found = await store.query(work, urgent=urgent)
            last = changes_of(store)
            with store.begin() as tx:
                suppression.add(tx, NOW, account.customer.id, RING.recipient_hash(account.customer.id, ANN))
                recipients.heard(changes.since(tx, last))
            return found

    slow: Any = Slow()
    recipients._store = slow
    assert await recipients.suppressed(account, ANN, NOW) == ""
    recipients._store = store
    assert await recipients.suppressed(account, ANN, NOW) == "manual"


def changes_of(store: Store) -> int:
    with store.read() as tx:
        return changes.latest(tx)


async def test_complaints_hold_for_bulk_and_list_mail_alone_and_staff_clear_them(
    store: Store, account: Account
) -> None:
    hashed = RING.recipient_hash(account.customer.id, ANN)
    with store.begin() as tx:
        suppression.add(tx, NOW, account.customer.id, hashed, suppression.COMPLAINT)
        accounts.set_class(tx, NOW, account.login, AccountClass.LIST)
        listed = accounts.account_by_id(tx, account.id)
    recipients = Recipients(store, RING)
    assert await recipients.suppressed(account, ANN, NOW) == ""
    assert await recipients.suppressed(listed, ANN, NOW) == "complaint"
    last = changes_of(store)
    with store.begin() as tx:
        assert suppression.clear(tx, NOW, account.customer.id, hashed) == 1
        recipients.heard(changes.since(tx, last))
    assert await recipients.suppressed(listed, ANN, NOW) == ""


async def test_what_a_server_knows_only_at_the_dot_or_later_is_no_second_attempt(
    store: Store, account: Account
) -> None:
    recipients = Recipients(store, RING)
    recipients.tried(account, ANN, NOW, unknown=False)
    recipients.tried(account, ANN, NOW, unknown=True, again=True)
    recipients._tried.flush()
    await store.write(lambda _: None)
    said = Gone(
        account.id, account.customer.id, "m1", 1_700_000_000_000_000, ((b"r" * 16, b"d" * 16, "5.1.1"),)
    )
    with store.begin() as tx:
        gone(tx, NOW, said)
        gone(tx, NOW, said)
    with store.read() as tx:
        counts = journal.counts(tx, account.id, ("attempts", "unknown_recipients"), NOW - timedelta(hours=1))
        assert counts == {"attempts": 1, "unknown_recipients": 2}
        assert complaints.hard_bounces(tx, account.id, NOW - timedelta(days=20_000)) == 1
