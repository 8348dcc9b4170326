"""All tables of the first release."""

from __future__ import annotations

from alembic import op

from relay.store.schema import AUDIT_LOCKS, metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    metadata.create_all(op.get_bind())
    for statement in AUDIT_LOCKS[op.get_bind().dialect.name]:
        op.execute(statement)
