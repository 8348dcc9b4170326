"""All tables, once; times are integer microseconds UTC (relay.clock.micros), people are keyed hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
    true,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

#: The alembic revision that these tables are.
REVISION = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Words(TypeDecorator[str]):
    """Text that either database takes: NUL and lone surrogates (hostile input has both) become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Clean what a client may have written."""
        return None if value is None else clean(value)


def clean(value: str) -> str:
    """Return text without what a database refuses; plain ASCII, the usual case, at once."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


#: 64 bits everywhere; SQLite gives out row numbers only to INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")


def _words(name: str, **more: Any) -> Column[str]:
    return Column(name, Words, nullable=False, server_default=text("''"), **more)


def _json(name: str, default: str) -> Column[Any]:
    return Column(name, JSON, nullable=False, server_default=text(f"'{default}'"))


def _moment(name: str, **more: Any) -> Column[int]:
    return Column(name, BigInteger, **{"nullable": False, **more})


def _number(name: str, **more: Any) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"), **more)


def _standing() -> list[Column[Any]]:
    """Return the columns of a standing; customers, servers and accounts have the same."""
    return [
        Column("state", Words, nullable=False, server_default=text("'active'")),
        _moment("since_us"),
        _moment("until_us", nullable=True),
        _words("reason"),
        Column("case_id", Words),
        Column("set_by", Words, nullable=False, server_default=text("'staff'")),
        _number("standing_version"),
        # the owner's own switch: neither lifts the other, the stricter binds
        Column("own_state", Words, nullable=False, server_default=text("'active'")),
        _moment("own_since_us", nullable=True),
        _words("own_by"),
    ]


customer = Table(
    "customer",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("mode", Words, nullable=False),
    _words("contact"),
    _words("brand"),
    _words("phone"),
    Column("language", Words, nullable=False, server_default=text("'en'")),
    Column("parent_id", ForeignKey("customer.id")),
    _moment("created_us"),
    *_standing(),
    sqlite_autoincrement=True,  # an id is never given out twice: tokens and hashes outlive their owners
)

server = Table(
    "server",
    metadata,
    Column("id", Id, primary_key=True),
    Column("customer_id", ForeignKey("customer.id"), nullable=False, index=True),
    Column("name", Words, nullable=False, unique=True),
    _json("hosts", "[]"),
    Column("tls", Words, nullable=False),
    Column("auth", Words, nullable=False),
    _words("relay_login"),
    _words("relay_secret_file"),
    _json("provision_domains", "[]"),
    Column("trusted_hosts", Boolean, nullable=False, server_default=true()),
    # proxy: the server answers while the client waits; queue: always the outbox first
    Column("forward", Words, nullable=False, server_default=text("'proxy'")),
    _moment("created_us"),
    *_standing(),
    sqlite_autoincrement=True,
)

account = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("login", Words, nullable=False),
    # the login as it is compared: lower case
    Column("login_key", Words, nullable=False, unique=True),
    Column("customer_id", ForeignKey("customer.id"), nullable=False, index=True),
    Column("server_id", ForeignKey("server.id"), nullable=False, index=True),
    Column("klass", Words, nullable=False),
    _json("senders", "[]"),
    _moment("created_us"),
    *_standing(),
    Index(None, "state", "until_us"),  # who comes back, and when
    sqlite_autoincrement=True,
)

credential = Table(
    "credential",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    _words("hash"),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("blocked", Boolean, nullable=False, server_default=false()),
    _moment("created_us"),
    _moment("blocked_us", nullable=True),
    sqlite_autoincrement=True,
)

# Which domains are whose, kept with logins, sender patterns, provisioning and DKIM keys.
customer_domain = Table(
    "customer_domain",
    metadata,
    Column("domain", Words, primary_key=True),
    Column("customer_id", ForeignKey("customer.id"), primary_key=True, index=True),
    # by @pattern, provisioning or key; false: only addresses of it were seen
    Column("claimed", Boolean, nullable=False, server_default=false()),
)

reporter = Table(
    "reporter",
    metadata,
    Column("domain", Words, primary_key=True),
    _json("covers", "[]"),
    Column("dkim_key", Words),
    _moment("added_us"),
)

dkim_key = Table(
    "dkim_key",
    metadata,
    Column("domain", Words, primary_key=True),
    Column("selector", Words, nullable=False),
    Column("key_file", Words, nullable=False),
    Column("customer_id", ForeignKey("customer.id")),
    _moment("added_us"),
)

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
    _moment("at_us"),
    Column("action", Words, nullable=False),
    Column("outcome", Words, nullable=False, server_default=text("'forwarded'")),
    Column("score", Float, nullable=False, server_default=text("0")),
    _json("hits", "[]"),
    _words("malformed"),
    Column("reply_code", Integer, nullable=False, server_default=text("0")),
    _words("reply_text"),
    _number("size"),
    Column("recipient_count", Integer, nullable=False, server_default=text("0")),
    # 32 bytes a recipient: its keyed hash, then its domain's
    Column("recipients", LargeBinary, nullable=False),
    Column("body_hash", LargeBinary),
    # 64 bits that copies of one text have nearly in common, as a signed number; 0: it says too little
    _number("fingerprint"),
    Column("message_id_hash", LargeBinary),
    # sealed; only where the return path is ours: who is told of what comes back
    Column("sender", LargeBinary),
    _words("client_network"),
    _json("unanswered", "[]"),
    _words("ruleset"),
    _json("stages", "{}"),
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
    _number("value"),
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
    _moment("first_us"),
    _moment("last_us"),
    # two letters (ISO 3166) where a database of countries is configured
    _words("country"),
    sqlite_with_rowid=False,
)

# To whom an account wrote: the first 8 bytes of the recipient's keyed hash. The last time is kept to the day.
correspondent = Table(
    "correspondent",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient", BigInteger, primary_key=True, autoincrement=False),
    _moment("first_us"),
    _moment("last_us"),
    sqlite_with_rowid=False,
)

# What was learned of an account before this moment was erased.
habit = Table(
    "habit",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    _moment("since_us"),
)

# Texts that people complained about, or that staff deleted as spam; fingerprints only.
campaign = Table(
    "campaign",
    metadata,
    Column("fingerprint", BigInteger, primary_key=True, autoincrement=False),
    Column("source", Words, nullable=False),
    _number("reports"),
    _words("message_id"),
    Column("account_id", BigInteger, nullable=False, index=True),
    _moment("first_us"),
    _moment("last_us", index=True),
)

# What was relayed on a day (whole days since 1970 UTC) to a recipient domain: the denominator of rates.
cohort = Table(
    "cohort",
    metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("domain_hash", LargeBinary, primary_key=True),
    _number("relayed"),
    Index(None, "day"),  # what had its time
    sqlite_with_rowid=False,
)

complaint = Table(
    "complaint",
    metadata,
    Column("id", Words, primary_key=True),
    _moment("at_us"),
    Column("feedback_type", Words, nullable=False),
    Column("grade", Words, nullable=False),
    _words("reporter"),
    Column("account_id", BigInteger),
    Column("server_id", BigInteger),
    Column("customer_id", BigInteger),
    Column("message_id", Words, index=True),
    # when the reported message was sent: votes are booked on that day
    _moment("sent_us", nullable=True),
    Column("recipient_hash", LargeBinary),
    Column("domain_hash", LargeBinary),
    Column("counted", Boolean, nullable=False, server_default=false()),
    _words("why"),
    _json("details", "{}"),
    Index(None, "account_id", "at_us"),
    Index(None, "at_us"),
)

# One vote per (message, voter): the unique key is the rule, however often and wherever a report comes in.
vote = Table(
    "vote",
    metadata,
    Column("message_id", Words, primary_key=True),
    Column("voter", LargeBinary, primary_key=True),
    Column("complaint_id", Words, nullable=False),
    Column("account_id", BigInteger, nullable=False),
    Column("grade", Words, nullable=False),
    _words("reporter"),
    _moment("sent_us"),
    _moment("at_us"),
    # taken back by a not-spam report
    Column("withdrawn", Boolean, nullable=False, server_default=false()),
    # votes of this reporter about this message that count at most: its recipients at the reporter's domains
    Column("most", Integer, nullable=False, server_default=text("1")),
    Index(None, "account_id", "sent_us"),
)

bounce = Table(
    "bounce",
    metadata,
    Column("message_id", Words, primary_key=True),
    Column("recipient_hash", LargeBinary, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    Column("domain_hash", LargeBinary),
    _moment("sent_us"),
    _moment("at_us"),
    _words("status"),
    _words("kind"),
    Column("permanent", Boolean, nullable=False),
    Index(None, "account_id", "sent_us"),
    Index(None, "customer_id", "recipient_hash"),
)

# Cases: why a standing changed, with the numbers that `explain` computes again.
decision = Table(
    "decision",
    metadata,
    Column("case_id", Words, primary_key=True),
    Column("level", Words, nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    _moment("at_us"),
    _words("step"),
    _words("from_state"),
    _words("to_state"),
    _moment("until_us", nullable=True),
    _words("reason"),
    _json("evidence", "{}"),
    Column("set_by", Words, nullable=False),
    Index(None, "level", "subject_id", "at_us"),
    Index(None, "at_us"),
)

# What customers and staff were told of a case, by which way: once for each kind and hour.
notice = Table(
    "notice",
    metadata,
    Column("id", Id, primary_key=True),
    Column("case_id", Words, nullable=False),
    Column("level", Words, nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("kind", Words, nullable=False),
    # customer, staff or webhook
    Column("channel", Words, nullable=False),
    # whole hours since 1970 UTC
    Column("hour", BigInteger, nullable=False),
    _moment("at_us"),
    # waiting, sent, given up
    Column("state", Words, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("next_us"),
    _words("last"),
    Index(None, "level", "subject_id", "kind", "channel", "hour", unique=True),
    Index(None, "state", "next_us"),
)

# What a customer says against a case, by the signed link of its notice; one for each case.
appeal = Table(
    "appeal",
    metadata,
    Column("case_id", Words, primary_key=True),
    _moment("at_us", index=True),
    # the customer's own words, sealed (Keyring.seal with the case id as context)
    Column("sealed", LargeBinary, nullable=False),
    _moment("closed_us", nullable=True),
    _words("closed_by"),
    _words("answer"),
)

suppression = Table(
    "suppression",
    metadata,
    Column("customer_id", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient_hash", LargeBinary, primary_key=True),
    Column("kind", Words, primary_key=True),
    Column("events", Integer, nullable=False, server_default=text("0")),
    _moment("first_us"),
    _moment("last_us"),
    # from when and until when mail is refused; null: seen, but not enough yet
    _moment("from_us", nullable=True),
    _moment("until_us", nullable=True),
    sqlite_with_rowid=False,
)

# What could not be parsed waits for staff, sealed (Keyring.seal with the id as context).
waiting_report = Table(
    "waiting_report",
    metadata,
    Column("id", Words, primary_key=True),
    _moment("at_us", index=True),
    _words("why"),
    Column("sealed", LargeBinary, nullable=False),
)

staff = Table(
    "staff",
    metadata,
    Column("name", Words, primary_key=True),
    Column("password_hash", Words, nullable=False),
    Column("role", Words, nullable=False),
    Column("totp", LargeBinary),
    # the last time step whose code was taken: a code works once
    _number("totp_step"),
    _moment("created_us"),
    _moment("disabled_us", nullable=True),
)

staff_session = Table(
    "staff_session",
    metadata,
    # SHA-256 of the session id: whoever reads the table cannot log in with it
    Column("id_hash", LargeBinary, primary_key=True),
    Column("staff", ForeignKey("staff.name", ondelete="CASCADE"), nullable=False, index=True),
    _moment("created_us"),
    _moment("seen_us"),
    _moment("expires_us", index=True),
    _json("details", "{}"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id_hash", LargeBinary, primary_key=True),
    # the first characters of the token, by which people recognise it
    Column("prefix", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    _json("scopes", "[]"),
    # null: the provider's own; else it sees this customer alone
    Column("customer_id", ForeignKey("customer.id", ondelete="CASCADE")),
    Column("made_by", Words, nullable=False),
    _moment("created_us"),
    _moment("used_us", nullable=True),
    _moment("expires_us", nullable=True),
    _moment("revoked_us", nullable=True),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Id, primary_key=True, autoincrement=False),
    _moment("at_us"),
    Column("who", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("object", Words, nullable=False),
    _words("reason"),
    # kept as text, byte for byte: the chain hashes it
    _words("details"),
    Column("hash", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Index(None, "object"),
)

# A lock against slips; whoever owns the database can drop it, the hash chain still tells.
_SQLITE_LOCK = "BEFORE {0} ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END"
AUDIT_LOCKS = {
    "sqlite": (
        "CREATE TRIGGER audit_no_update " + _SQLITE_LOCK.format("UPDATE"),
        "CREATE TRIGGER audit_no_delete " + _SQLITE_LOCK.format("DELETE"),
    ),
    "postgresql": (
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit "
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
    _moment("at_us"),
)

counter = Table(
    "counter",
    metadata,
    Column("name", Words, primary_key=True),
    _number("value"),
)

#: The rows of `counter`; a migration inserts them.
COUNTERS = ("change", "audit")

login_event = Table(
    "login_event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    _moment("at_us", index=True),
    Column("ip", Words, nullable=False),
    _words("mechanism"),
    Column("ok", Boolean, nullable=False),
    Column("credential_id", BigInteger),
    Index(None, "account_id", "at_us"),
)

# Audited switches with an end (`brake`, `bypass`); a name without a row, or past its end, is off.
switch = Table(
    "switch",
    metadata,
    Column("name", Words, primary_key=True),
    _moment("since_us"),
    _moment("until_us", nullable=True),
    Column("set_by", Words, nullable=False),
    _words("reason"),
)

#: A worker died while it had the message, or has it now: few rows, so an index of their own finds them.
OUTBOX_SUSPECT = "deaths > 0 OR worker <> ''"
OUTBOX_UNSCREENED = "reason = 'unscreened'"

# Mail that waits: for its server, its pace, its turn, or for staff. One row a message.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Words, primary_key=True),
    Column("state", Words, nullable=False),
    _words("reason"),
    Column("account_id", BigInteger, nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    Column("server_id", BigInteger, nullable=False),
    _moment("at_us"),
    # the next attempt; 0: at once, whatever the back-off says; of a leased row: when the lease ends
    _moment("next_us"),
    # what happens without any attempt: a delay notice, expiry
    _moment("deadline_us"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # workers that died while they had it
    Column("deaths", Integer, nullable=False, server_default=text("0")),
    # fencing token: who writes must hold the newest
    _number("fence"),
    # who has it leased, empty if nobody
    _words("worker"),
    _number("size"),
    Column("recipients", Integer, nullable=False),
    Column("told", Boolean, nullable=False, server_default=false()),
    # JSON of sender and recipients with their states, sealed
    Column("envelope", LargeBinary, nullable=False),
    # the body is a file of the spool folder, not a row of outbox_body
    Column("in_file", Boolean, nullable=False, server_default=false()),
    _words("last"),
    Column("score", Float, nullable=False, server_default=text("0")),
    _json("hits", "[]"),
    # what the same body has in common, for acting on a campaign at once
    _words("campaign"),
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
    _moment("next_us"),
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
    _moment("expires_us", index=True),
    Column("code", Integer, nullable=False),
    _words("text"),
    _words("queue_id"),
)

# One-time numbers of signed requests, kept while their signatures are fresh: a replay is refused.
nonce = Table(
    "nonce",
    metadata,
    Column("source", Words, primary_key=True),
    Column("value", Words, primary_key=True),
    _moment("expires_us", index=True),
)
