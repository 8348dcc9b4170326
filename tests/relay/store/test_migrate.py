from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from relay.errors import StoreError
from relay.store import migrate, schema
from relay.store.connect import LOCK_SECONDS
from relay.store.engine import Store

ROOT = Path(__file__).parents[3]


def test_migrations_make_the_tables_of_the_schema(store: Store) -> None:
    with store.begin() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": False})
        differences = compare_metadata(context, schema.metadata)
        assert differences == [], "run: python -m tests.relay.store.regenerate"
        assert migrate.revision(tx) == schema.REVISION
        assert set(tx.execute(select(schema.counter.c.name)).scalars()) == set(schema.COUNTERS)


def test_a_fresh_install_and_an_upgraded_one_are_the_same(empty_url: str, tmp_path: Path) -> None:
    store = Store(empty_url, tmp_path)
    with store.begin() as tx:
        schema.metadata.create_all(tx)
        made = _shape(tx)
        schema.metadata.drop_all(tx)
    store.migrate()
    with store.begin() as tx:
        migrated = _shape(tx)
    migrated.pop("alembic_version")
    assert migrated == made
    store.close()


def _shape(tx: object) -> dict[str, object]:
    found = inspect(tx)
    assert found is not None
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(table)),
            sorted(tuple(f["constrained_columns"]) for f in found.get_foreign_keys(table)),
            sorted(tuple(u["column_names"]) for u in found.get_unique_constraints(table)),
        )
        for table in found.get_table_names()
    }


def test_many_processes_may_migrate_at_once(empty_url: str, tmp_path: Path) -> None:
    stores = [Store(empty_url, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for outcome in [pool.submit(store.migrate) for store in stores]:
            outcome.result()
    with stores[0].read() as tx:
        assert migrate.revision(tx) == schema.REVISION
    for store in stores:
        store.close()


def test_a_migration_waits_for_a_longer_one(empty_url: str, tmp_path: Path) -> None:
    first, second = Store(empty_url, tmp_path), Store(empty_url, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        with first.begin() as tx:
            migrate.create(tx)
            waiting = pool.submit(second.migrate)
            with pytest.raises(TimeoutError):  # longer than an ordinary write waits for a lock
                waiting.result(LOCK_SECONDS + 1)
        waiting.result(30)
    first.close()
    second.close()


def test_migrating_again_changes_nothing(store: Store) -> None:
    with store.begin() as tx:
        tx.execute(schema.counter.insert().values(name="mine", value=7))
    store.migrate()
    with store.read() as tx:
        assert tx.execute(select(schema.counter.c.value).where(schema.counter.c.name == "mine")).scalar() == 7


def test_a_database_newer_than_the_program_is_refused_and_left_alone(store: Store) -> None:
    with store.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer"):
        store.migrate()
    with store.read() as tx:
        assert migrate.revision(tx) == "9999"


def test_an_older_database_is_copied_before_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("sqlite:///gatepost.db", tmp_path)
    store.migrate()
    assert not list(tmp_path.glob("*revision*"))
    monkeypatch.setattr(schema, "REVISION", "0002")
    store.migrate()
    store.migrate()
    store.close()
    kept = Store("sqlite:///gatepost.db.revision-0001", tmp_path)
    with kept.read() as tx:
        assert migrate.revision(tx) == "0001"
    kept.close()
    assert (tmp_path / "gatepost.db.revision-0001").stat().st_mode & 0o777 == 0o600


_SCRIPT = """
import sys
from pathlib import Path
from relay.store.connect import LOCK_SECONDS
from relay.store.engine import Store
store = Store(sys.argv[1], Path(sys.argv[2]))
print("go", flush=True)
store.migrate()
print("done", flush=True)
"""


@pytest.mark.parametrize("after_seconds", [0.0, 0.15, 0.3])
def test_du_19_a_migration_killed_in_the_middle_is_done_by_the_next(
    empty_url: str, tmp_path: Path, after_seconds: float
) -> None:
    command = [sys.executable, "-c", _SCRIPT, empty_url, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_seconds)
        process.kill()
    store = Store(empty_url, tmp_path)
    store.migrate()
    with store.begin() as tx:
        assert (
            compare_metadata(MigrationContext.configure(tx, opts={"compare_type": False}), schema.metadata)
            == []
        )
    store.close()
