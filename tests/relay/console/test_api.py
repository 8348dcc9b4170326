from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from relay.clock import micros
from relay.console.login import csrf_of
from relay.model import Level, State
from relay.store import schema, switch, tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.relay.console.conftest import World

    Token = Callable[..., dict[str, str]]

LOGIN, FOREIGN = "anna@acme.example", "anna@globex.example"


def complain(world: World, login: str, number: int, **more: Any) -> None:
    account = world.account(login)
    facts = {
        "id": f"report-{number}",
        "at_us": micros(world.now),
        "feedback_type": "abuse",
        "grade": "A",
        "reporter": "fbl.example",
        "account_id": account.id,
        "server_id": account.server.id,
        "customer_id": account.customer.id,
        "counted": True,
        "why": "listed reporter",
    }
    with world.store.begin() as tx:
        tx.execute(insert(schema.complaint).values(facts | more))


def test_openapi_is_readable_by_anyone_and_its_paths_are_absolute(world: World) -> None:
    page = world.client().get("/api/v1/openapi.json")
    assert page.status_code == 200
    paths = page.json()["paths"]
    assert {"/api/v1/stats", "/api/v1/accounts", "/api/v1/audit", "/api/v1/complaints"} <= set(paths)
    assert all(path.startswith("/api/v1/") for path in paths)
    for operations in paths.values():
        for operation in operations.values():
            assert operation["description"]
            assert {"401", "403", "404"} <= set(operation["responses"])


def test_co_15_tokens_open_by_header_alone(world: World, token: Token) -> None:
    client, header = world.client(), token("read")
    text = header["authorization"].removeprefix("Bearer ")
    assert client.get("/api/v1/accounts", headers=header).status_code == 200
    for name in ("token", "access_token", "api_key"):
        refused = client.get(f"/api/v1/accounts?{name}={text}")
        assert refused.status_code == 400
        assert text not in refused.text
    for wrong in ("", "Bearer", "Bearer ", f"Bearer {text}x", f"Basic {text}", "Bearer " + "x" * 5000, text):
        answer = client.get("/api/v1/accounts", headers={"authorization": wrong})
        assert answer.status_code == 401, wrong[:30]
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert len(text) >= 38
    assert text.encode() not in (world.folder / "gatepost.db").read_bytes()


def test_co_15_tokens_end(world: World, token: Token) -> None:
    client, header = world.client(), token("read", expires_at=world.now + timedelta(days=1))
    assert client.get("/api/v1/accounts", headers=header).status_code == 200
    world.later(days=1)
    assert client.get("/api/v1/accounts", headers=header).status_code == 401
    lasting = token("read")
    with world.store.begin() as tx:
        tokens.revoke(tx, world.now, lasting["authorization"].removeprefix("Bearer ")[:11])
    assert client.get("/api/v1/accounts", headers=lasting).status_code == 401


def test_co_15_a_token_is_shown_once(world: World) -> None:
    client = world.at_desk("admin")
    form = {"csrf": csrf_of(client.cookies["gatepost-session"]), "name": "night report", "scope": "read"}
    page = client.post("/tokens", data=form).text
    text = page[page.index("<pre>") + 5 : page.index("</pre>")]
    assert client.get("/api/v1/stats", headers={"authorization": f"Bearer {text}"}).status_code == 200
    listed = client.get("/tokens").text
    assert text[:11] in listed
    assert text not in listed
    assert text not in str(world.audit())
    for wrong in (
        {"scope": "everything"},
        {"name": " "},
        {"days": "9999"},
        {"customer": "acme", "scope": "audit"},
    ):
        assert client.post("/tokens", data=form | wrong).status_code == 422, wrong
    client.post(f"/tokens/{text[:11]}/revoke", data=form)
    assert client.get("/api/v1/stats", headers={"authorization": f"Bearer {text}"}).status_code == 401


def test_scopes_are_held(world: World, token: Token) -> None:
    client = world.client()
    wish = {"state": "suspended", "reason": "by program"}
    path = f"/api/v1/accounts/{LOGIN}/standing"
    assert client.post(path, json=wish, headers=token("read")).status_code == 403
    assert client.get("/api/v1/audit", headers=token("read")).status_code == 403
    assert client.get("/api/v1/accounts", headers=token("standing")).status_code == 403
    assert world.audit()[0][1] == "forbidden"
    done = client.post(path, json=wish, headers=token("standing"))
    assert done.status_code == 200
    assert done.json()["state"] == "suspended"
    assert done.json()["set_by"].startswith("token:gp_")
    assert world.account(LOGIN).standing.state is State.SUSPENDED
    assert client.get("/api/v1/audit", headers=token("audit")).json()["entries"][0]["reason"] == "by program"


def test_a_cookie_reads_but_never_changes(world: World) -> None:
    client = world.at_desk("admin")
    assert client.get("/api/v1/accounts").status_code == 200
    assert client.get("/api/v1/accounts", headers={"origin": "https://evil.example"}).status_code == 403
    wish = {"state": "suspended", "reason": "forged"}
    assert client.post(f"/api/v1/accounts/{LOGIN}/standing", json=wish).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"state": "suspended", "reason": "why not", "role": "admin"},
        {"state": "suspended", "reason": "why not", "account_id": 1},
        {"state": "suspended", "reason": "why not", "balance": 5},
        {"state": "closed", "reason": "why not"},
        {"state": "suspended"},
        {"state": "suspended", "reason": ""},
        {"state": "deactivated", "reason": "why not", "for": "never"},
        {"state": "suspended", "reason": "why not", "version": -1},
        {"state": "suspended", "reason": "why not", "version": 10**30},
        [],
        "suspended",
        None,
    ],
)
def test_co_13_fields_that_do_not_belong_are_refused(world: World, token: Token, body: object) -> None:
    path = f"/api/v1/accounts/{LOGIN}/standing"
    assert world.client().post(path, json=body, headers=token("standing")).status_code == 422
    assert world.account(LOGIN).standing.state is State.ACTIVE


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 30_000, b'{"state":' * 2000])
def test_co_13_json_that_is_none(world: World, token: Token, body: bytes) -> None:
    header = token("standing") | {"content-type": "application/json"}
    answer = world.client().post(f"/api/v1/accounts/{LOGIN}/standing", content=body, headers=header)
    assert answer.status_code in (400, 422)
    assert answer.json()["id"]


WILD = [
    "sort=id;drop",
    "limit=1000000000",
    "limit=0",
    "limit=-1",
    "limit=501",
    "offset=-1",
    "account_id=1",
    "q=" + "%25" * 1000,
    "cursor=x'%20or%201=1",
    "limit=1&limit=abc",
]


@pytest.mark.parametrize("path", ["accounts", "complaints", "cases", "audit", "customers", "servers"])
def test_co_14_wild_queries(world: World, token: Token, path: str) -> None:
    client, header = world.client(), token("read", "audit")
    for query in WILD:
        answer = client.get(f"/api/v1/{path}?{query}", headers=header)
        # any text is a place in the order of logins
        assert answer.status_code == 422 or (path == "accounts" and query.startswith("cursor")), query


def test_co_14_search_takes_everything_as_text(world: World, token: Token) -> None:
    client, header = world.client(), token("read")
    for text in ("%", "_", "!", "'", '"', "\\", "%%%", "a" * 200, "\0", "ü", "<script>"):
        answer = client.get("/api/v1/accounts", params={"q": text}, headers=header)
        assert answer.json() == {"accounts": [], "next": None}, text


def _operations(world: World) -> list[tuple[str, str]]:
    paths = world.client().get("/api/v1/openapi.json").json()["paths"]
    return sorted((verb.upper(), path) for path, verbs in paths.items() for verb in verbs if "{" in path)


def test_te_03_foreign_and_missing_answer_alike(world: World, token: Token) -> None:
    """Every operation of the API that names an object, with another customer's and with none."""
    case, message = world.suspend(FOREIGN), world.sent(FOREIGN)
    foreign = {"login": FOREIGN, "name": "globex", "case_id": case, "message_id": message}
    missing = {"login": "no@acme.example", "name": "nobody", "case_id": "zzzz-zzzz", "message_id": "0" * 16}
    header = token("read", "standing", "pause", customer="acme")
    client = world.client()

    def ask(verb: str, path: str, names: dict[str, str]) -> tuple[int, str]:
        for name, value in names.items():
            path = path.replace("{" + name + "}", value)
        wish = {"paused": False} if path.endswith("/pause") else {"state": "active"}
        body = {**wish, "reason": "mine now"} if verb == "POST" else None
        answer = client.request(verb, path, json=body, headers=header)
        return answer.status_code, answer.json()["detail"]

    operations = _operations(world)
    assert len(operations) >= 6
    for verb, path in operations:
        assert ask(verb, path, foreign) == ask(verb, path, missing) == (404, "There is nothing here."), path
    assert world.account(FOREIGN).standing.state is State.SUSPENDED


def test_te_04_no_list_holds_a_foreign_row(world: World, token: Token) -> None:
    world.suspend(FOREIGN)
    world.suspend(LOGIN)
    for number, login in enumerate((LOGIN, FOREIGN)):
        world.sent(login)
        complain(world, login, number)
    complain(world, FOREIGN, 7, account_id=None, grade="C")
    header, client = token("read", customer="acme"), world.client()
    for path in (
        "accounts",
        "accounts?q=globex",
        "accounts?customer=globex",
        "complaints",
        f"complaints?login={FOREIGN}",
        "cases",
        "customers",
        "servers",
        "customers?q=g",
    ):
        answer = client.get(f"/api/v1/{path}", headers=header)
        assert answer.status_code == 200
        assert "globex" not in answer.text, path
        whole = client.get(f"/api/v1/{path}", headers=token("read"))
        assert "globex" in whole.text, path
    assert client.get("/api/v1/stats", headers=header).json()["totals"]["deliver"] == 1
    assert client.get(f"/api/v1/stats?account={FOREIGN}", headers=header).status_code == 404
    assert client.get("/api/v1/audit", headers=header).status_code == 403


def test_cf_18_a_customers_token_sees_no_reporter_and_no_address_but_its_own(
    world: World, token: Token
) -> None:
    complain(world, LOGIN, 1, why="the message went to nobody at the domains that fbl.example covers")
    world.suspend(LOGIN, f"{LOGIN}: ben@elsewhere.example called twice")
    header, client = token("read", customer="acme"), world.client()
    (line,) = client.get("/api/v1/complaints", headers=header).json()["complaints"]
    assert (line["reporter"], line["why"], line["counted"]) == ("", "", True)
    assert client.get("/api/v1/complaints?reporter=fbl.example", headers=header).status_code == 422
    (case,) = client.get("/api/v1/cases", headers=header).json()["cases"]
    assert case["reason"] == f"{LOGIN}: … called twice"
    whole = client.get("/api/v1/complaints?reporter=fbl.example", headers=token("read")).json()
    assert whole["complaints"][0]["why"]


def test_what_is_closed_stays_closed(world: World, token: Token) -> None:
    with world.store.begin() as tx:
        switch.set_by_staff(tx, world.now, Level.ACCOUNT, LOGIN, State.CLOSED, reason="has left")
    wish = {"state": "active", "reason": "wants back"}
    path = f"/api/v1/accounts/{LOGIN}/standing"
    assert world.client().post(path, json=wish, headers=token("standing")).status_code == 409
    assert world.account(LOGIN).standing.state is State.CLOSED


def test_an_account_says_everything_that_decides(world: World, token: Token) -> None:
    case = world.suspend(LOGIN, "spam run")
    found = world.client().get(f"/api/v1/accounts/{LOGIN}", headers=token("read")).json()
    assert (found["login"], found["customer"], found["class"]) == (LOGIN, "acme", "app")
    assert found["effective"]["state"] == found["standing"]["state"] == "suspended"
    assert found["standing"]["case_id"] == case
    assert found["customer_standing"]["state"] == "active"
    assert found["tally"]["votes"] == 0
    assert found["evidence"]["set_by"] == "staff:abuse"
    assert "password" not in str(found).lower()


def test_pages_of_a_list_join_without_gap_or_double(world: World, token: Token) -> None:
    ids = [world.sent(LOGIN) for _ in range(7)]
    client, header, seen, cursor = world.client(), token("read"), list[str](), ""
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = client.get(f"/api/v1/accounts/{LOGIN}/messages", params=query, headers=header).json()
        seen += [message["id"] for message in page["messages"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert sorted(seen) == sorted(ids)
    logins = client.get("/api/v1/accounts?limit=1", headers=header).json()
    rest = client.get("/api/v1/accounts", params={"cursor": logins["next"]}, headers=header).json()
    assert [row["login"] for row in logins["accounts"] + rest["accounts"]] == [LOGIN, FOREIGN]


def test_messages_tell_nothing_about_recipients(world: World, token: Token) -> None:
    message = world.sent(LOGIN, recipients=b"\x11" * 64, recipient_count=2)
    found = world.client().get(f"/api/v1/messages/{message}", headers=token("read")).json()
    assert found["recipients"] == 2
    assert "11" * 16 not in str(found)
    assert not {"subject", "body", "body_hash", "message_id_hash"} & set(found)


def test_stats_count_by_decision_and_step(world: World, token: Token) -> None:
    client, header = world.client(world.app()), token("read")
    for action in ("deliver", "deliver", "refuse"):
        world.sent(LOGIN, action=action)
    world.later(minutes=3)
    world.sent(FOREIGN, action="hold")
    stats = client.get("/api/v1/stats?window=1h", headers=header).json()
    assert stats["totals"] == {"deliver": 2, "tag": 0, "hold": 1, "refuse": 1, "defer": 0}
    assert len(stats["at"]) == len(stats["series"]["deliver"]) == 60
    assert stats["series"]["deliver"][-4] == 2
    assert stats["series"]["hold"][-1] == 1
    one = client.get(f"/api/v1/stats?window=24h&account={LOGIN}", headers=header).json()
    assert one["totals"]["deliver"] == 2
    assert one["totals"]["hold"] == 0
    assert client.get("/api/v1/stats?window=1y", headers=header).status_code == 422
    assert client.get("/api/v1/stats?account=nobody", headers=header).status_code == 404


def test_stats_remember_what_is_over_and_see_what_is_new(world: World, token: Token) -> None:
    client, header = world.client(world.app()), token("read")
    totals = []
    for _ in range(90):
        world.sent(LOGIN)
        totals.append(client.get("/api/v1/stats?window=1h", headers=header).json()["totals"]["deliver"])
        world.later(minutes=1)
    assert totals == [min(minute + 1, 60) for minute in range(90)]


def test_a_stale_version_is_a_conflict(world: World, token: Token) -> None:
    wish = {"state": "suspended", "reason": "because", "version": 0}
    path, header = f"/api/v1/accounts/{LOGIN}/standing", token("standing")
    assert world.client().post(path, json=wish, headers=header).status_code == 200
    again = world.client().post(path, json=wish | {"state": "active"}, headers=header)
    assert again.status_code == 409
    assert world.account(LOGIN).standing.state is State.SUSPENDED
