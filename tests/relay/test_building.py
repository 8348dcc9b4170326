from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from relay import building
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
