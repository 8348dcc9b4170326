from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres import Server, postgres_server
from tests.service.faults.site import Site
from tests.service.faults.stores import Postgres, Sqlite
from tests.service.faults.warm import Starter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["postgres_server"]


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    """The process that daemons are forked from."""
    made = Starter()
    yield made
    made.close()


@pytest.fixture
def on_sqlite(tmp_path: Path, starter: Starter) -> Iterator[Site]:
    store = Sqlite(tmp_path)
    with Site(tmp_path, store, starter=starter) as site:
        site.relay.start()
        yield site
    store.close()


@pytest.fixture
def on_postgres(tmp_path: Path, starter: Starter, postgres_server: Server) -> Iterator[Site]:
    store = Postgres(tmp_path, postgres_server)
    with Site(tmp_path, store, starter=starter) as site:
        site.relay.start()
        yield site
    store.close()
