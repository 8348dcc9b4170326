from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.store import suppression

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.relay.console.conftest import World

    Token = Callable[..., dict[str, str]]

WHO = {"customer": "acme", "address": "ben@there.example"}
BASE = "/api/v1/suppressions"


def test_staff_and_customers_ask_add_and_clear(world: World, token: Token) -> None:
    client = world.client()
    for who, header in ((WHO, token("suppression")), (WHO, token("suppression", customer="acme"))):
        assert client.post(f"{BASE}/find", json=who, headers=header).json() == {"suppressions": []}
        (line,) = client.post(BASE, json={**who, "for": "2d"}, headers=header).json()["suppressions"]
        assert (line["kind"], line["refused"], line["events"]) == ("manual", True, 1)
        assert line["until"] == "2026-11-24T12:00:00Z"
        counts = client.get(f"{BASE}/counts", params={"customer": "acme"}, headers=header)
        assert counts.json() == {"counts": {"manual": 1}}
        assert client.post(f"{BASE}/clear", json=who, headers=header).json() == {"suppressions": []}
        assert [action for _, action, _ in world.audit()][:2] == ["suppression cleared", "suppression added"]


def test_a_customers_token_names_no_customer_and_sees_no_other(world: World, token: Token) -> None:
    client, header = world.client(), token("suppression", customer="acme")
    assert client.post(BASE, json={"address": WHO["address"]}, headers=header).status_code == 200
    other = {"customer": "globex", "address": WHO["address"]}
    for path in ("", "/find", "/clear"):
        assert client.post(f"{BASE}{path}", json=other, headers=header).status_code == 404
    assert client.get(f"{BASE}/counts?customer=globex", headers=header).status_code == 404


def test_a_reading_token_changes_nothing(world: World, token: Token) -> None:
    client, header = world.client(), token("read")
    assert client.post(f"{BASE}/find", json=WHO, headers=header).status_code == 200
    assert client.post(BASE, json=WHO, headers=header).status_code == 403
    assert client.post(f"{BASE}/clear", json=WHO, headers=header).status_code == 403
    assert client.post(f"{BASE}/find", json=WHO).status_code == 401


def test_cf_18_nobody_learns_who_complained(world: World, token: Token) -> None:
    owner = world.customer("acme").id
    for address, kind in (
        ("ann@x.example", suppression.COMPLAINT),
        ("bea@x.example", suppression.UNSUBSCRIBE),
    ):
        with world.store.begin() as tx:
            suppression.add(tx, world.now, owner, world.keyring.recipient_hash(owner, address), kind)
    client, header = world.client(), token("read", customer="acme")
    told = [
        client.post(f"{BASE}/find", json={"address": one}, headers=header).json()["suppressions"][0]
        for one in ("ann@x.example", "bea@x.example")
    ]
    assert told[0] == told[1]
    assert told[0]["kind"] == "wish"
    assert client.get(f"{BASE}/counts", headers=header).json() == {"counts": {"wish": 2}}


@pytest.mark.parametrize(
    "wish", [{"for": "never"}, {"address": "no address"}, {"address": ""}, {"kind": "bounce"}]
)
def test_wrong_wishes_are_refused(world: World, token: Token, wish: dict[str, str]) -> None:
    assert world.client().post(BASE, json={**WHO, **wish}, headers=token("suppression")).status_code == 422
