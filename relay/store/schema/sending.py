"""What was sent, by whom and how they usually do; no foreign keys, rows outlive accounts and checks cost."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, Table, text

from relay.store.schema.columns import Words, metadata, moment, number, structure, words

# The journal: one row a message, written in groups. No foreign keys: rows outlive accounts, and checks cost.
#: From this score on a message counts as spam-like (the shipped threshold for a tag, points).
SPAM_SCORE = 4.0

MESSAGE_SPAM = f"score >= {SPAM_SCORE}"

message = Table(
    "message",
    metadata,
    Column("id", Words, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    moment("at_us"),
    Column("action", Words, nullable=False),
    Column("outcome", Words, nullable=False, server_default=text("'forwarded'")),
    Column("score", Float, nullable=False, server_default=text("0")),
    structure("hits", "[]"),
    words("malformed"),
    Column("reply_code", Integer, nullable=False, server_default=text("0")),
    words("reply_text"),
    number("size"),
    Column("recipient_count", Integer, nullable=False, server_default=text("0")),
    # 32 bytes a recipient: its keyed hash, then its domain's
    Column("recipients", LargeBinary, nullable=False),
    Column("body_hash", LargeBinary),
    # 64 bits that copies of one text have nearly in common, as a signed number; 0: it says too little
    number("fingerprint"),
    Column("message_id_hash", LargeBinary),
    # sealed; only where the return path is ours: who is told of what comes back
    Column("sender", LargeBinary),
    words("client_network"),
    structure("unanswered", "[]"),
    words("ruleset"),
    structure("stages", "{}"),
    Index(None, "account_id", "at_us"),
    # covers the charts: counts by decision are read without the rows
    Index(None, "at_us", "action", "customer_id"),
    Index(
        "ix_message_spam",
        "account_id",
        "at_us",
        sqlite_where=text(MESSAGE_SPAM),
        postgresql_where=text(MESSAGE_SPAM),
    ),
)

# Counters of an account in buckets of ten minutes of arrival.
tally = Table(
    "tally",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("bucket_us", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Words, primary_key=True),
    number("value"),
    Index(None, "bucket_us"),  # who did anything of late
    sqlite_with_rowid=False,
)

# From where, and with which programs, an account sent: the first time, and the last to ten minutes.
network = Table(
    "network",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    # network, or program (a mail program's name, hashed)
    Column("kind", Words, primary_key=True, server_default=text("'network'")),
    Column("network", Words, primary_key=True),
    moment("first_us"),
    moment("last_us"),
    # two letters (ISO 3166) where a database of countries is configured
    words("country"),
    sqlite_with_rowid=False,
)

# To whom an account wrote: the first 8 bytes of the recipient's keyed hash. The last time is kept to the day.
correspondent = Table(
    "correspondent",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient", BigInteger, primary_key=True, autoincrement=False),
    moment("first_us"),
    moment("last_us"),
    sqlite_with_rowid=False,
)

# What was learned of an account before this moment was erased.
habit = Table(
    "habit",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    moment("since_us"),
)

# Texts that people complained about, or that staff deleted as spam; fingerprints only.
campaign = Table(
    "campaign",
    metadata,
    Column("fingerprint", BigInteger, primary_key=True, autoincrement=False),
    Column("source", Words, nullable=False),
    number("reports"),
    words("message_id"),
    Column("account_id", BigInteger, nullable=False, index=True),
    moment("first_us"),
    moment("last_us", index=True),
)

# What was relayed on a day (whole days since 1970 UTC) to a recipient domain: the denominator of rates.
cohort = Table(
    "cohort",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("domain_hash", LargeBinary, primary_key=True),
    number("relayed"),
    Index(None, "day"),  # what had its time
    sqlite_with_rowid=False,
)
