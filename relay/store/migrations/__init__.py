"""Alembic's scripts; read by relay.store.migrate, never run by hand."""
