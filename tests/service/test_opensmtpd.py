"""OpenSMTPD as the customer's server: no PIPELINING, no SMTPUTF8, STARTTLS and a login for us."""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.service.harness import PATIENCE_SECONDS, Relay, until
from tests.service.test_main_job import message
from tests.service.test_postfix import accepts, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.harness import CustomerServer

pytestmark = pytest.mark.service

SMTPD = shutil.which("smtpd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
LOGIN, SECRET = "gatepost", "a long secret"
CONFIG = """\
pki mail cert "{folder}/tls.crt"
pki mail key "{folder}/tls.key"
table logins file:{folder}/logins
listen on 127.0.0.1 port {port} hostname mail.customer.example
listen on 127.0.0.1 port {secured} hostname mail.customer.example tls-require pki mail auth <logins>
action "on" relay host smtp://127.0.0.1:{next}
match from any for any action "on"
match auth from any for any action "on"
"""


def runs_here() -> bool:
    """Only as root, with the users and the spool that OpenSMTPD has built in."""
    try:
        pwd.getpwnam("opensmtpd")
    except KeyError:
        return False
    return SMTPD is not None and os.getuid() == 0 and Path("/var/spool/smtpd").is_dir()


@pytest.fixture(scope="module")
def ports(customer: CustomerServer) -> Iterator[tuple[int, int]]:
    if not runs_here():
        pytest.skip("OpenSMTPD is not installed, or cannot be started without root")
    folder = Path(tempfile.mkdtemp(prefix="gatepost-opensmtpd-"))
    folder.chmod(0o755)
    plain, secured = free_port(), free_port()
    # RSA: older ones fail with ECDSA keys
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mail -keyout tls.key -out tls.crt"
    subprocess.run(make.split(), capture_output=True, check=True, cwd=folder)
    (folder / "tls.key").chmod(0o600)
    hashed = subprocess.run(["openssl", "passwd", "-6", SECRET], capture_output=True, text=True, check=True)
    (folder / "logins").write_text(f"{LOGIN} {hashed.stdout}")
    (folder / "smtpd.conf").write_text(
        CONFIG.format(folder=folder, port=plain, secured=secured, next=customer.port)
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(SMTPD), "-d", "-f", folder / "smtpd.conf"], stdout=log, stderr=log)
    until(lambda: accepts(plain) and accepts(secured))
    yield plain, secured
    process.terminate()
    process.wait(PATIENCE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def test_opensmtpd_takes_mail_and_sends_it_on(
    relay: Relay, ports: tuple[int, int], customer: CustomerServer
) -> None:
    relay.run("customer", "add", "plain", "--server", f"127.0.0.1:{ports[0]}")
    relay.account("a@plain.example", "plain")
    sent = message(sender="a@plain.example", text="Hello\n.dot\n..two\n")
    with relay.client("a@plain.example") as client:
        for _ in range(3):
            client.send_message(sent)
    until(lambda: len(customer.messages) == 3)
    assert all(stored.raw.endswith(sent.as_bytes()) for stored in customer.messages)


def test_opensmtpd_is_logged_in_to_under_tls(
    relay: Relay, ports: tuple[int, int], customer: CustomerServer
) -> None:
    try:
        with smtplib.SMTP("127.0.0.1", ports[1], timeout=PATIENCE_SECONDS) as probe:
            probe.starttls(context=ssl._create_unverified_context())  # noqa: S323 - a probe
    except ssl.SSLError as error:
        pytest.skip(f"the TLS of this OpenSMTPD does not work with this OpenSSL: {error.reason}")
    secret = relay.folder / "opensmtpd.secret"
    secret.write_text(SECRET + "\n")
    relay.run(
        "customer", "add", "secured", "--server", f"127.0.0.1:{ports[1]}", "--tls", "starttls",
        "--auth", f"{LOGIN}:{secret}",
    )  # fmt: skip
    relay.account("a@secured.example", "secured")
    with relay.client("a@secured.example") as client:
        client.send_message(message(sender="a@secured.example"))
    until(lambda: len(customer.messages) == 1)


def test_what_opensmtpd_cannot_take_is_said_at_once(
    relay: Relay, ports: tuple[int, int], customer: CustomerServer
) -> None:
    relay.run("customer", "add", "old", "--server", f"127.0.0.1:{ports[0]}")
    relay.account("a@old.example", "old")
    with relay.client("a@old.example") as client:
        client.ehlo()
        client.mail("a@old.example", ["SMTPUTF8"])
        code, text = client.rcpt("bob@partner.example")
        assert (code, text[:5]) == (550, b"5.6.7")
        with pytest.raises(smtplib.SMTPResponseException):
            client.data(b"x")
    assert customer.messages == []
