"""CG: the configuration, read again while mail flows."""

from __future__ import annotations

import re
import smtplib

import pytest

from tests.service.catalogue.letters import BOB, A, quiet, text
from tests.service.harness import PATIENCE_SECONDS, Relay
from tests.service.wire import Client, NextHop

pytestmark = pytest.mark.service


def reports_taken(house: Relay, address: str) -> int:
    with smtplib.SMTP(*house.address("feedback"), timeout=PATIENCE_SECONDS) as reporter:
        reporter.helo("isp.example")
        reporter.mail("fbl@isp.example")
        return reporter.rcpt(address)[0]


def test_cg_13_a_reload_reaches_the_feedback_door_and_names_what_needs_a_restart(
    client: Client, house: Relay, hop: NextHop
) -> None:
    good = house.config.read_text()
    try:
        assert reports_taken(house, "new@relay.example") == 550
        house.config.write_text(re.sub(r"(?m)^addresses = \[", 'addresses = ["new@relay.example", ', good))
        assert house.reload()["ok"]
        assert reports_taken(house, "new@relay.example") == 250
        house.config.write_text(good.replace("[upstream]\n", "[upstream]\nconnections_per_server = 3\n"))
        told = house.reload()
        assert not told["ok"]
        assert "upstream" in str(told["faults"])
        assert "restart" in str(told["faults"])
        assert reports_taken(house, "new@relay.example") == 250
    finally:
        house.config.write_text(good)
        house.reload()
    assert client.submit(A, BOB, text("cg-13")).startswith(b"250")
    quiet(house, hop, 1)
