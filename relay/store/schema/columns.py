"""What all tables are made of; times are integer microseconds UTC (relay.clock.micros)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    text,
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


def words(name: str, **more: Any) -> Column[str]:
    """Return a column of text that is empty unless given."""
    return Column(name, Words, nullable=False, server_default=text("''"), **more)


def structure(name: str, default: str) -> Column[Any]:
    """Return a column of JSON."""
    return Column(name, JSON, nullable=False, server_default=text(f"'{default}'"))


def moment(name: str, **more: Any) -> Column[int]:
    """Return a column of microseconds UTC."""
    return Column(name, BigInteger, **{"nullable": False, **more})


def number(name: str, **more: Any) -> Column[int]:
    """Return a column of a 64-bit count, 0 unless given."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"), **more)


def standing() -> list[Column[Any]]:
    """Return the columns of a standing; customers, servers and accounts have the same."""
    return [
        Column("state", Words, nullable=False, server_default=text("'active'")),
        moment("since_us"),
        moment("until_us", nullable=True),
        words("reason"),
        Column("case_id", Words),
        Column("set_by", Words, nullable=False, server_default=text("'staff'")),
        number("standing_version"),
        # the owner's own switch: neither lifts the other, the stricter binds
        Column("own_state", Words, nullable=False, server_default=text("'active'")),
        moment("own_since_us", nullable=True),
        words("own_by"),
    ]
