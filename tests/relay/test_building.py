from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from relay import building, daemon
from relay import config as configuration
from relay.cli import main
from relay.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("relay")
    assert CliRunner().invoke(main, ["init", str(folder), "--json"]).exit_code == 0
    return folder


def test_a_fresh_installation_has_no_fault(folder: Path) -> None:
    building.examine(configuration.load(folder / "gatepost.toml"))


def test_a_spool_that_cannot_be_written_is_found_before_serving(folder: Path) -> None:
    (folder / "file").touch()
    text = (folder / "gatepost.toml").read_text()
    broken = folder / "broken.toml"
    broken.write_text(text.replace("[outbox]\n", '[outbox]\nfolder = "file/spool"\n'))
    with pytest.raises(ConfigError) as refused:
        building.examine(configuration.load(broken))
    assert [fault.path for fault in refused.value.faults] == ["outbox.folder"]


def test_tables_of_another_making_are_found_before_serving(folder: Path, tmp_path: Path) -> None:
    """Databases from before the first release bear its revision, but not its tables."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = configuration.load(other / "gatepost.toml")
    building.examine(config)
    with closing(sqlite3.connect(other / "gatepost.db")) as database:
        database.executescript("ALTER TABLE reporter DROP COLUMN watched; DROP TABLE campaign;")
    with pytest.raises(ConfigError, match=r"lack campaign, reporter\.watched: go back"):
        building.examine(config)


def test_serve_stops_with_every_fault_and_not_the_first_alone(folder: Path) -> None:
    text = (folder / "gatepost.toml").read_text()
    broken = folder / "two-faults.toml"
    text = text.replace("[outbox]\n", '[outbox]\nfolder = "two-faults.toml/spool"\n')
    text = text.replace("[policy]\n", '[policy]\nladder = "absent.toml"\n')
    broken.write_text(re.sub(r'"[0-9.]+:(587|465|25|8025)"', '"127.0.0.1:0"', text))
    with pytest.raises(ConfigError) as refused:
        daemon.run(broken, configuration.load(broken))
    assert {fault.path for fault in refused.value.faults} == {"outbox.folder", "policy.ladder"}


def test_check_names_everything_that_leaves_the_machine(tmp_path: Path) -> None:
    plain = configuration.parse("", tmp_path)
    text = '[notices]\nserver = "127.0.0.1:2525"\nwebhook = "https://hooks.example/x"\n'
    telling = building.disclosures(configuration.parse(text, tmp_path))
    assert telling[0] == building.disclosures(plain)[0]
    assert [line.split(":")[0] for line in telling[1:]] == ["to 127.0.0.1", "to https"]
    assert len(building.disclosures(plain)) == 1


def test_check_names_scanners_that_are_not_on_this_machine(tmp_path: Path) -> None:
    text = """
[[scanner]]
kind = "clamd"
address = "unix:/run/clamd"
[[scanner]]
kind = "rspamd"
address = "rspamd.example:11333"
[[scanner]]
kind = "clamd"
name = "near"
address = "[::1]:3310"
[[scanner]]
kind = "dnsbl"
zones = ["a.example", "b.example"]
[[scanner]]
kind = "dnsbl"
name = "clients"
zones = ["c.example"]
asks = "client"
"""
    assert building.disclosures(configuration.parse(text, tmp_path))[1:] == [
        "to rspamd.example:11333: every message, whole, with sender and recipients (rspamd)",
        "to DNS, a.example, b.example: domains of authors and links of every message (dnsbl)",
        "to DNS, c.example: the client's address of every message (clients)",
    ]


def test_check_warns_of_what_is_switched_off(tmp_path: Path) -> None:
    assert building.cautions(configuration.parse("", tmp_path)) == []
    text = '[screening]\nenabled = false\n[signing]\nenabled = false\n[policy]\nidentity = "observe"\n'
    cautions = building.cautions(configuration.parse(text, tmp_path))
    assert [line.partition(" ")[0] for line in cautions] == [
        "screening.enabled", "signing.enabled", "policy.identity",
    ]  # fmt: skip


def test_check_warns_of_return_paths_that_lead_nowhere_or_rest_on_no_signature(tmp_path: Path) -> None:
    text = '[returns]\ndomain = "return.example"\n'
    assert building.cautions(configuration.parse(text, tmp_path)) == []
    text += '[listeners]\nfeedback = ""\n[signing]\nenabled = false\n'
    cautions = building.cautions(configuration.parse(text, tmp_path))
    assert [line.split()[4] for line in cautions if line.startswith("returns.domain")] == [
        "listeners.feedback", "signing.enabled",
    ]  # fmt: skip
