"""A server's and a customer's numbers are the sums of their accounts', and of what no token attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.model import Level, Tls, UpstreamAuth
from relay.store import accounts, journal, sums
from tests.relay.feedback.scene import LOOP, STRANGER, arf
from tests.relay.feedback.test_bounces import bounce

if TYPE_CHECKING:
    from tests.relay.feedback.scene import Scene


async def test_accounts_add_up_and_strangers_reports_are_the_servers(scene: Scene) -> None:
    with scene.store.begin() as tx:
        accounts.add_customer(
            tx, scene.now, "other", hosts=("127.0.0.1:26",), tls=Tls.NONE, auth=UpstreamAuth.NONE
        )
        accounts.add_account(
            tx, scene.now, "zoe@other.example", customer="other", password_hash="h", fingerprint=b"f"
        )
        journal.bump(tx, scene.account.id, scene.now, "unknown_recipients", 3)
        journal.bump(tx, scene.other.id, scene.now, "unknown_recipients", 4)
    first, second = scene.send_many(20), scene.send_many(10, scene.other)
    await scene.complain(first[:2])
    await scene.complain(second[:1])
    await scene.take(arf(first[3], STRANGER))
    await scene.take(bounce(second[4], second[4].recipients[0]), trusted=True)
    foreign = arf(
        "x" * 80, LOOP, change=lambda text: text.replace("From: bulk@acme.example", "From: a@nobody.example")
    )
    await scene.take(arf("x" * 80, LOOP))
    await scene.take(foreign)
    await scene.store.flush()
    with scene.store.read() as tx:
        server = sums.of(tx, Level.SERVER, scene.account.server.id, scene.now)
        customer = sums.of(tx, Level.CUSTOMER, scene.account.customer.id, scene.now)
        other = sums.of(tx, Level.CUSTOMER, accounts.customer(tx, "other").id, scene.now)
    assert server.pop("fallen_24h") == 0
    assert server == customer
    expected = {
        "accounts": 2, "messages_24h": 30, "relayed_30d": 30, "votes_30d": 3, "votes_7d": 3, "grade_b_30d": 1,
        "hard_bounces_30d": 1, "unknown_recipients_1h": 7, "grade_c_30d": 1, "spam_bodies_24h": 0,
    }  # fmt: skip
    assert {name: server[name] for name in expected} == expected
    assert other["accounts"] == 1
    assert not sum(number for name, number in other.items() if name != "accounts")
