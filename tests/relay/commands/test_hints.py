"""What commands say to those who are new: what is still to be done, and where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.relay.commands.conftest import Place

if TYPE_CHECKING:
    pass


def test_check_warns_of_the_certificate_of_init_and_of_mail_in_clear_text(place: Place) -> None:
    place.run("customer", "add", "near", "--server", "127.0.0.1:25")
    said = place.run("check").stdout
    assert "tls.crt is signed by itself: mail clients will warn" in said
    assert "clear text" not in said
    place.run("customer", "add", "far", "--server", "mail.acme.example:25")
    place.run("customer", "add", "safe", "--server", "mail.acme.example:25", "--tls", "starttls")
    said = place.run("check").stdout
    assert [line for line in said.splitlines() if "clear text" in line] == [
        "caution, mail goes to server far in clear text (--tls none)"
    ]


def test_a_login_that_is_no_address_needs_senders(place: Place) -> None:
    place.run("customer", "add", "acme", "--server", "127.0.0.1:25")
    said = place.run("account", "add", "printer", "--customer", "acme", code=2).output
    assert "say with --sender what it may send as" in said
    assert place.json("account", "list") == []
    place.run("account", "add", "printer", "--customer", "acme", "--sender", "@acme.example")
    assert [row["login"] for row in place.json("account", "list")] == ["printer"]


def test_mail_is_chosen_by_the_name_of_its_server(place: Place) -> None:
    said = place.run("outbox", "retry", "--server", "127.0.0.1:25", code=2).output
    assert "name of a server" in said
    assert "server list" in said


def test_a_report_that_nobody_could_read_is_said_to_wait_for_staff(place: Place) -> None:
    file = place.folder / "report"
    file.write_text("From: ann@a.example\nSubject: spam\n\nstop this\n")
    assert "kept for staff, see `feedback waiting list`" in place.run("feedback", "import", str(file)).stdout
