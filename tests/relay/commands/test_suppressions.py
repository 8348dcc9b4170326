from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.relay.commands.conftest import Place

WHO = ("ben@there.example", "--customer", "acme")


@pytest.fixture
def place(place: Place) -> Place:
    """The set-up folder, with a customer."""
    place.run("customer", "add", "acme", "--server", "127.0.0.1:25")
    return place


def test_an_address_is_refused_shown_counted_and_cleared(place: Place) -> None:
    assert place.json("suppression", "show", *WHO)["suppressions"] == []
    place.run("suppression", "add", *WHO, "--for", "2d")
    (line,) = place.json("suppression", "show", "Ben@THERE.example", "--customer", "acme")["suppressions"]
    assert (line["kind"], line["refused"], line["events"]) == ("manual", True, 1)
    assert "refused" in place.run("suppression", "show", *WHO).stdout
    assert place.json("suppression", "count", "--customer", "acme") == {"manual": 1}
    assert "1 entries" in place.run("suppression", "clear", *WHO).stdout
    assert place.json("suppression", "count", "--customer", "acme") == {}
    assert "none" in place.run("suppression", "count", "--customer", "acme").stdout
    said = place.run("audit", "list").stdout
    assert "suppression added" in said
    assert "ben@" not in said


def test_what_is_no_address_or_no_customer_is_refused(place: Place) -> None:
    place.run("suppression", "show", "nobody", "--customer", "acme", code=2)
    place.run("suppression", "show", "a@b.example", "--customer", "nobody", code=1)
