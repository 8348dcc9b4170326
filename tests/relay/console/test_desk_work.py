from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from relay.model import State
from relay.store import audit, complaints, reporters
from relay.store.emergency import Name
from tests.relay.console.conftest import form_token
from tests.relay.console.desk_work import CARL, RAW, REPORT, held_back, report, turn_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

    from tests.relay.console.conftest import World

    Token = Callable[..., dict[str, str]]

ANNA = "anna@acme.example"


def post(client: TestClient, path: str, **fields: Any) -> Any:
    return client.post(path, data={"csrf": form_token(client, "/me"), **fields})


# --- emergency switches


def test_every_page_says_that_a_switch_is_on_until_it_ends(world: World) -> None:
    turn_on(world, Name.BRAKE)
    turn_on(world, Name.BYPASS, hours=2)
    client = world.at_desk("viewer")
    for path in ("/", "/accounts", "/held", f"/accounts/{ANNA}", "/me"):
        text = client.get(path).text
        assert "Brake is on: mail is taken, and none is delivered" in text, path
        assert "Bypass is on: nothing is refused, held or slowed" in text
        assert "Staff (eve): queues overflow" in text
        assert "/switches/" not in text, "a viewer ends nothing"
    world.later(hours=1, seconds=1)
    text = world.at_desk("viewer").get("/accounts").text
    assert "Brake is on" not in text
    assert "Bypass is on" in text


def test_who_may_ends_a_switch_with_a_reason(world: World, token: Token) -> None:
    turn_on(world, Name.BRAKE)
    client = world.at_desk("abuse")
    assert "/switches/brake/off" in client.get("/accounts").text
    header = token("read")
    (line,) = world.client().get("/api/v1/switches", headers=header).json()["switches"]
    assert (line["name"], line["set_by"], line["reason"]) == ("brake", "staff:eve", "queues overflow")
    assert post(client, "/switches/brake/off", reason=" ").status_code == 422
    assert post(client, "/switches/engine/off", reason="why not").status_code == 422
    assert post(client, "/switches/brake/off", reason="all is well").headers["location"] == "/?done=switch"
    assert "is on" not in client.get("/accounts").text
    assert world.audit()[0] == ("staff:abuse", "brake off", "brake")
    assert post(client, "/switches/brake/off", reason="twice").headers["location"] == "/"
    assert world.client().get("/api/v1/switches", headers=header).json() == {"switches": []}


# --- decisions that the circuit breaker holds back


@pytest.mark.parametrize(
    ("deed", "action", "state"),
    [
        ("confirm", "deactivate", State.DEACTIVATED),
        ("confirm", "suspend", State.SUSPENDED),
        ("dismiss", "deactivate", State.ACTIVE),
        ("reinstate", "suspend", State.ACTIVE),
    ],
)
def test_staff_decide_what_the_breaker_held_back(world: World, deed: str, action: str, state: State) -> None:
    cases = [held_back(world, login, action) for login in (CARL, ANNA)]
    client = world.at_desk("support")
    text = client.get("/held-back").text
    assert all(case in text for case in cases)
    assert "14 complaints of 900 relayed" in text
    world.later(minutes=5)
    done = post(client, "/held-back", deed=deed, id=cases, reason="looked at both")
    assert done.headers["location"] == f"/held-back?done={deed}&count=2"
    assert "Nothing is held back" in client.get("/held-back").text
    for login in (CARL, ANNA):
        standing = world.account(login).standing
        assert standing.state is state
        if deed == "confirm":
            assert standing.reason == "14 complaints of 900 relayed (confirmed by staff: looked at both)"
            assert (standing.until is None) == (action == "suspend")
    again = post(client, "/held-back", deed="confirm", id=cases, reason="a second time")
    assert again.headers["location"].endswith("count=0"), "what is decided stays decided"
    assert world.account(CARL).standing.state is state


def test_what_was_decided_elsewhere_waits_no_more(world: World) -> None:
    held_back(world)
    world.later(minutes=1)
    world.suspend(CARL)
    assert "Nothing is held back" in world.at_desk("viewer").get("/held-back").text


def test_a_second_case_of_an_account_takes_the_place_of_the_first(world: World) -> None:
    first = held_back(world)
    world.later(hours=25)
    second = held_back(world)
    text = world.at_desk("viewer").get("/held-back").text
    assert second in text
    assert first not in text
    world.later(days=8)
    assert "Nothing is held back" in world.at_desk("viewer").get("/held-back").text


def test_programs_decide_the_same(world: World, token: Token) -> None:
    case, client, path = held_back(world), world.client(), "/api/v1/held-back"
    header = token("read", "standing")
    (line,) = client.get(path, headers=header).json()["decisions"]
    assert (line["case_id"], line["login"], line["wanted"]) == (case, CARL, "deactivated")
    wish = {"deed": "confirm", "cases": [case], "reason": "by the night shift"}
    assert client.post(path, json=wish, headers=token("read")).status_code == 403
    world.later(minutes=1)
    assert client.post(path, json=wish, headers=header).json() == {"done": 1}
    assert world.account(CARL).standing.state is State.DEACTIVATED


@pytest.mark.parametrize("path", ["held-back", "switches", "reporters"])
def test_the_providers_own_is_no_customers(world: World, token: Token, path: str) -> None:
    assert world.client().get(f"/api/v1/{path}", headers=token("read", customer="acme")).status_code == 404


# --- reports that nobody could parse


def test_a_report_is_shown_for_a_reason_only_and_as_text(world: World) -> None:
    report(world)
    client = world.at_desk("abuse")
    assert "no part is a report" in client.get("/reports").text
    assert "you spam me" not in client.get(f"/reports/{REPORT}").text
    assert post(client, f"/reports/{REPORT}/look", reason="").status_code == 422
    text = post(client, f"/reports/{REPORT}/look", reason="what is it").text
    assert "&lt;b&gt;you spam me&lt;/b&gt;" in text
    assert world.audit()[0] == ("staff:abuse", "feedback.look", f"report {REPORT}")


def test_a_report_is_recorded_about_the_message_that_staff_name(world: World) -> None:
    report(world)
    number = world.sent(ANNA)
    client = world.at_desk("abuse")
    missing = post(client, f"/reports/{REPORT}", message="0" * 16, reason="it says so")
    assert missing.status_code == 422
    assert "there is no message" in missing.text
    odd = post(client, f"/reports/{REPORT}", message=number, recipients="nobody", reason="it says so")
    assert odd.status_code == 422
    done = post(client, f"/reports/{REPORT}", message=number, type="abuse", reason="it quotes it")
    assert done.headers["location"] == "/reports?done=counted"
    with world.store.read() as tx:
        assert complaints.waiting(tx) == []
        assert complaints.about_message(tx, number)[0]["counted"]
    assert [one[1] for one in world.audit()[:2]] == ["feedback.assign", "feedback.record"]
    assert client.get(f"/reports/{REPORT}").status_code == 404


def test_reports_are_dropped_at_once(world: World) -> None:
    numbers = [report(world, letter * 64) for letter in "abc"]
    client = world.at_desk("abuse")
    assert post(client, "/reports", reason="noise").status_code == 422
    done = post(client, "/reports", id=[*numbers[:2], "f" * 64], reason="noise")
    assert done.headers["location"] == "/reports?done=dropped&count=2"
    text = client.get("/reports").text
    assert numbers[2] in text
    assert numbers[0] not in text


def test_what_cannot_be_decrypted_is_said(world: World) -> None:
    report(world, raw=RAW)
    with world.store.begin() as tx:
        complaints.drop_waiting(tx, REPORT)
        complaints.keep_waiting(tx, world.now, REPORT, "odd", b"\1" + bytes(40))
    answer = post(world.at_desk("abuse"), f"/reports/{REPORT}/look", reason="what is it")
    assert answer.status_code == 422
    assert "cannot be read" in answer.text


# --- reporters


def test_the_registry_is_listed_grown_changed_and_shortened(world: World, token: Token) -> None:
    client = world.at_desk("abuse")
    fields = {
        "domain": "FBL.isp.example.",
        "covers": "isp.example, isp.test\r\nmail.isp.test",
        "trust": "watch",
    }
    assert post(client, "/reporters", **fields, cap="50").status_code == 303
    (line,) = world.client().get("/api/v1/reporters", headers=token("read")).json()["reporters"]
    assert line | {"added_at": ""} == {
        "domain": "fbl.isp.example", "covers": ["isp.example", "isp.test", "mail.isp.test"], "key": "DNS",
        "trust": "watch", "cap": 50, "added_at": "",
    }  # fmt: skip
    assert post(client, "/reporters", **fields).status_code == 409
    post(client, "/reporters/fbl.isp.example", deed="change", trust="full", cap="")
    with world.store.read() as tx:
        (found,) = reporters.reporters(tx)
        assert (found.watched, found.cap) == (False, None)
    assert "fbl.isp.example" in world.at_desk("viewer").get("/reporters").text
    post(client, "/reporters/fbl.isp.example", deed="remove")
    assert "Nobody is listed" in client.get("/reporters").text
    deeds = [one[1] for one in world.audit() if one[1].startswith("reporter")]
    assert deeds == ["reporter removed", "reporter changed", "reporter added"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"domain": "no domain"},
        {"covers": ""},
        {"covers": "a b@c"},
        {"cap": "many"},
        {"cap": "0"},
        {"key": "x"},
    ],
)
def test_a_reporter_that_cannot_be_is_refused(world: World, wrong: dict[str, str]) -> None:
    fields = {"domain": "fbl.isp.example", "covers": "isp.example", **wrong}
    assert post(world.at_desk("abuse"), "/reporters", **fields).status_code == 422


# --- suppressions


def test_one_address_is_asked_about_refused_and_let_go(world: World) -> None:
    client = world.at_desk("support")
    who = {"customer": "acme", "address": "Ben@there.example"}
    assert "Nothing is known" in post(client, "/suppressions", **who, deed="find").text
    text = post(client, "/suppressions", **who, deed="add", **{"for": "2d"}).text
    assert "is refused from now on" in text
    assert "manual" in text
    assert "by hand" in client.get("/suppressions?customer=acme").text
    assert "Nothing is known" in post(client, "/suppressions", **who, deed="clear").text
    with world.store.read() as tx:
        rows = audit.entries(tx, object="customer acme")
    assert [row.action for row in rows] == ["suppression cleared", "suppression added"]
    assert "there.example" not in str(rows)


def test_a_viewer_asks_and_changes_nothing(world: World) -> None:
    client = world.at_desk("viewer")
    who = {"customer": "acme", "address": "ben@there.example"}
    assert post(client, "/suppressions", **who, deed="find").status_code == 200
    assert post(client, "/suppressions", **who, deed="add").status_code == 403


@pytest.mark.parametrize("wrong", [{"address": "ben"}, {"for": "soon"}, {"deed": "forget"}])
def test_what_is_no_address_or_time_is_said(world: World, wrong: dict[str, str]) -> None:
    fields = {"customer": "acme", "address": "ben@there.example", "deed": "add", **wrong}
    assert post(world.at_desk("support"), "/suppressions", **fields).status_code == 422


# --- teaching


@pytest.mark.parametrize(("deed", "kind"), [("release", "ham"), ("delete", "spam"), ("digest", "spam")])
def test_staff_teach_the_classifier_by_what_they_decide(world: World, deed: str, kind: str) -> None:
    world.config = world.config.model_copy(update={"folder": world.folder})
    number, client = world.waits(ANNA), world.at_desk("abuse")
    done = post(client, "/held", deed=deed, id=[number], reason="plain to see", teach="1")
    assert done.headers["location"] == "/held?done=taught&count=1"
    assert (world.folder / "classifier.model").exists()
    with world.store.read() as tx:
        entry = audit.entries(tx, limit=1)[0]
    assert (entry.action, entry.object) == ("classifier.learn", f"message {number}")
    assert entry.details == {"as": kind, "messages": [number]}


def test_nothing_is_learned_unless_asked_for(world: World) -> None:
    world.config = world.config.model_copy(update={"folder": world.folder})
    number, client = world.waits(ANNA), world.at_desk("abuse")
    post(client, "/held", deed="delete", id=[number], reason="plain to see")
    assert not (world.folder / "classifier.model").exists()


def test_a_model_that_cannot_be_written_is_said_and_the_deed_is_done(world: World) -> None:
    (world.folder / "classifier.model").mkdir()
    world.config = world.config.model_copy(update={"folder": world.folder})
    number, client = world.waits(ANNA), world.at_desk("abuse")
    done = post(client, "/held", deed="delete", id=[number], reason="plain to see", teach="1")
    assert done.headers["location"] == "/held?done=untaught&count=1"
    assert "nothing was learned" in client.get(done.headers["location"]).text
    assert world.waiting(number) is None
