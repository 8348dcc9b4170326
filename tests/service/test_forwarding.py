"""Forwarding alone: screening and signing switched off by operators who have them elsewhere."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import Relay
from tests.service.test_main_job import ALICE, GTUBE, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def forwarder(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    with Relay(tmp_path_factory.mktemp("forwarder")) as running:
        running.init()
        running.configure("screening", "enabled = false")
        running.configure("signing", "enabled = false")
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
        running.account(ALICE, "acme")
        yield running.start()


def test_content_is_not_looked_at_nothing_is_signed_and_who_asks_is_told(
    forwarder: Relay, customer: CustomerServer
) -> None:
    with forwarder.client(ALICE) as client:
        client.send_message(message(text=GTUBE + "\n"))
    (stored,) = customer.messages
    assert b"DKIM-Signature" not in stored.raw
    assert b"\nCFBL-Feedback-ID: " in stored.raw
    cautions = [event["what"].partition(" ")[0] for event in forwarder.events("caution")]
    assert cautions == ["screening.enabled", "signing.enabled"]
    assert forwarder.run("check").stdout.count(".enabled is false") == 2
    handled = next(event for event in forwarder.events("message") if event["action"] == "deliver")
    assert handled["reason"] == "screening is off"


@pytest.mark.parametrize(
    ("field", "code"), [("From", 550), ("Sender", 550), ("From: alice@acme.example\r\nFrom", 550)]
)
def test_who_sends_is_checked_all_the_same(
    forwarder: Relay, customer: CustomerServer, field: str, code: int
) -> None:
    raw = f"{field}: ceo@victim.example\r\nTo: bob@partner.example\r\n\r\nhello\r\n"
    with forwarder.client(ALICE) as client, pytest.raises(smtplib.SMTPDataError) as refused:
        client.sendmail(ALICE, ["bob@partner.example"], raw.encode())
    assert refused.value.smtp_code == code
    assert customer.messages == []
