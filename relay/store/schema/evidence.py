"""What came back and what followed: complaints, bounces, cases, notices, appeals, suppressions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, false, text

from relay.store.schema.columns import Id, Words, metadata, moment, structure, words

complaint = Table(
    "complaint",
    metadata,
    Column("id", Words, primary_key=True),
    moment("at_us"),
    Column("feedback_type", Words, nullable=False),
    Column("grade", Words, nullable=False),
    words("reporter"),
    Column("account_id", BigInteger),
    Column("server_id", BigInteger),
    Column("customer_id", BigInteger),
    Column("message_id", Words, index=True),
    # when the reported message was sent: votes are booked on that day
    moment("sent_us", nullable=True),
    Column("recipient_hash", LargeBinary),
    Column("domain_hash", LargeBinary),
    Column("counted", Boolean, nullable=False, server_default=false()),
    words("why"),
    structure("details", "{}"),
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
    words("reporter"),
    moment("sent_us"),
    moment("at_us"),
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
    moment("sent_us"),
    moment("at_us"),
    words("status"),
    words("kind"),
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
    moment("at_us"),
    words("step"),
    words("from_state"),
    words("to_state"),
    moment("until_us", nullable=True),
    words("reason"),
    structure("evidence", "{}"),
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
    moment("at_us"),
    # waiting, sent, given up
    Column("state", Words, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    moment("next_us"),
    words("last"),
    Index(None, "level", "subject_id", "kind", "channel", "hour", unique=True),
    Index(None, "state", "next_us"),
)

# What a customer says against a case, by the signed link of its notice; one for each case.
appeal = Table(
    "appeal",
    metadata,
    Column("case_id", Words, primary_key=True),
    moment("at_us", index=True),
    # the customer's own words, sealed (Keyring.seal with the case id as context)
    Column("sealed", LargeBinary, nullable=False),
    moment("closed_us", nullable=True),
    words("closed_by"),
    words("answer"),
)

suppression = Table(
    "suppression",
    metadata,
    Column("customer_id", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient_hash", LargeBinary, primary_key=True),
    Column("kind", Words, primary_key=True),
    Column("events", Integer, nullable=False, server_default=text("0")),
    moment("first_us"),
    moment("last_us"),
    # from when and until when mail is refused; null: seen, but not enough yet
    moment("from_us", nullable=True),
    moment("until_us", nullable=True),
    sqlite_with_rowid=False,
)

# What could not be parsed waits for staff, sealed (Keyring.seal with the id as context).
waiting_report = Table(
    "waiting_report",
    metadata,
    Column("id", Words, primary_key=True),
    moment("at_us", index=True),
    words("why"),
    Column("sealed", LargeBinary, nullable=False),
)
