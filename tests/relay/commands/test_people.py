from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from relay import clock
from relay.store import tokens

if TYPE_CHECKING:
    from tests.relay.commands.conftest import Place


def test_an_admin_who_lost_the_password_gets_in_again(place: Place) -> None:
    made = place.json("staff", "password", "admin")
    person = place.verify("admin", made["password"])
    assert person is not None
    assert (person.role, person.totp) == ("admin", None)


def test_people_are_added_listed_changed_and_locked_out(place: Place) -> None:
    made = place.json("staff", "add", "eve", "--role", "support")
    assert place.verify("eve", made["password"]) is not None
    place.run("staff", "change", "eve", "--role", "abuse", "--disable")
    assert place.verify("eve", made["password"]) is None
    eve = next(one for one in place.json("staff", "list") if one["name"] == "eve")
    assert eve == {"name": "eve", "role": "abuse", "second_factor": False, "disabled": True}
    place.run("staff", "change", "eve", "--enable")
    assert place.verify("eve", made["password"]) is not None
    assert "eve" in place.run("staff", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("staff", "add", "admin", "--role", "viewer"), 1, "exists already"),
        (("staff", "add", "eve", "--role", "king"), 2, "king"),
        (("staff", "change", "admin"), 2, "give --role"),
        (("staff", "password", "nobody"), 1, "no staff nobody"),
        (("token", "revoke", "gp_00000000"), 1, "no token"),
        (("token", "add", "t", "--scope", "audit", "--customer", "acme"), 2, "reads"),
        (("staff", "add", "eve\nadmin", "--role", "viewer"), 2, "is no name"),
        (("token", "add", " ", "--scope", "read"), 2, "is no name"),
        (("account", "add", "a\x1b[2J@b.example", "--customer", "acme"), 2, "is no name"),
        (("account", "add", "a@b.example", "--customer", "acme", "--sender", "*@b.*"), 2, "is no sender"),
        (("account", "change", "a@b.example", "--sender", "b.example"), 2, "write ADDRESS, @DOMAIN or *"),
        (("credential", "block", "9" * 40), 2, "give the ID"),
        (("outbox", "list", "--limit", "-1"), 2, "-1 is not in the range"),
        (("token", "add", "t", "--scope", "read", "--customer", "nobody"), 1, "no customer nobody"),
    ],
)
def test_what_cannot_be_is_said(place: Place, arguments: tuple[str, ...], code: int, said: str) -> None:
    assert said in place.run(*arguments, code=code).output


def test_a_token_is_shown_once_and_ends_when_revoked(place: Place) -> None:
    text = place.json("token", "add", "billing", "--scope", "read", "--for", "30d")["token"]
    listed = place.json("token", "list")
    assert [(one["name"], one["scopes"], one["revoked_at"]) for one in listed] == [("billing", "read", "")]
    assert text not in json.dumps(listed)
    place.run("token", "revoke", listed[0]["prefix"])
    with place.store.read() as tx:
        found = tokens.find(tx, text)
    assert found is not None
    assert not found.valid(clock.now())
    assert "billing" in place.run("token", "list").stdout
