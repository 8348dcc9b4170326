"""What the processes tell each other and what is kept of it: audit, changes, switches, one-time numbers."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, Table

from relay.store.schema.columns import Id, Words, metadata, moment, number, words

audit = Table(
    "audit",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),
    moment("at_us"),
    Column("who", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("object", Words, nullable=False),
    words("reason"),
    # kept as text, byte for byte: `digest` is made from it
    words("details"),
    # null once the person whom the texts named was erased: then another entry vouches for what is left
    Column("salt", LargeBinary),
    # of the salt and the four texts, so that the chain holds without them
    Column("digest", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Index(None, "object"),
)

# A lock against slips; whoever owns the database can drop it, the hash chain still tells. The one change that
# passes takes the salt away, and leaves all that the chain hashes.
_CHAINED = ("seq", "at_us", "action", "digest", "hash", "previous")
_NEW, _OLD = (", ".join(f"{when}.{name}" for name in _CHAINED) for when in ("NEW", "OLD"))
_SQLITE_LOCK = "BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END"

AUDIT_LOCKS = {
    "sqlite": (
        f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit "
        f"WHEN NEW.salt IS NOT NULL OR ({_NEW}) IS NOT ({_OLD}) {_SQLITE_LOCK}",
        f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {_SQLITE_LOCK}",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW "
        f"WHEN (NEW.salt IS NOT NULL OR ({_NEW}) IS DISTINCT FROM ({_OLD})) "
        "EXECUTE FUNCTION audit_append_only()",
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_append_only()",
    ),
}

# Numbered from `counter` in the same transaction: a reader that saw n has seen all below n.
change = Table(
    "change",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),
    Column("kind", Words, nullable=False),
    Column("key", Words, nullable=False),
    moment("at_us"),
)

counter = Table(
    "counter",
    metadata,
    Column("name", Words, primary_key=True),
    number("value"),
)

#: The rows of `counter`; a migration inserts them.
COUNTERS = ("change", "audit")

# Audited switches with an end (`brake`, `bypass`); a name without a row, or past its end, is off.
switch = Table(
    "switch",
    metadata,
    Column("name", Words, primary_key=True),
    moment("since_us"),
    moment("until_us", nullable=True),
    Column("set_by", Words, nullable=False),
    words("reason"),
)

# One-time numbers of signed requests, kept while their signatures are fresh: a replay is refused.
nonce = Table(
    "nonce",
    metadata,
    Column("source", Words, primary_key=True),
    Column("value", Words, primary_key=True),
    moment("expires_us", index=True),
)
