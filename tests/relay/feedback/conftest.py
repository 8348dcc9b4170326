from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from relay.store.engine import Store
from tests.postgres import Server, postgres_server
from tests.relay.feedback.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["postgres_server"]


@pytest.fixture(scope="session")
def migrated_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feedback")
    store = Store("sqlite:///template.db", folder)
    store.migrate()
    store.close()
    return folder / "template.db"


@pytest.fixture
def store(migrated_template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copyfile(migrated_template, tmp_path / "gatepost.db")
    store = Store("sqlite:///gatepost.db", tmp_path)
    yield store
    store.close()


@pytest.fixture
def scene(store: Store, tmp_path: Path) -> Scene:
    return Scene(store, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def either_scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """The same scene over both databases in turn."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_template"), tmp_path / "gatepost.db")
        store = Store("sqlite:///gatepost.db", tmp_path)
        yield Scene(store, tmp_path)
        store.close()
        return
    server: Server = request.getfixturevalue("postgres_server")
    url = server.migrated()
    store = Store(url, tmp_path)
    yield Scene(store, tmp_path)
    store.close()
    server.drop(url)
