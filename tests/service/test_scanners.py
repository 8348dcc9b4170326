"""Scanners that the configuration names, asked by the running daemon over real sockets."""

from __future__ import annotations

import smtplib
import socket
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.screening.scanners import daemons
from tests.service.harness import Relay, until
from tests.service.test_main_job import ALICE, message
from tests.zones import SERVFAIL, Zones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@pytest.fixture
def start(
    tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer
) -> Iterator[Callable[[str], Relay]]:
    """Return what starts a relay with these lines at the end of its configuration."""
    with ExitStack() as running:

        def run(lines: str) -> Relay:
            relay = running.enter_context(Relay(tmp_path_factory.mktemp("scanners")))
            relay.init()
            relay.config.write_text(relay.config.read_text() + lines)
            relay.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
            relay.account(ALICE, "acme")
            return relay.start()

        yield run


def rules(relay: Relay) -> tuple[str, ...]:
    return tuple(until(lambda: relay.events("message"))[-1]["rules"])


def metrics(relay: Relay) -> str:
    host, port = relay.address("http")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics") as answer:
        text: str = answer.read().decode()
        return text


def test_a_virus_that_clamd_knows_is_refused_with_its_name(start: Callable[[str], Relay]) -> None:
    with daemons.clamd() as path:
        relay = start(f'\n[[scanner]]\nkind = "clamd"\naddress = "unix:{path}"\nfailure = "defer"\n')
        with relay.client(ALICE) as client:
            client.send_message(message())
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.send_message(message(text=f"look {daemons.MARK}"))
        assert refused.value.smtp_code == 554
        assert daemons.SIGNATURE in str(refused.value.smtp_error)
        assert 'gatepost_scanner_answers_total{outcome="hit",scanner="clamd"} 1.0' in metrics(relay)
        assert relay.run("check").stdout.count("leaves this machine") == 1, "a socket is this machine"


def test_lists_are_asked_in_real_dns_and_cached(start: Callable[[str], Relay]) -> None:
    table = {"evil.example.uri.test A": ["127.0.1.2"], "odd.example.uri.test A": [SERVFAIL]}
    with Zones(table) as zones:
        relay = start(
            '\n[[scanner]]\nkind = "dnsbl"\nzones = ["uri.test"]\nscore = 4.5\nfailure = "hold"\n'
            'answers = { "127.0.1.0/24" = "phishing" }\n'
        )
        relay.stop()
        relay.configure("dns", f'servers = ["{zones.server}"]')
        relay.start()
        with relay.client(ALICE) as client:
            for _ in range(2):
                client.send_message(message(text="see https://www.evil.example/x"))
                assert "dnsbl_uri_test" in rules(relay)
            client.send_message(message(text="see https://www.odd.example/x"))
        assert zones.asked.count("evil.example.uri.test A") == 1
        event = until(lambda: relay.events("message")[2:])[0]
        assert (event["outcome"], event["reason"]) == ("held", "dnsbl gave no answer, staff look first")
        assert "no answer from DNS" in until(lambda: relay.events("scanner_failed"))[-1]["why"]


@pytest.mark.parametrize(("failure", "outcome"), [("skip", "forwarded"), ("defer", "queued")])
def test_a_dead_scanner_means_what_the_operator_said(
    start: Callable[[str], Relay], failure: str, outcome: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        relay = start(
            f'\n[[scanner]]\nkind = "rspamd"\naddress = "127.0.0.1:{port}"\nfailure = "{failure}"\n'
        )
        with relay.client(ALICE) as client:
            client.send_message(message())
        assert until(lambda: relay.events("message"))[-1]["outcome"] == outcome
        series = 'gatepost_scanner_answers_total{outcome="failed",scanner="rspamd"} '
        assert series + "1.0" in metrics(relay)
        assert series.replace("failed", "hit") + "0.0" in metrics(relay)


def test_a_sender_that_receivers_will_refuse_is_flagged_and_explained(
    start: Callable[[str], Relay], customer: CustomerServer
) -> None:
    table = {
        "_dmarc.acme.example TXT": ['"v=DMARC1; p=reject"'],
        "acme.example TXT": ['"v=spf1 ip4:198.51.100.1 -all"'],
    }
    lines = '\n[[scanner]]\nkind = "identity"\nleaves_from = ["192.0.2.7"]\n'
    with Zones(table) as zones:
        relay = start(lines)
        relay.stop()
        relay.configure("dns", f'servers = ["{zones.server}"]')
        relay.start()
        with relay.client(ALICE) as client:
            client.send_message(message())
        event = until(lambda: relay.events("message"))[0]
        assert "identity" in event["rules"]
        assert (event["action"], len(customer.messages)) == ("deliver", 1), "it is flagged, not refused"
        looked = relay.run("identity", ALICE, check=False)
        assert looked.returncode == 1
        assert "SPF fail for 192.0.2.7" in looked.stdout
        assert "DMARC  reject, fails" in looked.stdout
        mended = dict(table, **{"acme.example TXT": ['"v=spf1 ip4:192.0.2.0/24 -all"']})
        zones.records = mended
        assert relay.json("identity", ALICE)["outlook"]["passes"] is True


def test_what_staff_deleted_as_spam_is_known_whoever_sends_it_until_it_is_forgotten(
    start: Callable[[str], Relay], customer: CustomerServer
) -> None:
    words = (
        "we are pleased to offer garden tools seeds and pots at half the price until friday evening come "
        "to our shop in the old town or order on our pages we deliver within two days to your door and take "
        "back what you do not like without any question at all kind regards from all at the garden centre "
    )
    relay = start("")
    relay.run("customer", "add", "other", "--server", f"127.0.0.1:{customer.port}")
    relay.account("eve@other.example", "other")
    held = message(text=f"{words}\nEICAR {GTUBE}")
    relay.configure("screening", "refuse = 100.0\nscores = { gtube = 8.0 }")
    relay.reload()
    with relay.client(ALICE) as client:
        client.send_message(held)
    (row,) = relay.rows("held", "list")
    until(lambda: relay.run("explain", row["id"], check=False).returncode == 0)  # it is in the journal
    relay.run("held", "delete", row["id"], "--reason", "spam")
    (known,) = until(lambda: relay.rows("campaigns", "list"))
    assert (known["source"], known["in_force"], known["login"]) == ("staff", True, ALICE)

    def rules_of_eve() -> list[str]:
        seen = len(relay.events("message"))
        with relay.client("eve@other.example") as client:
            client.send_message(message(sender="eve@other.example", text=f"{words}\nDear Anna 4711"))
        return list(until(lambda: relay.events("message")[seen:])[0]["rules"])

    until(lambda: "known_spam" in rules_of_eve())
    relay.run("campaigns", "forget", known["fingerprint"])
    until(lambda: "known_spam" not in rules_of_eve())
    shown = relay.json("habits", "show", ALICE)
    assert shown["abstains"] == "known for less than 14 days"
    relay.run("habits", "forget", ALICE)
    assert relay.json("habits", "show", ALICE)["networks"] == {}
