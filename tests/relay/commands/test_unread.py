from __future__ import annotations

from typing import TYPE_CHECKING

from tests.relay.commands.conftest import Place

if TYPE_CHECKING:
    pass


def _import(place: Place, text: str) -> None:
    file = place.folder / "report"
    file.write_text(text)
    place.run("feedback", "import", str(file))


def test_waiting_reports_are_listed_shown_and_dropped(place: Place) -> None:
    assert place.json("feedback", "waiting", "list") == []
    _import(place, "From: ann@a.example\nSubject: spam\n\nstop \x1b[31mthis\n")
    (one,) = place.json("feedback", "waiting", "list")
    assert "not a report" in one["why"]
    place.run("feedback", "waiting", "show", one["id"], code=2)
    shown = place.run("feedback", "waiting", "show", one["id"], "--reason", "case 7").stdout
    assert "stop \ufffd[31mthis" in shown
    place.run("feedback", "waiting", "drop", one["id"], "--reason", "no spam")
    assert "none" in place.run("feedback", "waiting", "list").stdout
    said = place.run("audit", "list").stdout
    assert "feedback.look" in said
    assert "case 7" in said


def test_what_is_not_there_is_said(place: Place) -> None:
    place.run("feedback", "waiting", "drop", "nothing", "--reason", "x", code=1)
    place.run("feedback", "record", "nothing", "--reason", "x", code=1)
    _import(place, "From: ann@a.example\nSubject: spam\n\nstop this\n")
    (one,) = place.json("feedback", "waiting", "list")
    place.run("feedback", "waiting", "assign", one["id"], "--message", "nothing", "--reason", "x", code=1)
    assert place.json("feedback", "waiting", "list") == [one], "nothing half done"
