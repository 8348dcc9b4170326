"""What people do wrong most often: one line that says what to do, and an exit code that scripts can tell."""

from __future__ import annotations

import os
import shutil
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PORTS = [f"--{name}-port" for name in ("submission", "submissions", "feedback", "http")]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("fresh") / "relay"
    ports = [word for name in PORTS for word in (name, "0")]
    made = CliRunner().invoke(main, ["init", str(folder), "--bind", "127.0.0.1", *ports])
    assert made.exit_code == 0, made.output
    return folder


@pytest.fixture
def folder(fresh: Path, tmp_path: Path) -> Path:
    """An installation of one's own to spoil."""
    return shutil.copytree(fresh, tmp_path / "relay")


def ask(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), *words])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


def _swap(old: str, new: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> object:
        file = folder / "gatepost.toml"
        text = file.read_text()
        assert old in text
        return file.write_text(text.replace(old, new, 1))

    return spoil


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


SQLITE = "sqlite:///gatepost.db"
#: By name: what is spoilt, what is asked then, the exit code, and what the answer says.
MISTAKES: dict[str, tuple[Callable[[Path], object], list[str], int, str]] = {
    "no configuration": (
        lambda folder: (folder / "gatepost.toml").unlink(),
        ["account", "list"],
        2,
        "there is no such file: name yours by `gatepost -c FILE`, or make one by `gatepost init DIR`",
    ),
    "a damaged key": (
        _write("keys/master.keys", "1 abcd"),
        ["serve"],
        2,
        "lines `ID HEXKEY` (64 hex digits)",
    ),
    "no key": (
        lambda folder: (folder / "keys/master.keys").unlink(),
        ["serve"],
        2,
        "master.keys: cannot be read: No such",
    ),
    "no certificate": (
        _write("keys/tls.crt", "junk"),
        ["serve"],
        2,
        "tls.crt: is not a usable PEM pair with tls.key",
    ),
    "a wrong store": (
        _swap(SQLITE, "mysql://host/name"),
        ["account", "list"],
        1,
        "the store of store.url cannot be used: must be sqlite:///FILE or postgresql://",
    ),
    "a wrong store, checked": (
        _swap(SQLITE, "mysql://host/name"),
        ["check"],
        1,
        "store.url: mysql://host/name: must",
    ),
    "no such database": (
        _swap(SQLITE, "postgresql://me:secret@127.0.0.1:1/name"),
        ["account", "list"],
        1,
        "Connection refused",
    ),
    "not a database": (
        _write("gatepost.db", "hello " * 99),
        ["account", "list"],
        1,
        "cannot be used: DatabaseError: file is not",
    ),
    "an unknown key": (
        _swap("[limits]", "[limits]\nmesage_size = 1"),
        ["check"],
        1,
        "did you mean message_size?",
    ),
    "an unknown account": (
        lambda _: 0,
        ["account", "show", "x@y.example"],
        1,
        "there is no account x@y.example",
    ),
    "an unknown customer": (
        lambda _: 0,
        ["account", "add", "x@y.example", "--customer", "z"],
        1,
        "there is no customer z",
    ),
    "a server without a port": (
        lambda _: 0,
        ["customer", "add", "z", "--server", "mail.example"],
        2,
        "'mail.example' is not HOST:PORT",
    ),
    "an unknown command": (lambda _: 0, ["acount"], 2, "No such command 'acount'"),
    "an unknown option": (lambda _: 0, ["account", "list", "--jsn"], 2, "Did you mean '--json'?"),
    "an address of others": (
        _swap('submission = "127.0.0.1:0"', 'submission = "192.0.2.1:2587"'),
        ["serve"],
        1,
        "cannot listen on 192.0.2.1:2587: Cannot assign requested address; no interface of this machine has",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_what_to_do(folder: Path, mistake: str) -> None:
    spoil, words, code, says = MISTAKES[mistake]
    for left in ("gatepost.db-wal", "gatepost.db-shm") if mistake == "not a database" else ():
        (folder / left).unlink(missing_ok=True)
    spoil(folder)
    exit_code, output = ask(folder, *words)
    assert (exit_code, says in output) == (code, True), output
    assert "Traceback" not in output
    assert "secret" not in output


def test_two_daemons_at_one_address_are_told_so(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        _swap('submission = "127.0.0.1:0"', f'submission = "127.0.0.1:{port}"')(folder)
        code, output = ask(folder, "serve")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; another program" in output


def test_nothing_is_overwritten_by_a_second_init(folder: Path) -> None:
    before = (folder / "gatepost.toml").read_bytes()
    done = CliRunner().invoke(main, ["init", str(folder)])
    assert (done.exit_code, "exists already; nothing was changed" in done.output) == (1, True)
    assert (folder / "gatepost.toml").read_bytes() == before


def test_a_copy_goes_into_a_folder_of_its_own(folder: Path) -> None:
    code, output = ask(folder, "backup", str(folder))
    assert (code, "exists already" in output) == (1, True), output


def test_a_name_that_is_no_host_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init", str(tmp_path / "relay"), "--hostname", "not a host"])
    assert (done.exit_code, "is no host name such as relay.example" in done.output) == (2, True)
    assert not (tmp_path / "relay").exists()


def test_a_file_that_cannot_be_read_gets_its_row_and_waits_for_nobody(folder: Path) -> None:
    code, output = ask(folder, "feedback", "import", "--json", str(folder / "none.eml"))
    assert (code, "the file cannot be read" in output, '"kind": "unknown"' in output) == (1, True, True)
    assert "1 file could not be read" in output
    assert ask(folder, "feedback", "waiting", "list") == (0, "none\n")


@pytest.mark.parametrize(
    "domain",
    [
        "not a domain",
        "../../x",
        "localhost",
        "a..b",
        "-a.example",
        "x.example;",
    ],
)
def test_a_key_is_made_for_no_domain_that_dns_could_not_have(folder: Path, domain: str) -> None:
    code, output = ask(folder, "dkim", "add", "--", domain)
    assert (code, "is no domain such as" in output) == (2, True)
    assert not (folder / "keys/dkim").exists()


def test_a_key_for_nobody_leaves_no_file_behind(folder: Path) -> None:
    assert ask(folder, "dkim", "add", "acme.example", "--customer", "nobody")[0] == 1
    assert not (folder / "keys/dkim").exists()
    code, output = ask(folder, "dkim", "add", "Bücher.example")
    assert (code, output.startswith("gatepost._domainkey.xn--bcher-kva.example. TXT v=DKIM1")) == (0, True)
    assert "needs another --selector" in ask(folder, "dkim", "add", "bücher.example")[1]
    assert ask(folder, "dkim", "add", "acme.example", "--selector", "../x")[0] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_daemon(folder: Path) -> None:
    (folder / "ham.eml").write_text("From: a@b.example\n\nminutes of the meeting\n")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534)
    assert ask(folder, "dkim", "add", "acme.example")[0] == 0
    assert ask(folder, "learn", "ham", str(folder / "ham.eml"))[0] == 0
    assert ask(folder, "keys", "rotate")[0] == 0
    assert {path.stat().st_uid for path in folder.rglob("*")} == {65534}


def _expired(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "keys/tls.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay.example")])
    built = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2021, 1, 1, tzinfo=UTC)).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "keys/tls.crt").write_bytes(built.public_bytes(serialization.Encoding.PEM))


#: What keeps nothing from running and is found out too late: what is spoilt, and the caution.
CAUTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "keys open to all": (
        lambda folder: (folder / "keys/master.keys").chmod(0o644),
        "keys/master.keys can be read by every user of this machine: chmod 600",
    ),
    "an old certificate": (_expired, "tls.crt ended on 2021-01-01: mail clients will refuse it"),
    "no secret": (
        lambda folder: ask(folder, "customer", "add", "acme", "--server", "a.example:25", "--auth", "u:none"),
        "nothing can log in at server acme",
    ),
    "a customer misspelt": (
        lambda folder: (
            ask(folder, "customer", "add", "acme", "--server", "a.example:25"),
            _swap("[returns]", '[returns]\ncustomers = ["acne"]')(folder),
        ),
        "returns.customers: there is no customer acne (did you mean acme?)",
    ),
    "no texts": (
        _swap("[notices]", '[notices]\ntemplates = "texts"'),
        "notices.templates: there is no folder texts: the shipped texts are sent",
    ),
}


@pytest.mark.parametrize("caution", CAUTIONS)
def test_check_warns_of_what_is_found_out_too_late(folder: Path, caution: str) -> None:
    spoil, says = CAUTIONS[caution]
    assert says not in ask(folder, "check")[1]
    spoil(folder)
    code, output = ask(folder, "check")
    assert (code, says in output) == (0, True), output
