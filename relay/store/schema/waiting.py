"""Mail that waits, for its server, its pace, its turn or for staff; and answers in doubt."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    false,
    text,
)

from relay.store.schema.columns import Words, metadata, moment, number, structure, words

#: A worker died while it had the message, or has it now: few rows, so an index of their own finds them.
OUTBOX_SUSPECT = "deaths > 0 OR worker <> ''"

OUTBOX_UNSCREENED = "reason = 'unscreened'"

# Mail that waits: for its server, its pace, its turn, or for staff. One row a message.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Words, primary_key=True),
    Column("state", Words, nullable=False),
    words("reason"),
    Column("account_id", BigInteger, nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    Column("server_id", BigInteger, nullable=False),
    moment("at_us"),
    # the next attempt; 0: at once, whatever the back-off says; of a leased row: when the lease ends
    moment("next_us"),
    # what happens without any attempt: a delay notice, expiry
    moment("deadline_us"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # workers that died while they had it
    Column("deaths", Integer, nullable=False, server_default=text("0")),
    # fencing token: who writes must hold the newest
    number("fence"),
    # who has it leased, empty if nobody
    words("worker"),
    number("size"),
    Column("recipients", Integer, nullable=False),
    # JSON of sender and recipients with their states, sealed
    Column("envelope", LargeBinary, nullable=False),
    # the body is a file of the spool folder, not a row of outbox_body
    Column("in_file", Boolean, nullable=False, server_default=false()),
    words("last"),
    Column("score", Float, nullable=False, server_default=text("0")),
    structure("hits", "[]"),
    # what the same body has in common, for acting on a campaign at once
    words("campaign"),
    Index(None, "state", "server_id", "next_us"),
    Index(None, "state", "deadline_us"),
    Index(None, "account_id", "state"),
    Index(
        "ix_outbox_suspect",
        "server_id",
        "next_us",
        sqlite_where=text(OUTBOX_SUSPECT),
        postgresql_where=text(OUTBOX_SUSPECT),
    ),
    Index(
        "ix_outbox_unscreened",
        "state",
        sqlite_where=text(OUTBOX_UNSCREENED),
        postgresql_where=text(OUTBOX_UNSCREENED),
    ),
)

# When the next message of a throttled account may leave, for all nodes alike.
pace = Table(
    "pace",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    moment("next_us"),
)

outbox_body = Table(
    "outbox_body",
    metadata,
    Column("id", Words, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# Answers whose arrival is in doubt: the client's retry gets the same one. Keys are keyed hashes.
answer = Table(
    "answer",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    moment("expires_us", index=True),
    Column("code", Integer, nullable=False),
    words("text"),
    words("queue_id"),
)
