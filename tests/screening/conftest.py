from __future__ import annotations

import pytest

from screening.ruleset import Ruleset, load


@pytest.fixture(scope="session")
def shipped() -> Ruleset:
    """The rules as they are shipped; loading them checks every example."""
    return load()
