"""Return paths of our own: bounded, sealed, stateless, for whom they are wanted."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from relay import ids
from relay.config import Config, ReturnsConfig
from relay.keyring import Key, Keyring
from relay.signing.returns import LASTS, Returned, Returns

if TYPE_CHECKING:
    from relay.model import Account

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RING = Keyring([Key(1, b"k" * 32)])
ACCOUNT = cast("Account", SimpleNamespace(id=7, customer=SimpleNamespace(id=3, name="acme")))
NUMBER = ids.message_id(NOW)


def returns(
    ring: Keyring = RING, *, domain: str = "return.example", customers: tuple[str, ...] = ()
) -> Returns:
    chosen = ReturnsConfig(domain=domain, customers=customers)
    return Returns(Config(returns=chosen), ring)


def test_a_return_path_names_account_and_message_and_keeps_to_the_limits_of_an_address() -> None:
    address = returns().of(ACCOUNT, NUMBER, "ann@acme.example")
    local, _, domain = address.partition("@")
    assert domain == "return.example"
    assert len(local) == 59, "RFC 5321 §4.5.3.1.1: 64 octets at most"
    assert NUMBER not in address
    said = returns().open(address, NOW)
    assert said == Returned(7, NUMBER, said.sent_at if said else NOW)
    assert said is not None
    assert NOW - timedelta(seconds=1 / 64) <= said.sent_at <= NOW
    assert returns().of(ACCOUNT, NUMBER, "ann@acme.example") == address, "the same at every try"


def test_case_does_not_matter_on_the_way_back() -> None:
    address = returns().of(ACCOUNT, NUMBER, "ann@acme.example")
    assert returns().open(address.upper(), NOW) == returns().open(address, NOW) is not None


@pytest.mark.parametrize(
    ("sender", "domain", "customers"),
    [
        ("", "return.example", ()),
        ("bounce+abc@return.example", "return.example", ()),
        ("x@Return.Example", "return.example", ()),
        ("ann@acme.example", "", ()),
        ("ann@acme.example", "return.example", ("other",)),
    ],
)
def test_the_null_sender_what_was_rewritten_and_others_mail_stay_as_they_are(
    sender: str, domain: str, customers: tuple[str, ...]
) -> None:
    made = returns(domain=domain, customers=customers)
    assert made.of(ACCOUNT, NUMBER, sender) == sender
    assert made.seal_sender(ACCOUNT, NUMBER, sender) is None


def test_it_is_for_the_customers_that_are_named() -> None:
    assert returns(customers=("acme",)).of(ACCOUNT, NUMBER, "ann@acme.example").startswith("bounce+")


def test_forged_altered_foreign_and_old_ones_open_nothing() -> None:
    made = returns()
    address = made.of(ACCOUNT, NUMBER, "ann@acme.example")
    local = address.partition("@")[0]
    for place in range(7, 59):
        other = "a" if local[place] != "a" else "b"
        altered = f"{local[:place]}{other}{local[place + 1 :]}@return.example"
        # the last letter has four bits that say nothing
        assert place == 58 or made.open(altered, NOW) is None
    for _ in range(2000):
        guess = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(52))
        assert made.open(f"bounce+{guess}@return.example", NOW) is None
    assert made.open(f"{local}@other.example", NOW) is None
    assert made.open(f"{local}x@return.example", NOW) is None
    assert made.open(address, NOW + LASTS - timedelta(seconds=1)) is not None
    assert made.open(address, NOW + LASTS + timedelta(seconds=1)) is None
    assert made.open(address, NOW - timedelta(hours=2)) is None
    assert returns(Keyring([Key(1, b"x" * 32)])).open(address, NOW) is None
    assert returns(domain="").open(address, NOW) is None


def test_one_that_an_older_key_sealed_opens() -> None:
    address = returns().of(ACCOUNT, NUMBER, "ann@acme.example")
    ring = Keyring([Key(1, b"k" * 32), Key(2, b"n" * 32)])
    assert returns(ring).open(address, NOW) is not None
    assert returns(ring).of(ACCOUNT, NUMBER, "ann@acme.example") != address


def test_the_sender_is_sealed_for_its_message_alone() -> None:
    made = returns()
    sealed = made.seal_sender(ACCOUNT, NUMBER, "änn@acme.example")
    assert sealed is not None
    assert b"acme" not in sealed
    assert made.sender(NUMBER, sealed) == "änn@acme.example"
    assert made.sender(ids.message_id(NOW), sealed) == ""
    assert made.sender(NUMBER, None) == ""


def test_a_header_field_may_say_where_it_came_to() -> None:
    address = returns().of(ACCOUNT, NUMBER, "ann@acme.example")
    texts = ["fbl@relay.example", f"Bounces <x@y.example>, <{address.upper()}>"]
    said = returns().find(iter(texts), NOW)
    assert said is not None
    assert said.message_id == NUMBER
    assert returns(domain="").find(iter(texts), NOW) is None


def test_it_costs_next_to_nothing() -> None:
    made = returns()
    begun = time.process_time()
    for _ in range(2000):
        made.of(ACCOUNT, NUMBER, "ann@acme.example")
    assert (time.process_time() - begun) / 2000 < 50e-6
