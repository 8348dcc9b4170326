from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from relay.cli import main
from relay.store import audit
from relay.store.engine import Store

if TYPE_CHECKING:
    from pathlib import Path

LOGIN = "ann@acme.example"
DEEDS = [
    ("customer added", ["customer", "add", "acme", "--server", "127.0.0.1:25"], ""),
    ("account added", ["account", "add", LOGIN, "--customer", "acme", "--json"], ""),
    ("account changed", ["account", "change", LOGIN, "--sender", "@acme.example", "--class", "bulk"], ""),
    ("password changed", ["account", "password", LOGIN, "--password-stdin"], "secret-and-long-enough\n"),
    ("customer changed", ["customer", "change", "acme", "--mode", "observe"], ""),
    ("credential blocked", ["credential", "block", LOGIN, "--password-stdin"], "secret-and-long-enough\n"),
    (
        "credential unblocked",
        ["credential", "unblock", LOGIN, "--password-stdin"],
        "secret-and-long-enough\n",
    ),
    ("reporter added", ["reporter", "add", "isp.example", "--covers", "isp.example"], ""),
    ("reporter changed", ["reporter", "change", "isp.example", "--trust", "watch", "--cap", "9"], ""),
    ("reporter removed", ["reporter", "remove", "isp.example"], ""),
    ("staff added", ["staff", "add", "eve", "--role", "support"], ""),
    ("staff changed", ["staff", "change", "eve", "--role", "viewer", "--disable"], ""),
    ("staff password and second factor reset", ["staff", "password", "eve"], ""),
    ("token made", ["token", "add", "billing", "--scope", "read", "--customer", "acme"], ""),
    ("DKIM key added", ["dkim", "add", "acme.example", "--customer", "acme"], ""),
]


def test_every_change_from_the_command_line_is_written_down_without_its_secret(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    runner = CliRunner()
    assert runner.invoke(main, ["init", str(folder), "--json"]).exit_code == 0
    file = str(folder / "gatepost.toml")
    for _, arguments, stdin in DEEDS:
        done = runner.invoke(main, ["-c", file, *arguments], input=stdin)
        assert done.exit_code == 0, done.output
    store = Store("sqlite:///gatepost.db", folder)
    with store.read() as tx:
        entries = list(audit.entries(tx))
        assert audit.verify(tx) is None
    store.close()
    entries.sort(key=lambda entry: entry.seq)
    assert [entry.action for entry in entries] == [action for action, _, _ in DEEDS]
    assert {entry.who for entry in entries} == {"staff:command-line"}
    changed = entries[2].details
    assert (changed["before"]["senders"], changed["after"]["senders"]) == ([LOGIN], ["@acme.example"])
    assert "secret-and-long" not in json.dumps([dict(entry.details) for entry in entries])
