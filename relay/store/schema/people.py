"""Who pays, sends, vouches and works here: customers, servers, accounts, domains, staff."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, Table, false, text, true

from relay.store.schema.columns import Id, Words, metadata, moment, number, standing, structure, words

customer = Table(
    "customer",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("mode", Words, nullable=False),
    words("contact"),
    words("brand"),
    words("phone"),
    Column("language", Words, nullable=False, server_default=text("'en'")),
    Column("parent_id", ForeignKey("customer.id")),
    moment("created_us"),
    *standing(),
    sqlite_autoincrement=True,  # an id is never given out twice: tokens and hashes outlive their owners
)

server = Table(
    "server",
    metadata,
    Column("id", Id, primary_key=True),
    Column("customer_id", ForeignKey("customer.id"), nullable=False, index=True),
    Column("name", Words, nullable=False, unique=True),
    structure("hosts", "[]"),
    Column("tls", Words, nullable=False),
    Column("auth", Words, nullable=False),
    words("relay_login"),
    words("relay_secret_file"),
    structure("provision_domains", "[]"),
    Column("trusted_hosts", Boolean, nullable=False, server_default=true()),
    # proxy: the server answers while the client waits; queue: always the outbox first
    Column("forward", Words, nullable=False, server_default=text("'proxy'")),
    moment("created_us"),
    *standing(),
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
    structure("senders", "[]"),
    moment("created_us"),
    *standing(),
    Index(None, "state", "until_us"),  # who comes back, and when
    sqlite_autoincrement=True,
)

credential = Table(
    "credential",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", ForeignKey("account.id"), nullable=False, index=True),
    words("hash"),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("blocked", Boolean, nullable=False, server_default=false()),
    moment("created_us"),
    moment("blocked_us", nullable=True),
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
    structure("covers", "[]"),
    Column("dkim_key", Words),
    # its reports are grade B until staff trust it
    Column("watched", Boolean, nullable=False, server_default=false()),
    # votes an hour, beyond which staff look first; none: ten times its usual
    Column("cap", BigInteger),
    moment("added_us"),
)

dkim_key = Table(
    "dkim_key",
    metadata,
    Column("domain", Words, primary_key=True),
    Column("selector", Words, nullable=False),
    Column("key_file", Words, nullable=False),
    Column("customer_id", ForeignKey("customer.id")),
    moment("added_us"),
)

login_event = Table(
    "login_event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    moment("at_us", index=True),
    Column("ip", Words, nullable=False),
    words("mechanism"),
    Column("ok", Boolean, nullable=False),
    Column("credential_id", BigInteger),
    Index(None, "account_id", "at_us"),
)

staff = Table(
    "staff",
    metadata,
    Column("name", Words, primary_key=True),
    Column("password_hash", Words, nullable=False),
    Column("role", Words, nullable=False),
    Column("totp", LargeBinary),
    # the last time step whose code was taken: a code works once
    number("totp_step"),
    moment("created_us"),
    moment("disabled_us", nullable=True),
)

staff_session = Table(
    "staff_session",
    metadata,
    # SHA-256 of the session id: whoever reads the table cannot log in with it
    Column("id_hash", LargeBinary, primary_key=True),
    Column("staff", ForeignKey("staff.name", ondelete="CASCADE"), nullable=False, index=True),
    moment("created_us"),
    moment("seen_us"),
    moment("expires_us", index=True),
    structure("details", "{}"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id_hash", LargeBinary, primary_key=True),
    # the first characters of the token, by which people recognise it
    Column("prefix", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    structure("scopes", "[]"),
    # null: the provider's own; else it sees this customer alone
    Column("customer_id", ForeignKey("customer.id", ondelete="CASCADE")),
    Column("made_by", Words, nullable=False),
    moment("created_us"),
    moment("used_us", nullable=True),
    moment("expires_us", nullable=True),
    moment("revoked_us", nullable=True),
)
