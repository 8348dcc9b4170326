from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import APIRoute

from relay.console.login import csrf_of
from relay.console.roles import GRANTS, May, Role
from relay.store import staff, tokens
from tests.relay.console.conftest import ROLES
from tests.relay.console.desk_work import report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from tests.relay.console.conftest import World

#: What each page needs; a page that is not here fails the test below.
PAGES: dict[tuple[str, str], May | None] = {
    ("GET", "/login"): None,
    ("POST", "/login"): None,
    ("POST", "/logout"): None,
    ("GET", "/metrics"): None,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("POST", "/feedback/{source}"): None,
    ("POST", "/unsubscribe/{text}"): None,
    ("GET", "/unsubscribe/{text}"): None,
    ("GET", "/"): May.READ,
    ("GET", "/find"): May.READ,
    ("GET", "/now"): May.READ,
    ("GET", "/health"): May.READ,
    ("GET", "/audit/chain"): May.AUDIT,
    ("GET", "/accounts"): May.READ,
    ("GET", "/accounts.csv"): May.EXPORT,
    ("GET", "/accounts/{login:path}"): May.READ,
    ("POST", "/accounts/{login:path}/standing"): May.SWITCH_ACCOUNTS,
    ("GET", "/customers"): May.READ,
    ("GET", "/customers/{name:path}"): May.READ,
    ("POST", "/customers/{name:path}/standing"): May.SWITCH_CUSTOMERS,
    ("GET", "/servers"): May.READ,
    ("GET", "/servers/{name:path}"): May.READ,
    ("POST", "/servers/{name:path}/standing"): May.SWITCH_SERVERS,
    ("GET", "/complaints"): May.READ,
    ("GET", "/complaints.csv"): May.EXPORT,
    ("GET", "/cases"): May.READ,
    ("GET", "/held"): May.READ,
    ("POST", "/held"): May.MAIL,
    ("GET", "/outbox"): May.READ,
    ("POST", "/outbox"): May.MAIL,
    ("GET", "/waiting/{number}"): May.READ,
    ("POST", "/waiting/{number}/look"): May.MAIL,
    ("GET", "/explain/{identity}"): May.READ,
    ("GET", "/appeal/{case_id}/{signature}"): None,
    ("POST", "/appeal/{case_id}/{signature}"): None,
    ("GET", "/appeals"): May.SWITCH_ACCOUNTS,
    ("POST", "/appeals/{case_id}"): May.SWITCH_ACCOUNTS,
    ("GET", "/audit"): May.AUDIT,
    ("GET", "/tokens"): May.TOKENS,
    ("POST", "/tokens"): May.TOKENS,
    ("POST", "/tokens/{prefix}/revoke"): May.TOKENS,
    ("GET", "/me"): May.READ,
    ("POST", "/me/password"): May.READ,
    ("POST", "/me/factor"): May.READ,
    ("POST", "/me/factor/remove"): May.READ,
    ("GET", "/staff"): May.STAFF,
    ("POST", "/staff"): May.STAFF,
    ("POST", "/staff/{name}"): May.STAFF,
    ("GET", "/held-back"): May.READ,
    ("POST", "/held-back"): May.SWITCH_ACCOUNTS,
    ("GET", "/reports"): May.MAIL,
    ("POST", "/reports"): May.MAIL,
    ("GET", "/reports/{number}"): May.MAIL,
    ("POST", "/reports/{number}/look"): May.MAIL,
    ("POST", "/reports/{number}"): May.MAIL,
    ("GET", "/reporters"): May.READ,
    ("POST", "/reporters"): May.REPORTERS,
    ("POST", "/reporters/{name}"): May.REPORTERS,
    ("GET", "/suppressions"): May.READ,
    ("POST", "/suppressions"): May.READ,
    ("POST", "/switches/{name}/off"): May.EMERGENCY,
    ("GET", "/api/v1/audit"): May.AUDIT,
}
#: where a form goes back to the page that it is on
PLACES = (
    "/tokens", "/staff", "/held", "/outbox", "/held-back", "/reports", "/reports/{number}", "/reporters",
    "/suppressions",
)  # fmt: skip
_FILL = {
    "{login:path}": "anna@acme.example",
    "{name:path}": "acme",
    "{identity}": "IDENTITY",
    "{number}": "IDENTITY",
    "{prefix}": "PREFIX",
    "{name}": "viewer",
    "{case_id}": "C-1",
    "{signature}": "0",
}


def _routes(routes: list[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (inner := getattr(route, "original_router", None)) is not None:
            yield from _routes(inner.routes)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    found = [(method, route.path) for route in _routes(app.routes) for method in route.methods or ()]
    return sorted(pair for pair in found if pair[0] != "HEAD")


def _address(path: str, message: str, prefix: str) -> str:
    for name, value in _FILL.items():
        path = path.replace(name, value)
    return path.replace("IDENTITY", message).replace("PREFIX", prefix)


def _ask(client: TestClient, method: str, path: str) -> int:
    if method == "GET":
        return int(client.get(path).status_code)
    form = {
        "csrf": csrf_of(client.cookies["gatepost-session"]),
        "state": "suspended",
        "reason": "test of roles",
    }
    return int(client.post(path, data={**form, "name": "n", "scope": "read"}).status_code)


def test_every_page_has_a_place_in_the_table(world: World) -> None:
    pages = {pair for pair in routes(world.app()) if not pair[1].startswith("/api/")}
    assert pages == {pair for pair in PAGES if not pair[1].startswith("/api/")}


@pytest.mark.parametrize("role", ROLES)
def test_co_06_role_by_route(world: World, role: str) -> None:
    app = world.app()
    client = world.at_desk(role, app)
    message = world.waits("anna@acme.example", world.sent("anna@acme.example"))
    report(world, message)
    with world.store.begin() as tx:
        prefix = tokens.make(tx, world.now, "t", scopes=["read"], made_by="test")[:11]
    for (method, path), may in PAGES.items():
        if may is None:
            continue
        before = len(world.audit())
        status = _ask(client, method, _address(path, message, prefix))
        if may in GRANTS[Role(role)]:
            assert status in (200, 303, 422), (method, path, status)
            assert status != 422 or method == "POST"
            continue
        assert status == 403, (method, path)
        who, action, deed = world.audit()[0]
        assert (len(world.audit()), who, action) == (before + 1, f"staff:{role}", "forbidden")
        assert deed.startswith(f"{method} /")


def test_co_06_each_role_may_all_that_the_one_before_may() -> None:
    grants = [GRANTS[Role(role)] for role in ROLES]
    assert all(less < more for less, more in pairwise(grants))


def test_a_role_that_nobody_knows_opens_nothing(world: World) -> None:
    client = world.at_desk("viewer")
    with world.store.begin() as tx:
        staff.add(tx, world.now, "odd", "secret secret", role="wizard")
        session = staff.open_session(tx, world.now, "odd")
    client.cookies.set("gatepost-session", session, domain="testserver.local")
    assert client.get("/").status_code == 303


def test_every_page_but_the_open_ones_asks_strangers_to_log_in(world: World) -> None:
    client = world.client()
    for (method, path), may in PAGES.items():
        if may is None or method != "GET":
            continue
        answer = client.get(_address(path, "0" * 16, "gp_00000000"))
        expected = 401 if path.startswith("/api/") else 303
        assert answer.status_code == expected, path


def test_co_03_no_form_without_its_token_and_no_get_changes_anything(world: World) -> None:
    client = world.at_desk("admin")
    for method, path in PAGES:
        open_ones = ("/feedback/", "/unsubscribe/", "/appeal/")  # they take no form of ours, or a signed link
        if method != "POST" or path == "/login" or path.startswith(open_ones):
            continue
        address = _address(path, "0" * 16, "gp_00000000")
        data = {"state": "suspended", "reason": "forged", "name": "n", "scope": "read"}
        assert client.post(address, data=data).status_code == 403, path
        token = {"csrf": csrf_of(client.cookies["gatepost-session"])}
        foreign = {"origin": "https://evil.example"}
        assert client.post(address, data=data | token, headers=foreign).status_code == 403, path
        if path not in PLACES:
            assert client.get(address, params=data | token).status_code in (404, 405), path
    assert [action for _, action, _ in world.audit()] == ["login"]
    assert world.account("anna@acme.example").effective.state == "active"
