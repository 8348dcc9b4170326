from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.relay.commands.test_people import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHO = ("ben@there.example", "--customer", "acme")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "relay")
    made.run("customer", "add", "acme", "--server", "127.0.0.1:25")
    yield made
    made.store.close()


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
