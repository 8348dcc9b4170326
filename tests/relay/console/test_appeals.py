"""Appeals by the signed link of a notice, and what staff make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.console.login import csrf_of
from relay.notices import appeal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.relay.console.conftest import World

LOGIN = "anna@acme.example"


def link(world: World, case_id: str) -> str:
    return f"/appeal/{case_id}/{appeal.signature(world.keyring, case_id)}"


def test_an_appeal_opens_a_case_once_and_staff_close_it(world: World) -> None:
    case_id = world.suspend(LOGIN)
    stranger = world.client()
    page = stranger.get(link(world, case_id))
    assert page.status_code == 200
    assert "spam run" in page.text
    assert world.at_desk("support").get("/appeals").text.count("blockquote") == 0  # looking opens nothing
    sent = stranger.post(link(world, case_id), data={"words": "This is my own <b>newsletter</b>."})
    assert sent.status_code == 200
    assert "is with our staff" in sent.text
    assert stranger.post(link(world, case_id), data={"words": "again"}).status_code == 409
    desk = world.at_desk("support")
    listed = desk.get("/appeals").text
    assert "This is my own &lt;b&gt;newsletter&lt;/b&gt;." in listed
    assert f"the customer appeals against case {case_id}" in desk.get("/cases").text
    csrf = csrf_of(desk.cookies["gatepost-session"])
    closed = desk.post(f"/appeals/{case_id}", data={"csrf": csrf, "answer": "it was ours"})
    assert closed.status_code == 303
    assert case_id not in desk.get("/appeals").text
    assert world.audit()[0] == ("staff:support", "appeal closed", f"case {case_id}")


@pytest.mark.parametrize("path", ["/appeal/C-9/0", "/appeal/{case}/" + "0" * 32, "/appeal/{case}/é"])
def test_a_link_that_is_not_ours_leads_nowhere(world: World, path: str) -> None:
    case_id = world.suspend(LOGIN)
    client = world.client()
    assert client.get(path.format(case=case_id)).status_code == 404
    assert client.post(path.format(case=case_id), data={"words": "let me in"}).status_code == 404


def test_an_appeal_says_something_and_not_too_much(world: World) -> None:
    path = link(world, world.suspend(LOGIN))
    assert world.client().post(path, data={"words": "  "}).status_code == 422
    assert world.client().post(path, data={"words": "x" * 4001}).status_code == 422
    assert (
        world.client().post(path, data={"words": "x"}, headers={"origin": "https://else.example"}).status_code
        == 403
    )


def test_an_owner_pauses_its_own_accounts_and_no_others(
    world: World, token: Callable[..., dict[str, str]]
) -> None:
    path, client = f"/api/v1/accounts/{LOGIN}/pause", world.client()
    own, other = token("pause", customer="acme"), token("pause", customer="globex")
    answer = client.post(path, json={"paused": True}, headers=own)
    assert (answer.status_code, answer.json()["state"]) == (200, "suspended")
    assert str(world.account(LOGIN).effective.state) == "suspended"
    assert str(world.account(LOGIN).standing.state) == "active"
    assert client.post(path, json={"paused": False}, headers=other).status_code == 404
    assert client.post(path, json={"paused": False}, headers=token("read")).status_code == 403
    assert client.post(path, json={"paused": False}, headers=own).json()["state"] == "active"
