"""All tables of the first release; written by tests/relay/store/regenerate.py, never by hand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "answer",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("queue_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_answer")),
    )
    op.create_index(op.f("ix_answer_expires_us"), "answer", ["expires_us"], unique=False)
    op.create_table(
        "appeal",
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("closed_us", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("answer", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_appeal")),
    )
    op.create_index(op.f("ix_appeal_at_us"), "appeal", ["at_us"], unique=False)
    op.create_table(
        "audit",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("details", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_object"), "audit", ["object"], unique=False)
    op.create_table(
        "bounce",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("recipient_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("domain_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sent_us", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("permanent", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "recipient_hash", name=op.f("pk_bounce")),
    )
    op.create_index(op.f("ix_bounce_account_id_sent_us"), "bounce", ["account_id", "sent_us"], unique=False)
    op.create_index(
        op.f("ix_bounce_customer_id_recipient_hash"),
        "bounce",
        ["customer_id", "recipient_hash"],
        unique=False,
    )
    op.create_table(
        "campaign",
        sa.Column("fingerprint", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reports", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("message_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_campaign")),
    )
    op.create_index(op.f("ix_campaign_account_id"), "campaign", ["account_id"], unique=False)
    op.create_index(op.f("ix_campaign_last_us"), "campaign", ["last_us"], unique=False)
    op.create_table(
        "change",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_change")),
    )
    op.create_table(
        "cohort",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("domain_hash", sa.LargeBinary(), nullable=False),
        sa.Column("relayed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "day", "domain_hash", name=op.f("pk_cohort")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_cohort_day"), "cohort", ["day"], unique=False)
    op.create_table(
        "complaint",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("feedback_type", sa.Text(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("reporter", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("server_id", sa.BigInteger(), nullable=True),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("sent_us", sa.BigInteger(), nullable=True),
        sa.Column("recipient_hash", sa.LargeBinary(), nullable=True),
        sa.Column("domain_hash", sa.LargeBinary(), nullable=True),
        sa.Column("counted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("why", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("details", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_complaint")),
    )
    op.create_index(op.f("ix_complaint_account_id_at_us"), "complaint", ["account_id", "at_us"], unique=False)
    op.create_index(op.f("ix_complaint_at_us"), "complaint", ["at_us"], unique=False)
    op.create_index(op.f("ix_complaint_message_id"), "complaint", ["message_id"], unique=False)
    op.create_table(
        "correspondent",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recipient", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "recipient", name=op.f("pk_correspondent")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("brand", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("phone", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("language", sa.Text(), server_default=sa.text("'en'"), nullable=False),
        sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("set_by", sa.Text(), server_default=sa.text("'staff'"), nullable=False),
        sa.Column("standing_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("own_state", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("own_since_us", sa.BigInteger(), nullable=True),
        sa.Column("own_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["customer.id"], name=op.f("fk_customer_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("name", name=op.f("uq_customer_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "decision",
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("from_state", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("to_state", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("evidence", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_decision")),
    )
    op.create_index(op.f("ix_decision_at_us"), "decision", ["at_us"], unique=False)
    op.create_index(
        op.f("ix_decision_level_subject_id_at_us"), "decision", ["level", "subject_id", "at_us"], unique=False
    )
    op.create_table(
        "habit",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_habit")),
    )
    op.create_table(
        "login_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=False),
        sa.Column("mechanism", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("credential_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_event")),
    )
    op.create_index(
        op.f("ix_login_event_account_id_at_us"), "login_event", ["account_id", "at_us"], unique=False
    )
    op.create_index(op.f("ix_login_event_at_us"), "login_event", ["at_us"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), server_default=sa.text("'forwarded'"), nullable=False),
        sa.Column("score", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("hits", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("malformed", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("reply_code", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reply_text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("recipient_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("recipients", sa.LargeBinary(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("message_id_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sender", sa.LargeBinary(), nullable=True),
        sa.Column("client_network", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("unanswered", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("ruleset", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("stages", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index(op.f("ix_message_account_id_at_us"), "message", ["account_id", "at_us"], unique=False)
    op.create_index(
        op.f("ix_message_at_us_action_customer_id"),
        "message",
        ["at_us", "action", "customer_id"],
        unique=False,
    )
    op.create_index(
        "ix_message_spam",
        "message",
        ["account_id", "at_us"],
        unique=False,
        sqlite_where=sa.text("score >= 4.0"),
        postgresql_where=sa.text("score >= 4.0"),
    )
    op.create_table(
        "network",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), server_default=sa.text("'network'"), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("country", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "kind", "network", name=op.f("pk_network")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "nonce",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "value", name=op.f("pk_nonce")),
    )
    op.create_index(op.f("ix_nonce_expires_us"), "nonce", ["expires_us"], unique=False)
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_us", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
    )
    op.create_index(
        op.f("ix_notice_level_subject_id_kind_channel_hour"),
        "notice",
        ["level", "subject_id", "kind", "channel", "hour"],
        unique=True,
    )
    op.create_index(op.f("ix_notice_state_next_us"), "notice", ["state", "next_us"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("server_id", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("next_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_us", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deaths", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("recipients", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("in_file", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("last", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("score", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("hits", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("campaign", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_account_id_state"), "outbox", ["account_id", "state"], unique=False)
    op.create_index(op.f("ix_outbox_state_deadline_us"), "outbox", ["state", "deadline_us"], unique=False)
    op.create_index(
        op.f("ix_outbox_state_server_id_next_us"), "outbox", ["state", "server_id", "next_us"], unique=False
    )
    op.create_index(
        "ix_outbox_suspect",
        "outbox",
        ["server_id", "next_us"],
        unique=False,
        sqlite_where=sa.text("deaths > 0 OR worker <> ''"),
        postgresql_where=sa.text("deaths > 0 OR worker <> ''"),
    )
    op.create_index(
        "ix_outbox_unscreened",
        "outbox",
        ["state"],
        unique=False,
        sqlite_where=sa.text("reason = 'unscreened'"),
        postgresql_where=sa.text("reason = 'unscreened'"),
    )
    op.create_table(
        "outbox_body",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_body")),
    )
    op.create_table(
        "pace",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_pace")),
    )
    op.create_table(
        "reporter",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("covers", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("dkim_key", sa.Text(), nullable=True),
        sa.Column("watched", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=True),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_reporter")),
    )
    op.create_table(
        "staff",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("totp", sa.LargeBinary(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("disabled_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_staff")),
    )
    op.create_table(
        "suppression",
        sa.Column("customer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recipient_hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("events", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=True),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("customer_id", "recipient_hash", "kind", name=op.f("pk_suppression")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "switch",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_switch")),
    )
    op.create_table(
        "tally",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("bucket_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "bucket_us", "name", name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_tally_bucket_us"), "tally", ["bucket_us"], unique=False)
    op.create_table(
        "vote",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("voter", sa.LargeBinary(), nullable=False),
        sa.Column("complaint_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("reporter", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sent_us", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("most", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "voter", name=op.f("pk_vote")),
    )
    op.create_index(op.f("ix_vote_account_id_sent_us"), "vote", ["account_id", "sent_us"], unique=False)
    op.create_table(
        "waiting_report",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting_report")),
    )
    op.create_index(op.f("ix_waiting_report_at_us"), "waiting_report", ["at_us"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id_hash", sa.LargeBinary(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("used_us", sa.BigInteger(), nullable=True),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_api_token_customer_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_api_token")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_token_prefix")),
    )
    op.create_table(
        "customer_domain",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("claimed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.id"], name=op.f("fk_customer_domain_customer_id")
        ),
        sa.PrimaryKeyConstraint("domain", "customer_id", name=op.f("pk_customer_domain")),
    )
    op.create_index(op.f("ix_customer_domain_customer_id"), "customer_domain", ["customer_id"], unique=False)
    op.create_table(
        "dkim_key",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("key_file", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_dkim_key_customer_id")),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_dkim_key")),
    )
    op.create_table(
        "server",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hosts", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("tls", sa.Text(), nullable=False),
        sa.Column("auth", sa.Text(), nullable=False),
        sa.Column("relay_login", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("relay_secret_file", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("provision_domains", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("trusted_hosts", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("forward", sa.Text(), server_default=sa.text("'proxy'"), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("set_by", sa.Text(), server_default=sa.text("'staff'"), nullable=False),
        sa.Column("standing_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("own_state", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("own_since_us", sa.BigInteger(), nullable=True),
        sa.Column("own_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_server_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server")),
        sa.UniqueConstraint("name", name=op.f("uq_server_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_server_customer_id"), "server", ["customer_id"], unique=False)
    op.create_table(
        "staff_session",
        sa.Column("id_hash", sa.LargeBinary(), nullable=False),
        sa.Column("staff", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("details", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff"], ["staff.name"], name=op.f("fk_staff_session_staff"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_staff_session")),
    )
    op.create_index(op.f("ix_staff_session_expires_us"), "staff_session", ["expires_us"], unique=False)
    op.create_index(op.f("ix_staff_session_staff"), "staff_session", ["staff"], unique=False)
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("login_key", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("server_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("klass", sa.Text(), nullable=False),
        sa.Column("senders", sa.JSON(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=True),
        sa.Column("set_by", sa.Text(), server_default=sa.text("'staff'"), nullable=False),
        sa.Column("standing_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("own_state", sa.Text(), server_default=sa.text("'active'"), nullable=False),
        sa.Column("own_since_us", sa.BigInteger(), nullable=True),
        sa.Column("own_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_account_customer_id")),
        sa.ForeignKeyConstraint(["server_id"], ["server.id"], name=op.f("fk_account_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("login_key", name=op.f("uq_account_login_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_account_customer_id"), "account", ["customer_id"], unique=False)
    op.create_index(op.f("ix_account_server_id"), "account", ["server_id"], unique=False)
    op.create_index(op.f("ix_account_state_until_us"), "account", ["state", "until_us"], unique=False)
    op.create_table(
        "credential",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("blocked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("blocked_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_credential_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_credential_account_id"), "credential", ["account_id"], unique=False)
    op.bulk_insert(
        sa.table("counter", sa.column("name"), sa.column("value")),
        [{"name": "change", "value": 0}, {"name": "audit", "value": 0}],
    )
    _append_only()


def _append_only() -> None:
    """Lock the audit log against slips, which tables cannot do by themselves."""
    for statement in {
        "sqlite": (
            "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit WHEN NEW.salt IS NOT NULL OR (NEW.seq, NEW.at_us, NEW.action, NEW.digest, NEW.hash, NEW.previous) IS NOT (OLD.seq, OLD.at_us, OLD.action, OLD.digest, OLD.hash, OLD.previous) BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
            "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
        ),
        "postgresql": (
            "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
            "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW WHEN (NEW.salt IS NOT NULL OR (NEW.seq, NEW.at_us, NEW.action, NEW.digest, NEW.hash, NEW.previous) IS DISTINCT FROM (OLD.seq, OLD.at_us, OLD.action, OLD.digest, OLD.hash, OLD.previous)) EXECUTE FUNCTION audit_append_only()",
            "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_append_only()",
        ),
    }[op.get_bind().dialect.name]:
        op.execute(statement)
