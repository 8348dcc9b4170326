"""Writes migration 0001 anew from relay/store/schema: `python -m tests.relay.store.regenerate`.

Only until the first release; from then on a change of the schema is a new migration, written by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import UpgradeOps
from sqlalchemy import TextClause, create_engine
from sqlalchemy.sql.elements import False_, True_

from relay.store import migrate, schema

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

PLACE = Path(migrate.__file__).with_name("migrations") / "versions" / "0001_first.py"
_HEAD = '''"""All tables of the first release; written by tests/relay/store/regenerate.py, never by hand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
'''
_TAIL = '''

def _append_only() -> None:
    """Lock the audit log against slips, which tables cannot do by themselves."""
    for statement in {locks}[op.get_bind().dialect.name]:
        op.execute(statement)
'''


def _plain(kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """Name types and defaults by what they are in any database: migrations must not hang on our code."""
    del context
    if kind == "type" and isinstance(item, schema.Words):
        return "sa.Text()"
    if kind == "server_default" and isinstance(item.arg, TextClause):
        return f"sa.text({item.arg.text!r})"
    if kind == "server_default" and isinstance(item.arg, (True_, False_)):
        return f"sa.{item.arg}()"
    return False


def text() -> str:
    """Return the migration's source."""
    options = {"render_item": _plain, "render_as_batch": False}
    with create_engine("sqlite://").connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        script = produce_migrations(context, schema.metadata)
        operations = script.upgrade_ops
        if not isinstance(operations, UpgradeOps):
            raise TypeError(operations)
        body = render_python_code(operations, render_item=_plain, migration_context=context)
    counters = ", ".join(f'{{"name": "{name}", "value": 0}}' for name in schema.COUNTERS)
    table = 'sa.table("counter", sa.column("name"), sa.column("value"))'
    lines = [line for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]
    lines = [line if line.startswith("    ") else "    " + line for line in lines]
    lines += [f"    op.bulk_insert({table}, [{counters}])", "    _append_only()"]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL.format(locks=repr(schema.AUDIT_LOCKS))


def main(place: Path = PLACE) -> None:
    """Write the file and format it."""
    place.write_text(text(), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(place)], check=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
