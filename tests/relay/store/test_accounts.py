from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.errors import Conflict, NotFound
from relay.model import AccountClass, Level, Mode, Standing, State, Tls, UpstreamAuth
from relay.store import accounts, changes, domains
from relay.store.standing import ending, set_standing, standing_of
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from relay.store.engine import Store


def test_a_customer_comes_back_as_it_was_given(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx, "reseller")
        add_customer(
            tx,
            "acme",
            hosts=["mx1.acme.example:25", "[2001:db8::1]:25"],
            tls=Tls.IMPLICIT,
            auth=UpstreamAuth.RELAY,
            relay_login="gate",
            relay_secret_file="keys/acme",
            mode=Mode.OBSERVE,
            contact="it@acme.example",
            brand="Acmé GmbH",
            phone="+49 1",
            parent="reseller",
            provision_domains=["Acme.Example."],
            trusted_hosts=False,
        )
    with store.read() as tx:
        found, parent = accounts.customer(tx, "acme"), accounts.customer(tx, "reseller")
        server = accounts.server(tx, "acme")
        assert [each.name for each in accounts.customers(tx)] == ["acme", "reseller"]
        assert [each.name for each in accounts.servers(tx)] == ["acme", "reseller"]
    assert (found.brand, found.contact, found.phone, found.mode) == (
        "Acmé GmbH", "it@acme.example", "+49 1", Mode.OBSERVE
    )  # fmt: skip
    assert found.parent_id == parent.id
    assert found.standing == Standing(State.ACTIVE, NOW)
    assert server.hosts == ("mx1.acme.example:25", "[2001:db8::1]:25")
    assert (server.tls, server.auth, server.trusted_hosts) == (Tls.IMPLICIT, UpstreamAuth.RELAY, False)
    assert server.provision_domains == ("acme.example",)
    assert server.customer_id == found.id


def test_an_account_comes_back_with_its_customer_server_and_password(store: Store) -> None:
    secret: dict[str, Any] = {"password_hash": "$argon2id$…", "fingerprint": b"f" * 16}
    with store.begin() as tx:
        add_customer(tx)
        made = accounts.add_account(
            tx, NOW, "Alice@Acme.example", customer="acme", senders=["@acme.example", "boss@other.example"],
            klass=AccountClass.BULK, **secret,
        )  # fmt: skip
    with store.read() as tx:
        found = accounts.account(tx, " aLICE@acme.EXAMPLE ")
        assert accounts.accounts(tx) == accounts.accounts(tx, "acme") == [found] == [made]
        assert accounts.account_by_id(tx, found.id) == found
        assert accounts.logins(tx, [found.id, 99]) == {found.id: "Alice@Acme.example"}
    assert found.login == "Alice@Acme.example"
    assert found.senders == ("@acme.example", "boss@other.example")
    assert found.klass is AccountClass.BULK
    assert found.created_at == NOW
    assert [(each.hash, each.fingerprint, each.blocked) for each in found.credentials] == [
        ("$argon2id$…", b"f" * 16, False)
    ]
    assert found.customer.name == found.server.name == "acme"


def test_without_senders_an_account_sends_as_itself(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        assert add_account(tx).senders == ("alice@acme.example",)


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        (lambda tx: add_customer(tx), Conflict),
        (lambda tx: add_account(tx, "ALICE@acme.example"), Conflict),
        (lambda tx: add_account(tx, "bob@acme.example", "nobody"), NotFound),
        (lambda tx: add_customer(tx, "child", parent="nobody"), NotFound),
        (lambda tx: accounts.customer(tx, "nobody"), NotFound),
        (lambda tx: accounts.server(tx, "nobody"), NotFound),
        (lambda tx: accounts.server_of(tx, 99), NotFound),
        (lambda tx: accounts.customer_by_id(tx, 99), NotFound),
        (lambda tx: accounts.account(tx, "nobody"), NotFound),
        (lambda tx: accounts.account_by_id(tx, 99), NotFound),
        (lambda tx: accounts.accounts(tx, "nobody"), NotFound),
        (lambda tx: accounts.credentials(tx, "nobody"), NotFound),
        (lambda tx: accounts.block_credential(tx, NOW, 99, blocked=True), NotFound),
        (lambda tx: accounts.set_mode(tx, NOW, "nobody", Mode.OBSERVE), NotFound),
    ],
)
def test_names_taken_and_names_unknown(
    store: Store, deed: Callable[[Connection], object], error: type[Exception]
) -> None:
    with store.begin() as tx:
        add_customer(tx)
        add_account(tx)
    with pytest.raises(error), store.begin() as tx:
        deed(tx)


def test_a_new_password_replaces_the_good_ones_and_leaves_blocked_ones(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        stolen = add_account(tx).credentials[0]
        assert accounts.block_credential(tx, NOW, stolen.id, blocked=True).blocked
        accounts.set_password(tx, NOW, "alice@acme.example", "second", b"2" * 16)
        accounts.set_password(tx, NOW, "alice@acme.example", "third", b"3" * 16)
        found = accounts.credentials(tx, "alice@acme.example")
        assert [(each.hash, each.blocked) for each in found] == [
            ("hash of alice@acme.example", True), ("third", False)
        ]  # fmt: skip
        with pytest.raises(Conflict, match="blocked"):
            accounts.set_password(tx, NOW, "alice@acme.example", "again", stolen.fingerprint)
        assert not accounts.block_credential(tx, NOW, stolen.id, blocked=False).blocked


def test_a_password_that_only_the_customers_server_knows_can_be_blocked(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        accounts.add_account(tx, NOW, "pass@acme.example", customer="acme")
        assert accounts.credentials(tx, "pass@acme.example") == ()
        first = accounts.block_fingerprint(tx, NOW, "pass@acme.example", b"x" * 16)
        again = accounts.block_fingerprint(tx, NOW, "pass@acme.example", b"x" * 16)
        assert first == again
        assert accounts.credentials(tx, "pass@acme.example") == (first,)


def test_every_change_of_an_account_is_noted(store: Store) -> None:
    login = "alice@acme.example"
    with store.begin() as tx:
        add_customer(tx)
        number = str(add_account(tx).id)
    deeds: list[Callable[[Connection], object]] = [
        lambda tx: accounts.set_senders(tx, NOW, login, ["*"]),
        lambda tx: accounts.set_class(tx, NOW, login, AccountClass.PERSON),
        lambda tx: accounts.set_password(tx, NOW, login, "new", b"n" * 16),
        lambda tx: accounts.block_credential(tx, NOW, accounts.credentials(tx, login)[0].id, blocked=True),
        lambda tx: set_standing(
            tx, NOW, Level.ACCOUNT, int(number), Standing(State.SUSPENDED, NOW), expected_version=None
        ),
    ]
    for deed in deeds:
        with store.begin() as tx:
            before = changes.latest(tx)
            deed(tx)
            heard = {(each.kind, each.key) for each in changes.since(tx, before)}
        assert ("account", number) in heard


@pytest.mark.parametrize("level", list(Level))
def test_standing_is_compare_and_set(store: Store, level: Level) -> None:
    until = NOW + timedelta(hours=6)
    suspended = Standing(State.DEACTIVATED, NOW, until, "because", "7k3m-9qxd", "policy slow")
    with store.begin() as tx:
        add_customer(tx)
        number = add_account(tx).id
        stored = set_standing(tx, NOW, level, number, suspended, expected_version=0)
        assert stored.version == 1
        assert standing_of(tx, level, number) == stored
        with pytest.raises(Conflict, match="deactivated"):
            set_standing(tx, NOW, level, number, Standing(State.ACTIVE, NOW), expected_version=0)
        assert standing_of(tx, level, number) == stored
        assert set_standing(tx, NOW, level, number, suspended, expected_version=None).version == 2
        assert ending(tx, until - timedelta(microseconds=1)) == []
        assert [(found, each) for found, each, _ in ending(tx, until)] == [(level, number)]
        with pytest.raises(NotFound):
            set_standing(tx, NOW, level, 99, suspended, expected_version=None)


async def test_of_two_who_decide_at_once_one_wins(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        number = add_account(tx).id

    def decide(state: State) -> Callable[[Connection], Standing]:
        return lambda tx: set_standing(
            tx, NOW, Level.ACCOUNT, number, Standing(state, NOW), expected_version=0
        )

    outcomes: list[State | None] = []
    for state in (State.SUSPENDED, State.THROTTLED, State.CLOSED):
        try:
            outcomes.append((await store.write(decide(state))).state)
        except Conflict:
            outcomes.append(None)
    assert outcomes == [State.SUSPENDED, None, None]


def test_a_domain_belongs_to_who_claims_it_or_else_to_who_is_seen_there(store: Store) -> None:
    with store.begin() as tx:
        for name in ("acme", "beta"):
            add_customer(tx, name)
        acme, beta = accounts.customer(tx, "acme").id, accounts.customer(tx, "beta").id
        add_account(tx, "a@shared.example", "acme")
        add_account(tx, "b@shared.example", "beta")
        add_account(tx, "me@gmail.com", "acme")
        assert domains.owners(tx) == {"shared.example": {acme, beta}}
        accounts.set_senders(tx, NOW, "b@shared.example", ["@shared.example", "@gmail.com", "*"])
        assert domains.owners(tx) == {"shared.example": {beta}, "gmail.com": {beta}}
        accounts.set_senders(tx, NOW, "b@shared.example", ["x@else.example"])
        assert domains.owners(tx) == {"shared.example": {acme, beta}, "else.example": {beta}}
