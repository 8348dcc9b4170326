"""Postfix as the customer's server: its smtp-sink, and a Postfix that sends on to a recording server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import PATIENCE_SECONDS, Relay, until
from tests.service.test_main_job import message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service

SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")
POSTFIX = shutil.which("postfix", path="/usr/sbin:/usr/bin:/usr/local/sbin")
MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = mail.customer.example
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{next}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def sink_port() -> Iterator[int]:
    if SINK is None:
        pytest.skip("smtp-sink is not installed")
    port = free_port()
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    process = subprocess.Popen([SINK, *user, f"127.0.0.1:{port}", "100"], stderr=subprocess.DEVNULL)
    until(lambda: accepts(port))
    yield port
    process.terminate()
    process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def postfix_port(customer: CustomerServer) -> Iterator[int]:
    if POSTFIX is None or os.getuid() != 0:
        pytest.skip("Postfix is not installed, or cannot be started without root")
    # not below pytest's own folder: Postfix's user must be able to enter it
    folder = Path(tempfile.mkdtemp(prefix="gatepost-postfix-"))
    folder.chmod(0o755)
    port = free_port()
    (folder / "queue").mkdir()
    (folder / "data").mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "main.cf").write_text(MAIN.format(folder=folder, next=customer.port))
    (folder / "master.cf").write_text(MASTER.format(port=port))
    subprocess.run([POSTFIX, "-c", folder, "start"], check=True, capture_output=True)
    until(lambda: accepts(port))
    yield port
    subprocess.run([POSTFIX, "-c", folder, "stop"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    folder: Path = tmp_path_factory.mktemp("relay")
    with Relay(folder) as running:
        running.init()
        yield running.start()


@pytest.fixture(scope="module")
def postfix(relay: Relay, postfix_port: int) -> Relay:
    relay.run("customer", "add", "postfix", "--server", f"127.0.0.1:{postfix_port}")
    relay.account("a@postfix.example", "postfix")
    return relay


def test_smtp_sink_takes_many_messages_over_one_session(relay: Relay, sink_port: int) -> None:
    relay.run("customer", "add", "sink", "--server", f"127.0.0.1:{sink_port}")
    relay.account("a@sink.example", "sink")
    with relay.client("a@sink.example") as client:
        for _ in range(20):
            assert client.send_message(message(sender="a@sink.example")) == {}


def test_postfix_takes_mail_and_sends_it_on(postfix: Relay, customer: CustomerServer) -> None:
    sent = message(sender="a@postfix.example", text="Hello\n.dot\n..two\n")
    with postfix.client("a@postfix.example") as client:
        client.send_message(sent)
        assert (
            client.sendmail(
                "a@postfix.example", ["b@there.example"], sent.as_bytes(), mail_options=["RET=HDRS"]
            )
            == {}
        )
    until(lambda: len(customer.messages) == 2)
    assert all(stored.raw.endswith(sent.as_bytes()) for stored in customer.messages)


def test_postfix_refusal_reaches_the_client(postfix: Relay) -> None:
    with postfix.client("a@postfix.example") as client:
        client.ehlo()
        client.mail("a@postfix.example")
        code, text = client.rcpt("not-an-address")
    assert code in (501, 504, 550, 553, 554), text
