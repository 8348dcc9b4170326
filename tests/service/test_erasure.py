"""An account is erased while the daemon runs and its owner is at it."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import until
from tests.service.test_main_job import ALICE, ROBOT, message

if TYPE_CHECKING:
    from tests.service.harness import CustomerServer, Relay

pytestmark = pytest.mark.service


def test_pr_04_an_erased_login_is_dead_and_stands_in_no_file(relay: Relay, customer: CustomerServer) -> None:
    client, password = relay.client(ALICE), relay.passwords[ALICE]
    client.send_message(message())
    with pytest.raises(smtplib.SMTPAuthenticationError):
        relay.client(ALICE, "not the password")
    relay.run("account", "suspend", ALICE, "--reason", f"{ALICE} sold her list")
    relay.run("account", "reinstate", ALICE)
    done = relay.json("account", "erase", ALICE, "--reason", "asked to")
    assert done["left"] == []
    client.rset()
    assert client.mail(ALICE)[0] == 525, "an open session is over too"
    with pytest.raises(smtplib.SMTPAuthenticationError):
        relay.client(ALICE, password)
    with relay.client(ROBOT) as other:
        other.send_message(message(ROBOT))
    assert len(customer.messages) == 2
    client.close()

    def traces() -> list[str]:
        files = [path for path in relay.folder.glob("gatepost.db*") if path.is_file()]
        return [path.name for path in files if ALICE.encode() in path.read_bytes().lower()]

    until(lambda: not traces())
    assert relay.run("audit", "verify").returncode == 0
