"""Several processes behind one door: one standing, one page of numbers, deaths that cost little."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import smtplib
import socket
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import PATIENCE_SECONDS, Relay, until
from tests.service.test_main_job import ALICE, BOB, message
from tests.service.wire import Client, NextHop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, customer: CustomerServer) -> Iterator[Relay]:
    folder: Path = tmp_path_factory.mktemp("workers")
    with Relay(folder) as running:
        running.init()
        running.config.write_text(running.config.read_text().replace("workers = 1 ", "workers = 2 "))
        running.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
        running.account(ALICE, "acme")
        yield running.start()
        assert running.stop() == 0


def edges(relay: Relay) -> list[int]:
    assert relay.process is not None
    found = subprocess.run(
        ["pgrep", "-P", str(relay.process.pid), "-f", "role edge"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line) for line in found.stdout.split()]


def test_mail_goes_through_every_worker_and_the_numbers_add_up(
    relay: Relay, customer: CustomerServer
) -> None:
    assert len(edges(relay)) == 2
    before = settled(relay)
    for _ in range(12):
        with relay.client(ALICE) as client:
            client.send_message(message())
    assert len(customer.messages) == 12
    until(lambda: forwarded(relay) == before + 12)


def settled(relay: Relay) -> float:
    """Return what was forwarded, once every edge has told all that it did before now."""
    asked = time.time()  # noqa: TID251 - compared with file times
    told = [relay.folder / "run" / f"edge-{number}.prom" for number in (1, 2)]
    until(lambda: all(path.exists() and path.stat().st_mtime > asked for path in told))
    return forwarded(relay)


def forwarded(relay: Relay) -> float:
    return counted(relay, 'gatepost_messages_total{action="deliver",outcome="forwarded"}')


def counted(relay: Relay, sample: str) -> float:
    host, port = relay.address("http")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if line.startswith(sample + " ")]
    return float(lines[0].rpartition(" ")[2])


def test_a_suspension_holds_in_every_worker_within_a_second(relay: Relay) -> None:
    clients = [relay.client(ALICE) for _ in range(8)]
    relay.run("account", "suspend", ALICE, "--reason", "test")
    until(lambda: all(refused(client) for client in clients), seconds=1)
    relay.run("account", "reinstate", ALICE)
    until(lambda: not any(refused(client) for client in clients))
    for client in clients:
        client.quit()


def test_a_second_try_in_another_worker_makes_no_second_copy(relay: Relay) -> None:
    """The client loses its connection while its server still thinks, and comes back wherever it lands."""
    hop, login = NextHop(), "carol@slow.example"
    hop.up()
    relay.run("customer", "add", "slow", "--server", f"127.0.0.1:{hop.port}")
    relay.account(login, "slow")
    hop.dot_seconds = 3.0
    raw = f"From: {login}\r\nMessage-ID: <1@slow.example>\r\nSubject: hi\r\n\r\nhello\r\n".encode()

    def again() -> bytes:
        with Client(relay, login) as client:
            return client.submit(login.encode(), BOB.encode(), raw)[:3]

    first = Client(relay, login)
    first.envelope(login.encode(), BOB.encode())
    assert first.say(b"DATA").startswith(b"354")
    first.send(raw + b".\r\n")
    until(lambda: hop.dots)
    first.reset()
    time.sleep(0.75)  # a phone takes as long to find another network; then every process knows
    with ThreadPoolExecutor(8) as many:
        said = set(many.map(lambda _: again(), range(8)))
    assert said <= {b"250", b"451"}
    until(lambda: {again() for _ in range(6)} == {b"250"})
    assert (hop.dots, len(hop.messages)) == (1, 1)
    hop.down()


def refused(client: smtplib.SMTP) -> bool:
    client.rset()
    client.mail(ALICE)
    return client.rcpt(BOB)[0] == 550


def test_a_killed_worker_costs_only_its_own_sessions(relay: Relay, customer: CustomerServer) -> None:
    clients = [relay.client(ALICE) for _ in range(8)]
    before, victim = settled(relay), edges(relay)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(edges(relay)) == 2 and victim not in edges(relay))
    assert counted(relay, "gatepost_worker_deaths_total") >= 1
    assert settled(relay) == before
    alive = 0
    for client in clients:
        try:
            client.send_message(message())
            client.quit()
            alive += 1
        except (smtplib.SMTPException, OSError):
            client.close()
    assert len(customer.messages) == alive
    for _ in range(4):
        with relay.client(ALICE) as client:
            assert client.noop()[0] == 250


def test_a_reload_reaches_every_worker_and_loses_no_session(relay: Relay) -> None:
    assert relay.process is not None
    good = relay.config.read_text()
    with relay.client(ALICE) as open_session:
        relay.config.write_text(good.replace("[limits]", '[limits]\nmessage_size = "1 MiB"'))
        relay.process.send_signal(signal.SIGHUP)

        def size() -> str:
            with relay.client(ALICE) as client:
                client.ehlo()
                return client.esmtp_features["size"]

        until(lambda: all(size() == str(1 << 20) for _ in range(6)))
        assert open_session.noop()[0] == 250
    relay.config.write_text(good)
    relay.process.send_signal(signal.SIGHUP)
    until(lambda: all(size() != str(1 << 20) for _ in range(6)))


def test_limits_per_client_and_account_hold_over_all_workers(
    tmp_path: Path, customer: CustomerServer
) -> None:
    with Relay(tmp_path) as relay:
        relay.init()
        relay.config.write_text(relay.config.read_text().replace("workers = 1 ", "workers = 2 "))
        relay.configure(
            "limits",
            "connections_per_client = 4\nsessions_per_account = 3\nauth_failures_per_client = 4\nexempt = []",
        )
        relay.run("customer", "add", "acme", "--server", f"127.0.0.1:{customer.port}")
        relay.account(ALICE, "acme")
        relay.start()
        clients = [relay.client(ALICE) for _ in range(3)]
        with pytest.raises(smtplib.SMTPException):  # 421, then the connection is closed
            relay.client(ALICE)
        strangers = [smtplib.SMTP(timeout=PATIENCE_SECONDS) for _ in range(8)]
        greetings = [stranger.connect(*relay.address("submission"))[0] for stranger in strangers]
        assert greetings == [220] * 4 + [421] * 4
        for each in (*clients, *strangers):
            each.close()
        until(lambda: greeted(relay))
        for number in range(4):
            assert wrong(relay, f"wrong {number}") == 535
        assert [wrong(relay, f"other {number}") for number in range(4)] == [421] * 4
        assert relay.stop() == 0


def greeted(relay: Relay) -> bool:
    with smtplib.SMTP(timeout=PATIENCE_SECONDS) as client:
        return client.connect(*relay.address("submission"))[0] == 220


def wrong(relay: Relay, password: str) -> int:
    """Try a password for a login that never worked here; the reply's code."""
    with contextlib.closing(smtplib.SMTP(*relay.address("submission"), timeout=PATIENCE_SECONDS)) as client:
        client.starttls(context=relay.trust())
        client.ehlo()
        token = base64.b64encode(f"\0nobody@acme.example\0{password}".encode()).decode()
        return client.docmd("AUTH PLAIN", token)[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_systemd_hears_when_mail_is_taken_and_when_no_more(tmp_path: Path, workers: int) -> None:
    with Relay(tmp_path) as relay, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_SECONDS)
        relay.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        relay.init()
        relay.config.write_text(relay.config.read_text().replace("workers = 1 ", f"workers = {workers} "))
        relay.start()
        assert systemd.recv(200) == b"READY=1"
        assert relay.process is not None
        relay.process.send_signal(signal.SIGHUP)
        assert systemd.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert systemd.recv(200) == b"READY=1"
        assert relay.stop() == 0
        assert systemd.recv(200) == b"STOPPING=1"
