"""What people do wrong most often: one line that says what to do, and an exit code that scripts can tell."""

from __future__ import annotations

import shutil
import socket
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

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
