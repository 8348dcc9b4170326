from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from policies.habits import Act
from relay.familiar import KNOWN_SPAM, OUT_OF_HABIT, SHARED_TEXT, Familiar
from relay.log import Log
from relay.metrics import Metrics
from relay.store import campaigns, changes, habits, journal
from relay.store.engine import Store
from screening.verdict import Hit, Verdict
from tests.relay.store.people import NOW, add_account, add_customer
from tests.relay.store.test_journal import row
from tests.screening.mails import body

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from relay.model import Account
    from screening.mail import Mail

LETTER = (
    "we are pleased to offer you our garden tools seeds and pots at half the price until friday evening "
    "come to our shop in the old town or order on our pages we deliver within two days to your door and "
    "take back what you do not like without any question at all kind regards from all of us at the centre {}"
)
ACT = Act(NOW, "203.0.113.0/24", "new", 1)


def mail(text: str = "") -> Mail:
    return body(LETTER.format(text).encode())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def accounts(store: Store) -> list[Account]:
    with store.begin() as tx:
        for name in ("acme", "other"):
            add_customer(tx, name)
        return [
            add_account(tx, f"{n}@{name}.example", name)
            for n, name in ((1, "acme"), (2, "acme"), (3, "other"))
        ]


def judged(familiar: Familiar, account: Account, message: Mail, *points: float, act: Act = ACT) -> list[Hit]:
    verdict = Verdict(tuple(Hit(f"r{n}", score) for n, score in enumerate(points)))
    return list(familiar.judge(account, message, verdict, act).hits[len(points) :])


async def test_mail_like_what_staff_deleted_is_marked_whoever_sends_it(
    store: Store, accounts: list[Account]
) -> None:
    with store.begin() as tx:
        journal.append(tx, [row("m1", account_id=accounts[0].id, fingerprint=mail("Ann").fingerprint)])
        campaigns.condemn(tx, NOW, "m1")
    familiar = Familiar(store, Metrics(Log("error")))
    familiar.load()
    (hit,) = judged(familiar, accounts[2], mail("Bert 4711"))
    assert (hit.rule, hit.score) == (KNOWN_SPAM, 5.0)
    assert hit.evidence.startswith("staff deleted it, as message m1 (")
    assert judged(familiar, accounts[2], body(b"Dear Bob, see you on Thursday at nine.")) == []
    with store.begin() as tx:
        campaigns.acquit(tx, NOW, "m1")
    familiar.load()
    assert judged(familiar, accounts[2], mail("Bert 4711")) == []


async def test_a_suspicious_text_from_several_customers_is_a_campaign(
    store: Store, accounts: list[Account]
) -> None:
    familiar = Familiar(store, Metrics(Log("error")))
    one, two, three = accounts
    for account in (one, two, one, two):
        assert judged(familiar, account, mail("Ann"), 2.5) == []
    assert judged(familiar, three, mail("Bert"), 1.0) == [], "nothing speaks against this copy itself"
    (hit,) = judged(familiar, three, mail("Carl"), 2.5)
    assert (hit.rule, hit.evidence) == (
        SHARED_TEXT,
        "3 accounts of 2 customers send this text since 12:00 UTC",
    )
    later = dataclasses.replace(ACT, at=NOW + timedelta(hours=25))
    assert judged(familiar, three, mail("Dora"), 2.5, act=later) == []


async def test_content_counts_more_where_the_account_behaves_unlike_itself(
    store: Store, accounts: list[Account]
) -> None:
    account = accounts[0]
    with store.begin() as tx:
        for day in range(30, 0, -1):
            at = NOW - timedelta(days=day)
            journal.append(
                tx,
                [row(f"d{day}", account_id=account.id, at=at, client_network="192.0.2.0/24", program="old")],
            )
    familiar = Familiar(store, Metrics(Log("error")))
    assert judged(familiar, account, mail(), 3.0) == [], "nothing is read before the answer"
    await asyncio.gather(*familiar._reading.values())
    (hit,) = judged(familiar, account, mail(), 3.0)
    assert (hit.rule, hit.score) == (OUT_OF_HABIT, 2.1)
    assert hit.evidence == ("a network new to it, a mail program new to it: novelty 0.70 of content 3.00")
    assert judged(familiar, account, mail(), 0.5) == [], "novelty alone is nothing"
    at_home = Act(NOW, "192.0.2.0/24", "old", 1)
    assert judged(familiar, account, mail(), 3.0, act=at_home) == []
    familiar.sent(account, 500, NOW)
    (hit,) = judged(familiar, account, mail(), 3.0, act=at_home)
    assert "501 recipients today" in hit.evidence
    with store.begin() as tx:
        habits.forget(tx, NOW, account.id)
        heard = changes.since(tx, 0)
    familiar.heard(heard)
    assert judged(familiar, account, mail(), 3.0) == [], "what was learned is erased"
    await asyncio.gather(*familiar._reading.values())
    assert judged(familiar, account, mail(), 3.0) == []


async def test_malformed_mail_is_not_weighed(store: Store, accounts: list[Account]) -> None:
    familiar = Familiar(store, Metrics(Log("error")))
    verdict = Verdict(malformed="two From fields")
    assert familiar.judge(accounts[0], mail(), verdict, ACT) is verdict
    assert not familiar._reading
