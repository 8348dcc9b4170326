"""Runs the scripts on the connection that relay.store.migrate hands in, inside its transaction."""

from __future__ import annotations

from alembic import context

from relay.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
