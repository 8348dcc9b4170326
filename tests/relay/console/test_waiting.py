from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from relay.clock import micros
from relay.store import suppression
from tests.relay.console.conftest import form_token

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from tests.relay.console.conftest import World

ANNA, CARL = "anna@acme.example", "anna@globex.example"


def decide(client: TestClient, path: str, what: str, *chosen: str, **more: Any) -> Any:
    data = {"csrf": form_token(client, "/me"), "deed": what, "id": list(chosen), "reason": "looked at it"}
    return client.post(path, data=data | more)


def deeds(world: World) -> list[tuple[str, str]]:
    return [(action, thing) for _, action, thing in world.audit() if action not in ("login", "forbidden")]


def test_the_held_list_tells_why_but_not_what_or_to_whom(world: World) -> None:
    hits = [{"rule": "links_to_shortener", "score": 9.5, "evidence": "short.example/x"}]
    number = world.waits(ANNA, score=9.5, hits=hits)
    client = world.at_desk("viewer")
    for path in ("/held", f"/waiting/{number}"):
        text = client.get(path).text
        assert number in text
        assert "links_to_shortener" in text
        for secret in ("ben@elsewhere.example", "Kanarienvogel", "short.example/x"):
            assert secret not in text
    assert "Your role (viewer) reads here" in client.get("/held").text
    assert "Nothing waits." in client.get("/outbox").text


@pytest.mark.parametrize(("state", "page", "days"), [("held", "/held", 7), ("waiting", "/outbox", 5)])
def test_the_end_is_that_of_the_message_not_of_a_notice_before(
    world: World, state: str, page: str, days: int
) -> None:
    number = world.waits(ANNA, state=state, deadline_us=micros(world.now + timedelta(hours=3)))
    client = world.at_desk("viewer")
    for path in (page, f"/waiting/{number}"):
        assert f">in {days} d</time>" in client.get(path).text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {ANNA, CARL}),
        (f"login={ANNA}", {ANNA}),
        ("login=ann", set()),
        ("customer=globex", {CARL}),
        ("rule=card", {CARL}),
        ("score=8", {CARL}),
        ("campaign=c0ffee", {ANNA}),
        ("older=2h", {ANNA}),
    ],
)
def test_the_held_list_narrows(world: World, query: str, found: set[str]) -> None:
    numbers = {ANNA: world.waits(ANNA, score=7.5, campaign="c0ffee")}
    world.later(hours=3)
    numbers[CARL] = world.waits(CARL, score=9.0, hits=[{"rule": "card", "score": 9.0}])
    text = world.at_desk("viewer").get(f"/held?{query}").text
    assert {login for login, number in numbers.items() if number in text} == found


@pytest.mark.parametrize("age", ["soon", "9999999d", "999999999999999d", "-1d"])
def test_what_is_no_age_is_said(world: World, age: str) -> None:
    answer = world.at_desk("viewer").get(f"/held?older={age}")
    assert answer.status_code == 422
    assert "no length of time" in answer.text


def test_release_lets_chosen_mail_go_and_is_audited(world: World) -> None:
    chosen, other = world.waits(ANNA), world.waits(ANNA)
    answer = decide(world.at_desk("abuse"), "/held", "release", chosen)
    assert (answer.status_code, answer.headers["location"]) == (303, "/held?done=release&count=1")
    released, left = world.waiting(chosen), world.waiting(other)
    assert released is not None
    assert left is not None
    assert (released.state, released.next_us, left.state) == ("waiting", micros(world.now), "held")
    assert deeds(world) == [("held.release", f"message {chosen}")]


def test_release_gives_up_recipients_that_are_suppressed_by_now(world: World) -> None:
    number, owner = world.waits(ANNA), world.account(ANNA)
    hashed = world.keyring.recipient_hash(owner.customer.id, "ben@elsewhere.example")
    with world.store.begin() as tx:
        suppression.add(tx, world.now, owner.customer.id, hashed)
    assert decide(world.at_desk("abuse"), "/held", "release", number).status_code == 303
    assert world.waiting(number) is None


def test_all_that_the_list_shows_is_deleted_but_nothing_that_came_in_since(world: World) -> None:
    old = [world.waits(ANNA) for _ in range(3)] + [world.waits(CARL)]
    client = world.at_desk("abuse")
    world.later(seconds=-60)  # the desk's clock stands before the next message
    new = world.waits(ANNA, at_us=micros(world.now + timedelta(minutes=2)))
    world.later(seconds=61)
    answer = decide(client, f"/held?login={ANNA}", "delete", scope="all")
    assert answer.headers["location"] == "/held?done=delete&count=3"
    assert [world.waiting(number) is None for number in (*old, new)] == [True, True, True, False, False]
    page = client.get(answer.headers["location"]).text
    assert "3 messages. Deleted, without a word to the senders." in page


def test_a_digest_tells_each_account_once(world: World) -> None:
    for _ in range(3):
        world.waits(ANNA)
    client = world.at_desk("abuse")
    world.later(seconds=1)
    decide(client, "/held", "digest", scope="all")
    text = client.get("/outbox").text
    assert text.count('name="id"') == 1


def test_waiting_mail_is_tried_now_given_up_or_deleted(world: World) -> None:
    tried, given_up, deleted = (world.waits(ANNA, state="waiting", reason="queue") for _ in range(3))
    client = world.at_desk("abuse")
    for number, deed in ((tried, "retry"), (given_up, "bounce"), (deleted, "delete")):
        assert decide(client, "/outbox", deed, number).status_code == 303
    row = world.waiting(tried)
    assert row is not None
    assert row.next_us == 0
    assert world.waiting(given_up) is world.waiting(deleted) is None
    assert client.get("/outbox").text.count('name="id"') == 2  # what is tried, and the report


@pytest.mark.parametrize(
    "wrong",
    [{"reason": " x "}, {"deed": "retry"}, {"deed": ""}, {"id": []}],
    ids=["no reason", "deed of the other page", "no deed", "nothing chosen"],
)
def test_half_a_wish_changes_nothing(world: World, wrong: dict[str, Any]) -> None:
    number = world.waits(ANNA)
    answer = decide(world.at_desk("abuse"), "/held", "delete", number, **wrong)
    assert answer.status_code == 422
    assert world.waiting(number) is not None
    assert deeds(world) == []


def test_pr_08_content_is_shown_for_a_reason_and_as_text_only(world: World) -> None:
    number, client = world.waits(ANNA), world.at_desk("abuse")
    path, token = f"/waiting/{number}/look", form_token(client, "/me")
    assert client.post(path, data={"csrf": token, "reason": ""}).status_code == 422
    assert deeds(world) == []
    text = client.post(path, data={"csrf": token, "reason": "customer asked"}).text
    for shown in (
        "Kanarienvogel",
        "ben@elsewhere.example",
        "&lt;script&gt;alert(1)",
        "https://shop.example/x",
    ):
        assert shown in text
    assert "<script>alert" not in text
    assert deeds(world) == [("mail.look", f"message {number}")]


def test_what_is_gone_answers_404(world: World) -> None:
    client = world.at_desk("abuse")
    assert client.get("/waiting/0123456789abcdef").status_code == 404
    token = form_token(client, "/me")
    answer = client.post("/waiting/0123456789abcdef/look", data={"csrf": token, "reason": "customer asked"})
    assert answer.status_code == 404
