from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from relay.commands.accounts import account
from relay.commands.context import Context
from relay.commands.copies import backup, restore
from relay.commands.customers import customer
from relay.keyring import Keyring
from relay.model import AccountClass, Mode
from relay.store import accounts
from relay.store.engine import Store
from tests.relay.store.people import add_account, add_customer

if TYPE_CHECKING:
    from pathlib import Path

    import click


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "gatepost.toml").write_text('hostname = "gate.example"\n[keys]\nmaster = "master.keys"\n')
    Keyring.create(folder / "master.keys")
    store = Store("sqlite:///gatepost.db", folder)
    store.migrate()
    with store.begin() as tx:
        add_customer(tx)
        add_account(tx)
    store.close()
    return folder


def run(command: click.Command, home: Path, *words: str) -> Result:
    context = Context(home / "gatepost.toml")
    return CliRunner().invoke(command, list(words), obj=context, catch_exceptions=False)


def test_a_copy_is_made_checked_and_brought_back(home: Path, tmp_path: Path) -> None:
    copy, elsewhere = tmp_path / "copy", tmp_path / "elsewhere"
    done = run(backup, home, str(copy))
    assert done.exit_code == 0
    assert "keys are not in this copy" in done.stdout
    assert run(backup, home, str(copy)).exit_code == 1
    assert run(restore, home, str(copy), "--check").exit_code == 0
    assert "exists already" in run(restore, home, str(copy)).stderr
    elsewhere.mkdir()
    for name in ("gatepost.toml", "master.keys"):
        (elsewhere / name).write_bytes((home / name).read_bytes())
    assert run(restore, elsewhere, str(copy)).exit_code == 0
    assert "alice@acme.example" in run(account, elsewhere, "list").stdout
    (copy / "gatepost.db").unlink()
    missing = run(restore, home, str(copy), "--check")
    assert (missing.exit_code, missing.stderr) == (1, "gatepost.db is missing\n")


def test_an_account_and_a_customer_can_be_changed(home: Path) -> None:
    login = "alice@acme.example"
    assert run(account, home, "change", login).exit_code == 2
    assert run(account, home, "change", "nobody", "--class", "bulk").exit_code == 1
    assert run(account, home, "change", login, "--sender", "@acme.example", "--class", "bulk").exit_code == 0
    assert run(customer, home, "change", "acme", "--mode", "observe").exit_code == 0
    store = Store("sqlite:///gatepost.db", home)
    with store.read() as tx:
        found = accounts.account(tx, login)
    store.close()
    assert (found.senders, found.klass) == (("@acme.example",), AccountClass.BULK)
    assert found.customer.mode is Mode.OBSERVE
