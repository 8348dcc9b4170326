from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from relay.store.engine import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store of its own; packages that test on both kinds have fixtures of their own."""
    made = Store("sqlite:///gatepost.db", tmp_path)
    made.migrate()
    yield made
    made.close()
