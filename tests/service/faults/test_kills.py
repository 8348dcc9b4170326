"""DU-11…18 and DU-20: whenever the daemon is killed, Invariant I holds.

The long run: `python -m tests.service.faults --kills 500`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.faults.campaign import WINDOWS, Campaign
from tests.service.faults.stores import Postgres, Sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres import Server

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

SEED = 20261122
#: A schedule that missed a window goes on for at most so many more.
KILLS, MOST = 10, 30


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sqlite | Postgres]:
    made: Sqlite | Postgres
    if request.param == "sqlite":
        made = Sqlite(tmp_path)
    else:
        server: Server = request.getfixturevalue("postgres_server")
        made = Postgres(tmp_path, server)
    yield made
    made.close()


def prove(campaign: Campaign, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        broken = campaign.run(kills, most=MOST)
    finally:
        campaign.close()
        with capsys.disabled():
            print("\n" + campaign.report())
    assert broken == []
    assert [name for name in WINDOWS if not campaign.hits[name]] == [], "a window was never hit"


def test_du_11_to_20_kill_9_at_every_stage_under_load(
    store: Sqlite | Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prove(Campaign(tmp_path, store, seed=SEED), KILLS, capsys)


def test_du_11_to_20_kill_9_of_several_processes_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Sqlite(tmp_path)
    campaign = Campaign(tmp_path, store, seed=SEED, workers=2)
    try:
        broken = campaign.run(2)
    finally:
        campaign.close()
        store.close()
        with capsys.disabled():
            print("\n" + campaign.report())
    assert broken == []
