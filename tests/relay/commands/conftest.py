from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from relay.cli import main
from relay.store import staff
from relay.store.engine import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result


class Place:
    """A set-up folder, commands in it, and its store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        assert CliRunner().invoke(main, ["init", str(folder), "--json"]).exit_code == 0
        self.store = Store("sqlite:///gatepost.db", folder)

    def run(self, *arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, ["-c", str(self.folder / "gatepost.toml"), *arguments])
        assert done.exit_code == code, done.output
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def verify(self, name: str, password: str) -> staff.Staff | None:
        with self.store.read() as tx:
            return staff.verify(tx, name, password)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "relay")
    yield made
    made.store.close()
