"""All tables of the first release."""

from __future__ import annotations

from alembic import op

from relay.store.schema import AUDIT_LOCKS, COUNTERS, metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    metadata.create_all(op.get_bind())
    op.bulk_insert(metadata.tables["counter"], [{"name": name, "value": 0} for name in COUNTERS])
    for statement in AUDIT_LOCKS[op.get_bind().dialect.name]:
        op.execute(statement)
