from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert

from relay.store import schema
from relay.store.engine import Store
from tests.postgres import Server, postgres_server
from tests.steady import steady

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

__all__ = ["postgres_server"]

counter = schema.counter


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    store = Store("sqlite:///template.db", folder)
    store.migrate()
    store.close()
    return folder / "template.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database, of both kinds in turn."""
    if request.param == "sqlite":
        yield "sqlite:///gatepost.db"
        return
    server: Server = request.getfixturevalue("postgres_server")
    url = server.empty()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database, of both kinds in turn."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("migrated_file")
        shutil.copyfile(template, tmp_path / "gatepost.db")
        yield "sqlite:///gatepost.db"
        return
    server: Server = request.getfixturevalue("postgres_server")
    url = server.migrated()
    yield url
    server.drop(url)


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    store = Store(url, tmp_path)
    yield store
    store.close()


async def healed(store: Store) -> float:
    begin = steady()
    async with asyncio.timeout(15):
        while not store.healthy:  # noqa: ASYNC110 - the probe runs in a thread of its own
            await asyncio.sleep(0.02)
    return steady() - begin


def add(tx: Connection, name: str = "a") -> None:
    tx.execute(insert(counter).values(name=name, value=1))
