from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from relay.console import totp
from relay.console.login import SECOND_FACTOR, WRONG, csrf_of, local_path
from relay.events import LoginTried
from relay.store import staff
from tests.relay.console.conftest import PASSWORD, form_token, log_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from tests.relay.console.conftest import World


def test_pages_ask_for_a_login_and_come_back(world: World) -> None:
    client = world.client()
    answer = client.get("/complaints?grade=A")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/complaints%3Fgrade%3DA")
    assert log_in(client, "viewer", next="/complaints?grade=A").headers["location"] == "/complaints?grade=A"
    assert client.get("/complaints?grade=A").status_code == 200


def test_co_04_session_id_is_new_at_login_and_dies_at_logout(world: World) -> None:
    client = world.client()
    client.cookies.set("gatepost-session", "planted-by-somebody-else", domain="testserver.local")
    log_in(client, "viewer")
    first = client.cookies["gatepost-session"]
    assert first != "planted-by-somebody-else"
    assert len(first) >= 43  # 256 bits
    client.post("/logout", data={"csrf": csrf_of(first)})
    client.cookies.set("gatepost-session", first, domain="testserver.local")
    assert client.get("/").status_code == 303, "the store, not the cookie, holds the session"


@pytest.mark.parametrize(
    "change",
    [
        lambda tx, now: staff.set_password(tx, now, "viewer", "another password"),
        lambda tx, now: staff.set_role(tx, now, "viewer", "support"),
        lambda tx, now: staff.disable(tx, now, "viewer"),
    ],
    ids=["password", "role", "disabled"],
)
def test_co_04_session_dies_with_password_role_and_person(
    world: World, change: Callable[[Connection, datetime], None]
) -> None:
    client = world.at_desk("viewer")
    assert client.get("/").status_code == 200
    with world.store.begin() as tx:
        change(tx, world.now)
    assert client.get("/").status_code == 303


def test_co_04_session_ends_after_30_idle_minutes(world: World) -> None:
    client = world.at_desk("viewer")
    for _ in range(5):
        world.later(minutes=25)
        assert client.get("/").status_code == 200
        asyncio.run(world.store.flush())
    world.later(minutes=31)
    assert client.get("/").status_code == 303


def test_co_04_a_page_that_polls_keeps_nobody_logged_in(world: World) -> None:
    client = world.at_desk("viewer")
    for _ in range(2):
        world.later(minutes=14)
        assert client.get("/now").status_code == client.get("/api/v1/stats").status_code == 200
        asyncio.run(world.store.flush())
    world.later(minutes=3)
    assert client.get("/api/v1/stats").status_code == 401
    shown = {"hx-request": "true", "hx-current-url": "http://testserver/accounts?q=a"}
    part = client.get("/now", headers=shown)
    assert (part.status_code, part.text) == (401, "")
    assert part.headers["hx-redirect"] == "/login?next=/accounts%3Fq%3Da"
    for evil in ("//evil.example/", "http://testserver//evil.example", "\\\\evil.example", "http://[", "x"):
        redirected = client.get("/now", headers=shown | {"hx-current-url": evil})
        assert redirected.headers["hx-redirect"].startswith("/login?next=/")
        assert "evil.example" not in redirected.headers["hx-redirect"]


def test_co_04_session_ends_after_12_busy_hours(world: World) -> None:
    client = world.at_desk("viewer")
    for _ in range(47):
        world.later(minutes=15)
        assert client.get("/").status_code == 200
        asyncio.run(world.store.flush())
    world.later(minutes=16)
    assert client.get("/").status_code == 303


def test_co_04_cookie_flags(world: World) -> None:
    plain = log_in(world.client(), "viewer").headers["set-cookie"]
    assert "gatepost-session=" in plain
    assert "HttpOnly" in plain
    assert "SameSite=lax" in plain
    assert "Secure" not in plain, "over plain HTTP a Secure cookie would never come back"
    client = world.client(world.app(url="https://console.example"), https=True)
    sealed = log_in(client, "viewer", next="/").headers["set-cookie"]
    assert "__Host-gatepost-session=" in sealed
    assert "Secure" in sealed
    assert "Path=/" in sealed
    assert "Domain" not in sealed


@pytest.mark.parametrize("name", ["viewer", "nobody"])
def test_co_05_sixth_failure_in_five_minutes_is_429(world: World, name: str) -> None:
    client = world.client()
    for _ in range(5):
        answer = log_in(client, name, "wrong")
        assert answer.status_code == 401
        assert WRONG in answer.text
    blocked = log_in(client, name, PASSWORD)
    assert blocked.status_code == 429
    assert 0 < int(blocked.headers["retry-after"]) <= 301
    world.later(minutes=5, seconds=1)
    assert log_in(client, name, PASSWORD).status_code == (303 if name == "viewer" else 401)


def test_co_05_unknown_name_does_the_same_work(world: World) -> None:
    with world.store.begin() as tx:
        staff.set_password(tx, world.now, "viewer", PASSWORD)
        known, unknown = staff.password_hash(tx, "viewer"), staff.password_hash(tx, "nobody")
    assert known.split("$")[:4] == unknown.split("$")[:4]
    assert known != unknown


def test_co_05_tries_at_once_all_count(world: World) -> None:
    app = world.app()
    clients = [world.client(app) for _ in range(8)]
    tokens = [form_token(client, "/login") for client in clients]
    answers = [
        client.post("/login", data={"name": "viewer", "password": "wrong", "csrf": token})
        for client, token in zip(clients, tokens, strict=True)
    ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3


def test_co_05_one_time_code_works_once(world: World) -> None:
    secret = totp.new_secret()
    sealed = world.keyring.seal(SECOND_FACTOR, secret, b"admin")
    with world.store.begin() as tx:
        staff.set_totp(tx, world.now, "admin", sealed)
    code = totp.code(secret, totp.step_of(world.now))
    assert log_in(world.client(), "admin").status_code == 401, "the password alone is not enough"
    assert log_in(world.client(), "admin", code="000000" if code != "000000" else "1").status_code == 401
    assert log_in(world.client(), "admin", code=code).status_code == 303
    assert log_in(world.client(), "admin", code=code).status_code == 401
    world.later(seconds=30)
    assert log_in(world.client(), "admin", code=totp.code(secret, totp.step_of(world.now))).status_code == 303


def test_co_16_forwarded_address_of_a_stranger_is_not_believed(world: World) -> None:
    client = world.client()
    for number in range(5):
        client.headers["x-forwarded-for"] = f"198.51.100.{number}"
        assert log_in(client, "viewer", "wrong").status_code == 401
    client.headers["x-forwarded-for"] = "198.51.100.99"
    assert log_in(client, "viewer", "wrong").status_code == 429


def test_co_16_forwarded_address_of_our_proxy_is(world: World) -> None:
    app = world.app(proxies=("192.0.2.10/32",))
    client = world.client(app)
    for number in range(7):
        # what the client wrote itself comes first and changes nothing
        client.headers["x-forwarded-for"] = f"203.0.113.{number}, 198.51.100.7"
        log_in(client, "viewer", "wrong")
    assert log_in(client, "viewer").status_code == 429
    client.headers["x-forwarded-for"] = "198.51.100.8"
    assert log_in(client, "viewer").status_code == 303


@pytest.mark.parametrize(
    ("given", "goal"),
    [
        ("/accounts?q=a", "/accounts?q=a"),
        ("/", "/"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("/ok\r\nSet-Cookie: a=b", "/"),
        ("accounts", "/"),
        ("", "/"),
        ("/logout", "/"),
        ("/" + "a" * 600, "/"),
    ],
)
def test_co_09_next_stays_here(given: str, goal: str) -> None:
    assert local_path(given) == goal


def test_co_09_login_leads_nowhere_else(world: World) -> None:
    app = world.app()
    for given in ("//evil.example", "/\\evil.example", "https://evil.example/", "/ok\r\nSet-Cookie: a=b"):
        assert log_in(world.client(app), "viewer", next=given).headers["location"] == "/"
        page = world.client(app).get("/login", params={"next": given}).text
        assert 'name="next" value="/"' in page


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_co_03_foreign_origin_is_refused(world: World, headers: dict[str, str]) -> None:
    client = world.client()
    data = {"name": "viewer", "password": PASSWORD, "csrf": form_token(client, "/login")}
    assert client.post("/login", data=data, headers=headers).status_code == 403
    assert client.post("/login", data=data, headers={"origin": "http://testserver"}).status_code == 303


@pytest.mark.parametrize("csrf", ["", "0" * 40, "\udcff", csrf_of("")])
def test_co_03_login_without_the_form_is_refused(world: World, csrf: str) -> None:
    data = {"name": "viewer", "password": PASSWORD, "csrf": csrf.encode("utf-8", "surrogatepass")}
    assert world.client().post("/login", data=data).status_code == 403


def test_login_and_logout_are_audited_and_told(world: World) -> None:
    client = world.at_desk("support")
    client.post("/logout", data={"csrf": csrf_of(client.cookies["gatepost-session"])})
    log_in(world.client(), "support", "wrong")
    assert world.audit() == [
        ("staff:support", "logout", "staff:support"),
        ("staff:support", "login", "staff:support"),
    ]
    told = [event for event in world.events if isinstance(event, LoginTried)]
    assert [event.ok for event in told] == [True, False]
    assert PASSWORD not in repr(told)


def test_someone_logged_in_skips_the_form(world: World) -> None:
    client = world.at_desk("viewer")
    assert client.get("/login?next=/cases").headers["location"] == "/cases"


def test_longest_fields_are_taken_or_refused_never_a_bug(world: World) -> None:
    client = world.client()
    assert log_in(client, "viewer", "p" * 5000).status_code == 422
    assert log_in(client, "v" * 199, "\0\x1b[31m").status_code == 401
    world.later(minutes=6)
    token = form_token(client, "/login")
    assert client.post("/login", data={"csrf": token, "password": "x" * 70_000}).status_code == 413
    assert timedelta(0) < staff.IDLE < staff.LIFETIME
