"""The long run: `python -m tests.service.faults --kills 500 --seed 1 --store postgresql`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests import postgres
from tests.service.faults.campaign import WINDOWS, Campaign
from tests.service.faults.stores import Postgres, Sqlite

if TYPE_CHECKING:
    from tests.service.faults.site import Store


def main() -> int:
    """Run one campaign and print what it did; 1 when the invariant broke or a window was never hit."""
    parser = argparse.ArgumentParser(prog="python -m tests.service.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the folder of the daemon behind")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="gatepost-faults-"))
    server = postgres.start() if given.store == "postgresql" else None
    store: Sqlite | Postgres = Sqlite(home) if server is None else Postgres(home, server)
    try:
        return _run(home, store, given)
    finally:
        store.close()
        if server is not None:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)
        if not given.keep:
            shutil.rmtree(home, ignore_errors=True)


def _run(home: Path, store: Store, given: argparse.Namespace) -> int:
    began = time.monotonic()
    campaign = Campaign(home, store, seed=given.seed, workers=given.workers)

    def tell() -> None:
        if campaign.kills % 50 == 0:
            print(f"{campaign.kills} kills, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    try:
        broken = campaign.run(given.kills, tell=tell)
    finally:
        campaign.close()
    print(campaign.report())
    print(
        f"  seed {given.seed}, {time.monotonic() - began:.0f} s, {home if given.keep else 'folder removed'}"
    )
    never = [name for name in WINDOWS if not campaign.hits[name]]
    for fault in broken[:50]:
        print("BROKEN:", fault)
    if never:
        print("never hit:", ", ".join(never))
    return 1 if broken or never else 0


if __name__ == "__main__":
    sys.exit(main())
