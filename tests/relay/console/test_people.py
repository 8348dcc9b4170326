from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

from relay.console import totp
from relay.console.login import csrf_of
from relay.store import staff
from tests.relay.console.conftest import PASSWORD, log_in

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from tests.relay.console.conftest import World

NEW = "four words in a row"


def send(client: TestClient, path: str, **fields: str) -> Any:
    return client.post(path, data={"csrf": csrf_of(client.cookies["gatepost-session"])} | fields)


def person(world: World, name: str) -> staff.Staff:
    with world.store.read() as tx:
        return next(one for one in staff.everyone(tx) if one.name == name)


def test_a_new_password_ends_every_other_session(world: World) -> None:
    app = world.app()
    here, there = world.at_desk("support", app), world.at_desk("support", app)
    before = here.cookies["gatepost-session"]
    assert send(here, "/me/password", password=PASSWORD, new=NEW).headers["location"] == "/me?done=password"
    assert here.cookies["gatepost-session"] != before
    assert here.get("/").status_code == 200
    assert there.get("/").status_code == 303
    assert log_in(world.client(app), "support", PASSWORD).status_code == 401
    assert log_in(world.client(app), "support", NEW).status_code == 303
    assert ("staff:support", "password changed", "staff:support") in world.audit()


def test_ones_own_password_is_asked_for_and_guessing_it_is_limited(world: World) -> None:
    client = world.at_desk("support")
    assert send(client, "/me/password", password=PASSWORD, new="short").status_code == 422
    for _ in range(5):
        assert send(client, "/me/password", password="guess", new=NEW).status_code == 422
    assert send(client, "/me/password", password=PASSWORD, new=NEW).status_code == 429
    assert log_in(world.client(), "support").status_code == 303, "the old password still holds"


def test_second_factor_from_offer_to_login(world: World) -> None:
    app = world.app()
    client = world.at_desk("admin", app)
    page = client.get("/me").text
    offer = re.search(r'name="offer" value="([^"]+)"', page)
    secret = re.search(r'<dd class="mono">([A-Z2-7]{32})</dd>', page)
    assert offer
    assert secret
    key = base64.b32decode(secret[1])
    code = totp.code(key, totp.step_of(world.now))
    wrong = "000000" if code != "000000" else "111111"
    assert send(client, "/me/factor", offer=offer[1], code=wrong).status_code == 422
    assert person(world, "admin").totp is None
    assert send(client, "/me/factor", offer=offer[1], code=code).headers["location"] == "/me?done=factor"
    assert "asks for the code" in client.get("/me").text
    assert log_in(world.client(app), "admin").status_code == 401
    assert log_in(world.client(app), "admin", code=code).status_code == 401, "its first code is used up"
    world.later(seconds=60)
    later = totp.code(key, totp.step_of(world.now))
    assert log_in(world.client(app), "admin", code=later).status_code == 303
    sealed = person(world, "admin").totp
    assert sealed
    later = totp.code(key, totp.step_of(world.now) + 1)
    assert send(client, "/me/factor", offer=offer[1], code=later).status_code == 422, (
        "it asks for no password"
    )
    assert person(world, "admin").totp == sealed
    assert key not in sealed
    assert send(client, "/me/factor/remove", password="guess").status_code == 422
    assert send(client, "/me/factor/remove", password=PASSWORD).headers["location"] == "/me?done=no-factor"
    assert log_in(world.client(app), "admin").status_code == 303


@pytest.mark.parametrize(
    "offer", ["", "!", "AAAA", base64.urlsafe_b64encode(b"\x01" + b"x" * 60).decode(), "ü"]
)
def test_an_offer_that_is_not_ours_is_refused(world: World, offer: str) -> None:
    assert send(world.at_desk("admin"), "/me/factor", offer=offer, code="000000").status_code == 422


def test_an_offer_to_somebody_else_is_refused(world: World) -> None:
    page = world.at_desk("abuse").get("/me").text
    offer = re.search(r'name="offer" value="([^"]+)"', page)
    secret = re.search(r'<dd class="mono">([A-Z2-7]{32})</dd>', page)
    assert offer
    assert secret
    code = totp.code(base64.b32decode(secret[1]), totp.step_of(world.now))
    assert send(world.at_desk("admin"), "/me/factor", offer=offer[1], code=code).status_code == 422


def test_an_admin_adds_people_and_gives_a_password_once(world: World) -> None:
    client = world.at_desk("admin")
    page = send(client, "/staff", name="grace", role="support").text
    password = re.search(r"<pre>([\w-]{20})</pre>", page)
    assert password
    assert password[1] not in client.get("/staff").text
    assert password[1] not in str(world.audit())
    assert log_in(world.client(), "grace", password[1]).status_code == 303
    assert send(client, "/staff", name="grace", role="support").status_code == 409
    for name, role in (
        ("", "viewer"),
        ("a b", "viewer"),
        ("<script>", "viewer"),
        ("ok", "wizard"),
        ("ok", ""),
    ):
        assert send(client, "/staff", name=name, role=role).status_code == 422


def test_an_admin_changes_roles_and_locks_out_but_not_themselves(world: World) -> None:
    app = world.app()
    client, other = world.at_desk("admin", app), world.at_desk("support", app)
    assert send(client, "/staff/support", deed="viewer").status_code == 200
    assert person(world, "support").role == "viewer"
    assert other.get("/").status_code == 303, "rights are read at login"
    send(client, "/staff/support", deed="disable")
    assert log_in(world.client(app), "support").status_code == 401
    send(client, "/staff/support", deed="enable")
    assert log_in(world.client(app), "support").status_code == 303
    page = send(client, "/staff/support", deed="password").text
    password = re.search(r"<pre>([\w-]{20})</pre>", page)
    assert password
    assert log_in(world.client(app), "support", password[1]).status_code == 303
    for deed in ("viewer", "disable", "password"):
        assert send(client, "/staff/admin", deed=deed).status_code == 422
    assert send(client, "/staff/nobody", deed="disable").status_code == 404
    assert send(client, "/staff/support", deed="destroy").status_code == 422
    deeds = [action for who, action, _ in world.audit() if who == "staff:admin"]
    assert deeds[:4] == [
        "staff password and second factor reset",
        "staff enable",
        "staff disable",
        "staff role",
    ]
