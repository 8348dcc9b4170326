"""`init`, `check` and `serve`: from nothing to a running relay."""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay import building, clock
from relay import config as configuration
from relay.commands import advice
from relay.commands.context import Context, emit, fail, json_option, pass_context, reporting_errors
from relay.commands.example import commented
from relay.errors import ConfigError
from relay.keyring import Keyring
from relay.signing import dkim
from relay.smtp.board import Board
from relay.store import emergency, staff
from relay.store.engine import Store
from relay.values import HOSTNAME, plural

if TYPE_CHECKING:
    from collections.abc import Callable

_CERTIFICATE_DAYS = 3650


def _self_signed(certificate: Path, key: Path, hostname: str) -> None:
    """Write an ECDSA P-256 pair (cheaper handshakes than RSA) for `hostname` and loopback."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    moment = clock.now()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(hostname), x509.DNSName("localhost")]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key.touch(0o600, exist_ok=False)
    key.write_bytes(private.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    certificate.write_bytes(built.public_bytes(pem))


def _port(default: int, what: str) -> Callable[[Any], Any]:
    name = f"--{what}-port"
    return click.option(
        name, default=default, show_default=True, type=click.IntRange(0, 65535), help="0 chooses one."
    )


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--hostname", default=None, help="Name of this relay. [default: this machine's]")
@click.option("--bind", default="0.0.0.0", show_default=True, help="Address of the SMTP doors.")  # noqa: S104 - a mail server listens
@_port(587, "submission")
@_port(465, "submissions")
@_port(25, "feedback")
@_port(8025, "http")
@json_option
@reporting_errors
def init(directory: Path, hostname: str | None, bind: str, as_json: bool, **ports: int) -> None:
    """Write a configuration, keys, a self-signed certificate and the first staff login into DIRECTORY.

    Nothing that exists is overwritten. The console listens on loopback in any case (at --bind, if that is a
    loopback address); put a TLS proxy before it.
    """
    file = directory / "gatepost.toml"
    if file.exists():
        fail(f"{file} exists already; nothing was changed")
    name = hostname or socket.getfqdn()
    if hostname is None and ("." not in name or not re.fullmatch(HOSTNAME, name)):
        name = "relay.example"
        click.echo("this machine has no full name: relay.example stands for it until you change it", err=True)
    elif not re.fullmatch(HOSTNAME, name):
        raise click.UsageError(f"--hostname {name!r} is no host name such as relay.example")
    keys = directory / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    keys.chmod(0o700)
    host = f"[{bind}]" if ":" in bind else bind
    http_host = host if bind.startswith("127.") or bind == "::1" else "127.0.0.1"
    given = {
        "hostname": name,
        "workers": 1,
        "store.url": "sqlite:///gatepost.db",
        "listeners.submission": f"{host}:{ports['submission_port']}",
        "listeners.submissions": f"{host}:{ports['submissions_port']}",
        "listeners.feedback": f"{host}:{ports['feedback_port']}",
        "listeners.http": f"{http_host}:{ports['http_port']}",
        "feedback.addresses": (f"fbl@{name}", f"abuse@{name}", f"bounces@{name}"),
        "signing.domain": name,
    }
    Keyring.create(keys / "master.keys")
    _self_signed(keys / "tls.crt", keys / "tls.key", name)
    (keys / "dkim.pem").touch(0o600)
    (keys / "dkim.pem").write_bytes(dkim.new_key())
    file.write_text(commented(given), encoding="utf-8")
    config = configuration.load(file)
    store = Store(config.store.url, config.folder)
    store.migrate()
    password = secrets.token_urlsafe(12)
    with store.begin() as tx:
        staff.add(tx, clock.now(), "admin", password, role="admin")
    store.close()
    record = dkim.dns_record((keys / "dkim.pem").read_bytes())
    dns = f"{config.signing.selector}._domainkey.{name}. TXT {record}"
    if as_json:
        emit({"config": str(file), "staff": {"login": "admin", "password": password}, "dns": [dns]})
        return
    click.echo(f"wrote      {file}")
    click.echo(f"staff      login admin, password {password}   (shown once)")
    click.echo(f"publish    {dns}")
    click.echo(f"next       gatepost -c {file} customer add NAME --server HOST:PORT")
    click.echo(f"           gatepost -c {file} account add LOGIN --customer NAME")
    click.echo(f"           gatepost -c {file} serve")


@click.command()
@pass_context
def check(context: Context) -> None:
    """Check configuration, rules with their examples, keys, ladder and store; every fault at once."""
    try:
        building.examine(context.config)
    except ConfigError as error:
        for fault in error.faults:
            click.echo(str(fault), err=True)
        fail(plural(len(error.faults), "fault"))
    for line in building.cautions(context.config):
        click.echo(f"caution, {line}")
    for line in advice.of_files(context.config):
        click.echo(f"caution, {line}")
    for line in building.disclosures(context.config):
        click.echo(f"leaves this machine, {line}")
    with context.read() as tx:
        for line in advice.of_customers(context.config, tx):
            click.echo(f"caution, {line}")
        for one in emergency.switched_on(tx, clock.now()):
            click.echo(
                f"{one.name} is on until {one.until:%Y-%m-%d %H:%M} UTC, by {one.set_by}: {one.reason}"
            )
    click.echo("ok")


@click.command()
@click.option("--role", type=click.Choice(["edge", "control"]), default=None, hidden=True)
@click.option("--number", type=int, default=0, hidden=True)
@click.option("--sockets", default="{}", hidden=True)
@click.option("--board", type=int, default=None, hidden=True)
@click.option("--processes", type=int, default=1, hidden=True)
@pass_context
@reporting_errors
def serve(
    context: Context, role: str | None, number: int, sockets: str, board: int | None, processes: int
) -> None:
    """Run the relay in the foreground; its first line on stdout says `ready` and where it listens.

    SIGTERM finishes what is in flight and exits 0; SIGHUP reads the configuration again.
    """
    # imported here: the web framework costs the other commands half a second
    from relay import daemon, supervisor

    config = context.config
    if role is not None:
        inherited = {name: socket.socket(fileno=handle) for name, handle in json.loads(sockets).items()}
        shared = Board(board, processes=processes, number=number)
        part = daemon.Role(control=role == "control", number=number, supervised=True, board=shared)
        sys.exit(daemon.run_with(context.path, config, inherited, part))
    if config.workers == 1:
        sys.exit(daemon.run(context.path, config))
    building.examine(config)
    sys.exit(supervisor.run(context.path, config))
