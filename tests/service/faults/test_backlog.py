"""DU-36: a restart with much waiting mail costs no time and no memory; the bench has 100,000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bench.outbox import backlog

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import Server

pytestmark = pytest.mark.service

MESSAGES = 10_000


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_du_36_a_restart_with_much_waiting_mail_is_as_quick_as_one_with_none(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """In CPU, which other programs on the machine do not change; mail is delivered and taken meanwhile."""
    url = "sqlite:///gatepost.db"
    if kind == "postgresql":
        server: Server = request.getfixturevalue("postgres_server")
        url = server.empty()
    empty, full = backlog.measure(tmp_path, url, MESSAGES)
    assert full.ready_cpu_seconds < empty.ready_cpu_seconds + 1
    assert full.rss_mb < empty.rss_mb + 100
    assert full.delivered
