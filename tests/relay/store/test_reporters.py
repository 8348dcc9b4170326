from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.errors import Conflict, NotFound
from relay.store import accounts, changes, dkim_keys, domains, logins, reporters, suppression
from relay.store.dkim_keys import DkimKey
from relay.store.logins import Login
from tests.relay.store.people import NOW, add_customer

if TYPE_CHECKING:
    from relay.store.engine import Store


def test_a_reporter_speaks_for_the_domains_it_covers(store: Store) -> None:
    with store.begin() as tx:
        reporters.add(
            tx, NOW, "FBL.Mail.example.", covers=["Mail.Example", "mail2.example."], dkim_key="MIGf"
        )
        reporters.add(tx, NOW, "mail.example", covers=["other.example"])
        assert [each.domain for each in reporters.reporters(tx)] == ["fbl.mail.example", "mail.example"]
        assert reporters.covering(tx, "fbl.mail.EXAMPLE") == ("mail.example", "mail2.example")
        assert reporters.covering(tx, "x.fbl.mail.example") == ("mail.example", "mail2.example")
        assert reporters.covering(tx, "else.mail.example") == ("other.example",)
        assert reporters.covering(tx, "example") == ()
        assert reporters.covering(tx, "notmail.example") == ()
        assert reporters.covering(tx, "a." * 5000 + "mail.example") == ("other.example",)
        found = reporters.reporter(tx, "fbl.mail.example")
        assert found is not None
        assert (found.dkim_key, found.added_at) == ("MIGf", NOW)
        reporters.remove(tx, NOW, "FBL.mail.example")
        assert reporters.covering(tx, "fbl.mail.example") == ("other.example",)
        assert {each.kind for each in changes.since(tx, 0)} == {"reporter"}


def test_a_reporter_is_listed_once_and_struck_off_once(store: Store) -> None:
    with store.begin() as tx:
        reporters.add(tx, NOW, "mail.example", covers=["mail.example"])
        with pytest.raises(NotFound):
            reporters.remove(tx, NOW, "nobody.example")
    with pytest.raises(Conflict), store.begin() as tx:
        reporters.add(tx, NOW, "MAIL.example", covers=["mail.example"])


def test_a_domains_key_belongs_to_a_customer_and_claims_the_domain(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        number = accounts.customer(tx, "acme").id
        key = dkim_keys.add(tx, NOW, "Acme.Example", selector="s1", key_file="keys/a.pem", customer_id=number)
        shared = dkim_keys.add(tx, NOW, "shared.example", selector="s1", key_file="keys/s.pem")
        assert dkim_keys.dkim_keys(tx) == [key, shared]
        assert key == DkimKey("acme.example", "s1", "keys/a.pem", number)
        assert domains.owners(tx) == {"acme.example": {number}}
        dkim_keys.remove(tx, NOW, "acme.EXAMPLE")
        assert domains.owners(tx) == {}
        with pytest.raises(NotFound):
            dkim_keys.remove(tx, NOW, "acme.example")
    with pytest.raises(Conflict), store.begin() as tx:
        dkim_keys.add(tx, NOW, "shared.example", selector="s2", key_file="keys/x.pem")


def test_logins_are_remembered_newest_first(store: Store) -> None:
    tries = [
        Login(1, NOW + timedelta(minutes=n), f"192.0.2.{n}", "PLAIN", n % 2 == 0, None if n % 2 else 7)
        for n in range(5)
    ]
    with store.begin() as tx:
        logins.record(tx, tries[:4])
        logins.record(tx, tries[4])
        logins.record(tx, [])
        assert logins.history(tx, 1) == tries[::-1]
        assert logins.history(tx, 1, limit=1) == [tries[4]]
        assert logins.history(tx, 2) == []


async def test_logins_share_a_commit(store: Store) -> None:
    batch = logins.Batch(store)
    for number in range(50):
        batch.add(Login(1, NOW, f"192.0.2.{number}", "PLAIN\0", ok=True))
    batch.flush()
    await store.flush()
    with store.read() as tx:
        found = logins.history(tx, 1)
    assert len(found) == 50
    assert found[0].mechanism == "PLAIN\ufffd"
    assert store._writer.groups <= 2


def test_two_hard_bounces_a_day_apart_suppress_for_a_month(store: Store) -> None:
    person = b"p" * 16
    with store.begin() as tx:

        def held(hours: float) -> dict[bytes, str]:
            return suppression.held(tx, NOW + timedelta(hours=hours), 1, [person, b"q" * 16], listed=True)

        def bounce(hours: float) -> None:
            suppression.note_bounce(tx, NOW + timedelta(hours=hours), 1, person)

        bounce(0)
        bounce(1)
        bounce(23.9)
        assert held(23.9) == {}
        bounce(24)
        assert held(24) == {person: "bounce"}
        assert held(24 + 30 * 24 - 0.1) == {person: "bounce"}
        assert held(24 + 30 * 24) == {}
        assert suppression.held(tx, NOW + timedelta(hours=25), 2, [person], listed=True) == {}
        known = suppression.about(tx, 1, person)
        assert [(each.kind, each.events, each.first_at) for each in known] == [("bounce", 4, NOW)]
        bounce(24 * 90)  # long after: it begins again
        assert suppression.about(tx, 1, person)[0].events == 1
        assert held(24 * 90) == {}


def test_a_customer_can_add_and_clear_a_suppression(store: Store) -> None:
    person = b"p" * 16
    with store.begin() as tx:
        suppression.add(tx, NOW, 1, person)
        suppression.add(tx, NOW, 1, person, suppression.COMPLAINT, NOW + timedelta(days=1))
        assert suppression.held(tx, NOW + timedelta(days=400), 1, [person], listed=True) == {person: "manual"}
        assert [each.kind for each in suppression.about(tx, 1, person)] == ["complaint", "manual"]
        assert suppression.clear(tx, NOW, 1, person) == 2
        assert suppression.held(tx, NOW, 1, [person], listed=True) == {}
