from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.model import UpstreamAuth
from relay.store import accounts, domains

if TYPE_CHECKING:
    from relay.model import Server
    from tests.relay.commands.conftest import Place

PASSING = ["--auth", "passthrough", "--domain", "globex.example", "--provision", "on-login"]


def server(place: Place, name: str) -> Server:
    with place.store.read() as tx:
        return accounts.server(tx, name)


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a/b", "é"])
def test_a_name_that_could_stand_in_no_address_is_refused(place: Place, name: str) -> None:
    done = place.run("customer", "add", "--server", "mail.acme.example:25", "--", name, code=2)
    assert "is no name: letters, digits, dots and dashes" in done.output


def test_two_customers_cannot_have_the_logins_of_one_domain(place: Place) -> None:
    place.run("customer", "add", "globex", "--server", "mail.globex.example:587", *PASSING)
    again = place.run("customer", "add", "other", "--server", "mail.other.example:587", *PASSING, code=1)
    assert "logins at globex.example become accounts of customer globex already" in again.output
    place.run("customer", "add", "other", "--server", "mail.other.example:587", "--auth", "passthrough")
    place.run("customer", "change", "other", "--domain", "globex.example", code=1)
    place.run("customer", "change", "globex", "--domain", "none")
    place.run("customer", "change", "other", "--domain", "Globex.example")
    assert server(place, "other").provision_domains == ("globex.example",)
    with place.store.read() as tx:
        owner = accounts.customer(tx, "other").id
        assert domains.owners(tx, ["globex.example"]) == {"globex.example": frozenset([owner])}


def test_a_domain_that_would_do_nothing_is_refused(place: Place) -> None:
    given = ["--server", "mail.globex.example:587", "--domain", "globex.example"]
    for more in ([], ["--auth", "passthrough"], ["--provision", "on-login"]):
        done = place.run("customer", "add", "globex", *given, *more, code=2)
        assert "--provision on-login, --domain and --auth passthrough go together" in done.output
    place.run("customer", "add", "globex", "--server", "mail.globex.example:587")
    place.run("customer", "change", "globex", "--domain", "globex.example", code=2)


def test_a_customer_moves_to_another_server(place: Place) -> None:
    place.run("customer", "add", "acme", "--server", "old.acme.example:25", *PASSING)
    done = place.run(
        "customer", "change", "acme", "--server", "new.acme.example:587", "--tls", "starttls",
        "--auth", "gate:keys/acme.secret", "--contact", "it@acme.example",
    )  # fmt: skip
    assert "hosts new.acme.example:587" in done.output
    assert "keys/acme.secret is not there yet" in done.output
    now = server(place, "acme")
    assert (now.hosts, str(now.tls), now.auth) == (
        ("new.acme.example:587",), "starttls", UpstreamAuth.RELAY
    )  # fmt: skip
    assert (now.relay_login, now.relay_secret_file) == ("gate", "keys/acme.secret")
    assert now.provision_domains == ()  # it checks no passwords any more
    shown = place.json("customer", "show", "acme")
    assert shown["contact"] == "it@acme.example"
    assert shown["servers"] == {
        "acme": "new.acme.example:587, tls starttls, auth relay, forward proxy, as gate"
    }
    place.run("customer", "change", "acme", "--auth", "none")
    assert (server(place, "acme").relay_login, server(place, "acme").auth) == ("", UpstreamAuth.NONE)
    assert server(place, "acme").hosts == ("new.acme.example:587",)
    logged = place.run("audit", "list", "--json").stdout
    assert '"hosts": "new.acme.example:587"' in logged


def test_a_contact_that_no_notice_could_reach_is_refused(place: Place) -> None:
    place.run("customer", "add", "acme", "--server", "a.example:25", "--contact", "boss", code=2)
    place.run("customer", "add", "acme", "--server", "a.example:25", "--contact", "boss@acme.example")
    place.run("customer", "change", "acme", code=2)
    place.run("customer", "change", "acme", "--contact", "")
    assert place.json("customer", "show", "acme")["contact"] == ""
