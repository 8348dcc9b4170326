from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.console.evidence import sentence
from relay.console.login import csrf_of
from relay.events import StandingChanged
from relay.model import State
from relay.store import views

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

    from tests.relay.console.conftest import World

LOGIN = "anna@acme.example"


def change(client: TestClient, path: str = f"/accounts/{LOGIN}", **fields: Any) -> Any:
    form = {"csrf": csrf_of(client.cookies["gatepost-session"]), "state": "suspended", "reason": "spam run"}
    return client.post(f"{path}/standing", data=form | fields)


def test_suspend_tells_why_in_page_case_and_audit(world: World) -> None:
    client = world.at_desk("support")
    answer = change(client, reason="  phishing\nrun, owner called ")
    assert answer.headers["location"] == "/accounts/anna%40acme.example?done=suspended"
    standing = world.account(LOGIN).standing
    assert (standing.state, standing.reason) == (State.SUSPENDED, "phishing run, owner called")
    assert standing.set_by == "staff:support"
    page = client.get(answer.headers["location"]).text
    assert "phishing run, owner called" in page
    assert "Suspended. New recipients are refused within a second." in page
    assert standing.case_id
    assert standing.case_id in page
    assert world.audit()[0] == ("staff:support", "account suspended", f"account {LOGIN}")
    assert [event.subject for event in world.events if isinstance(event, StandingChanged)] == [LOGIN]


def test_reinstate_and_deactivate_for_a_while(world: World) -> None:
    client = world.at_desk("support")
    change(client, state="deactivated", **{"for": "6h"})
    standing = world.account(LOGIN).standing
    assert standing.state is State.DEACTIVATED
    assert standing.until == world.now + timedelta(hours=6)
    change(client, state="active", reason="password changed")
    assert world.account(LOGIN).standing.state is State.ACTIVE
    assert world.account(LOGIN).standing.until is None


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": ""},
        {"reason": "  x "},
        {"state": "closed"},
        {"state": "throttled"},
        {"state": ""},
        {"state": "deactivated", "for": "10 years"},
        {"state": "deactivated", "for": "400d"},
        {"state": "deactivated", "for": "0s"},
        {"state": "deactivated", "for": "9" * 20},
        {"version": "-1"},
        {"version": "many"},
        {"reason": "r" * 3000},
    ],
)
def test_a_wish_that_makes_no_sense_changes_nothing(world: World, fields: dict[str, str]) -> None:
    client = world.at_desk("support")
    assert change(client, **fields).status_code == 422
    assert world.account(LOGIN).standing.state is State.ACTIVE


def test_two_who_decide_at_once_cannot_both_be_right(world: World) -> None:
    client = world.at_desk("support")
    looked_at = world.account(LOGIN).standing.version
    world.suspend(LOGIN, "by a colleague")
    answer = change(client, state="deactivated", version=str(looked_at))
    assert answer.status_code == 409
    assert world.account(LOGIN).standing.reason == "by a colleague"


def test_servers_and_customers_have_the_same_standings(world: World) -> None:
    client = world.at_desk("abuse")
    assert change(client, "/servers/acme", reason="three accounts fell").status_code == 303
    assert change(client, "/customers/globex", reason="unpaid").status_code == 303
    assert world.account(LOGIN).effective.state is State.SUSPENDED
    page = client.get(f"/accounts/{LOGIN}").text
    assert "three accounts fell" in page
    assert "the account itself is active" in page
    assert "unpaid" in client.get("/customers/globex").text
    assert "unpaid" in client.get("/accounts/anna@globex.example").text
    assert "suspended" in client.get("/accounts").text


def test_unknown_subject_is_404(world: World) -> None:
    client = world.at_desk("admin")
    assert change(client, "/accounts/nobody@acme.example").status_code == 404
    assert change(client, "/servers/nobody").status_code == 404


def test_a_viewer_sees_why_but_no_button(world: World) -> None:
    world.suspend(LOGIN, "phishing")
    page = world.at_desk("viewer").get(f"/accounts/{LOGIN}").text
    assert "phishing" in page
    assert "Change standing" not in page
    assert "Your role (viewer) reads here" in page


def test_timeline_tells_everything_newest_first(world: World) -> None:
    client = world.at_desk("support")
    change(client, reason="first reason")
    world.later(minutes=5)
    change(client, state="active", reason="second reason")
    page = client.get(f"/accounts/{LOGIN}").text
    timeline = page[page.index('id="timeline-title"') :]
    assert timeline.index("second reason") < timeline.index("first reason") < timeline.index("created")


def test_find_goes_to_what_was_named(world: World) -> None:
    client = world.at_desk("viewer")
    case, message = world.suspend(LOGIN), world.sent(LOGIN)

    def goal(text: str) -> str:
        return str(client.get("/find", params={"q": text}).headers["location"])

    assert goal(case.upper()) == f"/explain/{case}"
    assert goal(f" {message} ") == f"/explain/{message}"
    assert goal("ANNA@acme") == "/accounts/anna%40acme.example"
    assert goal("anna") == "/accounts?q=anna"
    assert goal("zzzz-zzzz") == "/accounts?q=zzzz-zzzz"
    assert goal("//evil.example") == "/accounts?q=%2F%2Fevil.example"
    assert goal("") == "/accounts?q="


QUOTING = [{"rule": "links_to_shortener", "score": 9.5, "evidence": "short.example/canary"}]


@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("support", False), ("abuse", True)])
def test_only_who_may_look_at_mail_sees_what_rules_quote_from_it(
    world: World, role: str, *, sees: bool
) -> None:
    message = world.sent(LOGIN, action="hold", score=9.5, hits=QUOTING)
    desk = world.at_desk(role)
    for path in (f"/explain/{message}", f"/accounts/{LOGIN}", f"/api/v1/messages/{message}"):
        page = desk.get(path).text
        assert "links_to_shortener" in page
        assert ("short.example/canary" in page) is sees, path


def test_a_customers_token_sees_what_rules_quote_from_its_mail_and_the_providers_does_not(
    world: World, token: Callable[..., dict[str, str]]
) -> None:
    world.sent(LOGIN, action="hold", score=9.5, hits=QUOTING)
    path = f"/api/v1/accounts/{LOGIN}/messages"
    own, other = token("read", customer="acme"), token("read")
    assert world.client().get(path, headers=own).json()["messages"][0]["hits"] == QUOTING
    kept = world.client().get(path, headers=other).json()["messages"][0]["hits"]
    assert kept == [{"rule": "links_to_shortener", "score": 9.5}]


def test_a_message_explains_itself(world: World) -> None:
    hits = [{"rule": "gtube", "score": 100.0, "evidence": "the GTUBE string"}]
    refused = world.sent(
        LOGIN, action="refuse", score=100.0, hits=hits, reply_code=550, reply_text="5.7.1 Spam"
    )
    page = world.at_desk("abuse").get(f"/explain/{refused}").text
    assert "Refused: 100.0 points, above all for gtube." in page
    assert "550 5.7.1 Spam" in page
    assert "the GTUBE string" in page
    odd = world.sent(LOGIN, action="refuse", malformed="two From fields")
    assert "Refused for its form: two From fields." in world.at_desk("viewer").get(f"/explain/{odd}").text


@pytest.mark.parametrize(
    ("action", "outcome", "said"),
    [
        ("deliver", "forwarded", "Handed to the customer's server: 1.0 points, above all for r."),
        ("tag", "forwarded", "Handed to the customer's server with a mark: 1.0 points, above all for r."),
        ("deliver", "queued", "waiting in the outbox"),
        ("hold", "held", "Held for staff to look at"),
        ("tag", "refused", "but the customer's server refused it"),
        ("refuse", "refused", "Refused: 1.0 points"),
        ("deliver", "deferred", "but the customer's server put it off"),
        ("defer", "deferred", "Put off, the sender tries again"),
    ],
)
def test_every_end_of_a_message_has_its_sentence(world: World, action: str, outcome: str, said: str) -> None:
    hits = [{"rule": "r", "score": 2.0}, {"rule": "good", "score": -1.0}]
    message = world.sent(LOGIN, action=action, outcome=outcome, score=1.0, hits=hits)
    with world.store.read() as tx:
        row = views.message_by_id(tx, message)
    assert row is not None
    assert said in sentence(row)
