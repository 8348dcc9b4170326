"""Complaints, votes and bounces, and the numbers that the ladder sees of an account.

A vote's row is the maximum of everything that was ever said of it (B < B taken back < A < A taken back), so
that order and number of reports make no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from relay.clock import micros, moment
from relay.errors import NotFound
from relay.model import AccountClass, Grade
from relay.store import campaigns, schema
from relay.store.schema import bounce as _bounce
from relay.store.schema import complaint as _complaint
from relay.store.schema import vote as _vote
from relay.store.schema import waiting_report as _waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Row

_RECIPIENT_BYTES = 32
_HASH_BYTES = 16
#: grade C complaints kept per hour, and reports that wait for staff in all: floods must not fill the disk
MOST_UNATTRIBUTED_PER_HOUR = 1000
MOST_WAITING = 5000
#: the kind of complaints about what a customer only passed on
FORWARDED = "forwarded"


@dataclass(frozen=True, slots=True)
class Vote:
    """One voter about one message."""

    message_id: str
    voter: bytes
    complaint_id: str
    account_id: int
    grade: Grade
    reporter: str
    sent_at: datetime
    most: int
    withdrawn: bool = False

    @property
    def rank(self) -> int:
        """Return 1 to 4: what is said of higher rank stays."""
        return 2 * (self.grade is Grade.A) + self.withdrawn + 1


@dataclass(frozen=True, slots=True)
class Sender:
    """The account that a token names, as far as a report needs it."""

    id: int
    login: str
    customer_id: int
    server_id: int
    klass: AccountClass
    #: whom it may send as: addresses, @domains, or *
    senders: tuple[str, ...] = ()


# Statements of the way that every replay and forgery takes: built once.
_SENDER = select(
    schema.account.c.login,
    schema.account.c.customer_id,
    schema.account.c.server_id,
    schema.account.c.klass,
    schema.account.c.senders,
).where(schema.account.c.id == bindparam("id"))
_RECIPIENTS = select(schema.message.c.recipients).where(schema.message.c.id == bindparam("id"))
_VOTE = select(_vote).where(_vote.c.message_id == bindparam("message"), _vote.c.voter == bindparam("voter"))
_COMPLAINT = select(_complaint.c.id).where(_complaint.c.id == bindparam("id"))
_UNATTRIBUTED = select(func.count()).where(
    _complaint.c.at_us > bindparam("since"), _complaint.c.grade == str(Grade.C)
)
_COUNTED = select(func.count()).where(
    _complaint.c.at_us > bindparam("since"),
    _complaint.c.reporter == bindparam("reporter"),
    _complaint.c.counted.is_(True),
    _complaint.c.grade == str(Grade.A),
)
_WAITS = select(_waiting.c.id).where(_waiting.c.id == bindparam("id"))
_ALL_WAITING = select(func.count()).select_from(_waiting)


def sender(tx: Connection, account_id: int) -> Sender | None:
    """Return the account of a token, None if it is gone."""
    row = tx.execute(_SENDER, {"id": account_id}).first()
    return (
        None
        if row is None
        else Sender(account_id, row[0], row[1], row[2], AccountClass(row[3]), tuple(row[4]))
    )


def recipients_of(tx: Connection, message_id: str) -> dict[bytes, bytes] | None:
    """Return recipient hash -> domain hash of a journalled message, None if there is no such row."""
    packed = tx.execute(_RECIPIENTS, {"id": message_id}).scalar_one_or_none()
    if packed is None:
        return None
    return {
        packed[start : start + _HASH_BYTES]: packed[start + _HASH_BYTES : start + _RECIPIENT_BYTES]
        for start in range(0, len(packed), _RECIPIENT_BYTES)
    }


def owner_of(tx: Connection, domains: Sequence[str]) -> tuple[int | None, int | None]:
    """Return the server and customer whose mail is from one of these domains, where that is one alone."""
    table = schema.customer_domain
    owners = set(tx.execute(select(table.c.customer_id).where(table.c.domain.in_(domains))).scalars())
    if not domains or len(owners) != 1:
        return None, None
    [customer_id] = owners
    servers = select(schema.server.c.id).where(schema.server.c.customer_id == customer_id).limit(2)
    found = tx.execute(servers).scalars().all()
    return (found[0] if len(found) == 1 else None), customer_id


def raises(tx: Connection, votes: Sequence[Vote]) -> bool:
    """Return whether any of these votes would change its row; reads only."""
    return any(_merged(_stored(tx, vote), vote) is not None for vote in votes)


def merge(tx: Connection, now: datetime, votes: Iterable[Vote]) -> int:
    """Bring in votes; return by how many those of their grade that count have grown (negative: taken back).

    The same votes in any order and number leave the same rows.
    """
    grown = 0
    for vote in votes:
        before = _counting(tx, vote)
        stored = _stored(tx, vote)
        values = _merged(stored, vote)
        if values is None:
            continue
        if stored is None:
            key = {"message_id": vote.message_id, "voter": vote.voter, "at_us": micros(now)}
            tx.execute(insert(_vote).values(**key, **values))
        else:
            row = (_vote.c.message_id == vote.message_id) & (_vote.c.voter == vote.voter)
            tx.execute(update(_vote).where(row).values(**values))
        more = _counting(tx, vote) - before
        if vote.grade is Grade.A:
            campaigns.complained(tx, now, vote.message_id, more)
        grown += more
    return grown


def _stored(tx: Connection, vote: Vote) -> Row[Any] | None:
    return tx.execute(_VOTE, {"message": vote.message_id, "voter": vote.voter}).first()


def _merged(stored: Row[Any] | None, vote: Vote) -> dict[str, Any] | None:
    """Return the columns to write, None where the row stays as it is."""
    values = {
        "complaint_id": vote.complaint_id,
        "account_id": vote.account_id,
        "grade": str(vote.grade),
        "reporter": vote.reporter,
        "sent_us": micros(vote.sent_at),
        "withdrawn": vote.withdrawn,
        "most": vote.most,
    }
    if stored is None:
        return values
    rank = 2 * (stored.grade == Grade.A) + bool(stored.withdrawn) + 1
    if vote.rank > rank:
        return values
    # two who say the same of one recipient: the first name in the alphabet stands, whoever came first
    if vote.rank == rank and (vote.reporter, -vote.most) < (stored.reporter, -stored.most):
        return values
    return None


def _counting(tx: Connection, vote: Vote) -> int:
    """Return how many votes of this grade about a message count, of all reporters."""
    counted = _counted(tx, _vote.c.message_id == vote.message_id, _vote.c.grade == str(vote.grade))
    return sum(number for _, _, number in counted)


def _counted(tx: Connection, *where: Any) -> list[tuple[str, str, int]]:
    """Return (grade, reporter, votes) per message and reporter, each no more than may count."""
    group = (_vote.c.message_id, _vote.c.grade, _vote.c.reporter)
    rows = tx.execute(
        select(_vote.c.grade, _vote.c.reporter, func.count(), func.max(_vote.c.most))
        .where(_vote.c.withdrawn.is_(False), *where)
        .group_by(*group)
    )
    return [(grade, reporter, min(int(count), int(most))) for grade, reporter, count, most in rows]


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of an account in a window: by reporter (grade A), and those by token alone."""

    by_reporter: dict[str, int]
    grade_b: int


def votes(tx: Connection, account_id: int, since: datetime, until: datetime | None = None) -> Votes:
    """Return the votes about messages sent from `since`, as they arrived up to `until`."""
    where = [_vote.c.account_id == account_id, _vote.c.sent_us >= micros(since)]
    if until is not None:
        where.append(_vote.c.at_us <= micros(until))
    by_reporter: dict[str, int] = {}
    grade_b = 0
    for grade, reporter, number in _counted(tx, *where):
        if grade == Grade.A:
            by_reporter[reporter] = by_reporter.get(reporter, 0) + number
        else:
            grade_b += number
    return Votes(by_reporter, grade_b)


def vote_ids(tx: Connection, account_id: int, since: datetime, limit: int = 500) -> list[str]:
    """Return the complaint ids behind an account's grade A votes, oldest first."""
    statement = (
        select(_vote.c.complaint_id)
        .where(
            _vote.c.account_id == account_id,
            _vote.c.sent_us >= micros(since),
            _vote.c.grade == str(Grade.A),
            _vote.c.withdrawn.is_(False),
        )
        .order_by(_vote.c.at_us, _vote.c.complaint_id)
        .limit(limit)
    )
    return list(dict.fromkeys(tx.execute(statement).scalars()))


def votes_of(tx: Connection, complaint_ids: Sequence[str]) -> list[Row[Any]]:
    """Return the vote rows behind complaint ids."""
    if not complaint_ids:
        return []
    return list(tx.execute(select(_vote).where(_vote.c.complaint_id.in_(complaint_ids))).all())


def add(tx: Connection, now: datetime, **values: Any) -> bool:
    """Write a complaint row by its id (columns of the table); False if it is there already."""
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    row = {**values, "at_us": micros(now)}
    return bool(tx.execute(make(_complaint).values(**row).on_conflict_do_nothing()).rowcount)


def exists(tx: Connection, identifier: str) -> bool:
    """Return whether a complaint of this id is recorded."""
    return tx.execute(_COMPLAINT, {"id": identifier}).first() is not None


def waits(tx: Connection, identifier: str) -> bool:
    """Return whether a report of this id waits for staff already."""
    return tx.execute(_WAITS, {"id": identifier}).first() is not None


def crowded(tx: Connection) -> bool:
    """Return whether so many reports wait for staff that no more can."""
    return int(tx.execute(_ALL_WAITING).scalar_one()) >= MOST_WAITING


def bounced(tx: Connection, message_id: str) -> dict[bytes, bool]:
    """Return the recipients of a message whose bounces are recorded, and whether for good."""
    columns = (_bounce.c.recipient_hash, _bounce.c.permanent)
    found = tx.execute(select(*columns).where(_bounce.c.message_id == message_id))
    return {bytes(recipient): permanent for recipient, permanent in found}


def accounts_with_reports(tx: Connection, since: datetime) -> set[int]:
    """Return the accounts with votes or bounces about messages sent from `since`."""
    voted = select(_vote.c.account_id).where(_vote.c.sent_us >= micros(since))
    hard = select(_bounce.c.account_id).where(_bounce.c.sent_us >= micros(since))
    return set(tx.execute(voted.union(hard)).scalars())


def add_bounce(tx: Connection, now: datetime, **values: Any) -> bool:
    """Write a bounce by message and recipient; False if it is there already.

    A permanent one takes the place of one that was not: delays and what nobody verified come before it.
    """
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    statement = make(_bounce).values(**values, at_us=micros(now))
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=[_bounce.c.message_id, _bounce.c.recipient_hash],
        set_={name: new[name] for name in ("at_us", "status", "kind", "permanent")},
        where=_bounce.c.permanent.is_(False) & new.permanent.is_(True),
    )
    return bool(tx.execute(statement).rowcount)


def hard_bounces(tx: Connection, account_id: int, since: datetime) -> int:
    """Return the verified permanent bounces of messages sent from `since`."""
    statement = select(func.count()).where(
        _bounce.c.account_id == account_id, _bounce.c.sent_us >= micros(since), _bounce.c.permanent.is_(True)
    )
    return int(tx.execute(statement).scalar_one())


def unattributed_within(tx: Connection, now: datetime, span: timedelta = timedelta(hours=1)) -> int:
    """Return how many complaints that no token attributes were kept within a span."""
    return int(tx.execute(_UNATTRIBUTED, {"since": micros(now - span)}).scalar_one())


def counted_of(tx: Connection, now: datetime, reporter: str, span: timedelta = timedelta(hours=1)) -> int:
    """Return how many complaints of a reporter became votes within a span."""
    return int(tx.execute(_COUNTED, {"since": micros(now - span), "reporter": reporter}).scalar_one())


def forwarded_within(tx: Connection, now: datetime, account_id: int, span: timedelta) -> int:
    """Return how many complaints about an account's forwards came within a span."""
    statement = select(func.count()).where(
        _complaint.c.account_id == account_id,
        _complaint.c.at_us > micros(now - span),
        _complaint.c.feedback_type == FORWARDED,
    )
    return int(tx.execute(statement).scalar_one())


def keep_waiting(tx: Connection, now: datetime, identifier: str, why: str, sealed: bytes) -> bool:
    """Keep a sealed report for staff; False if it waits already or too many do."""
    if crowded(tx):
        return False
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    row = make(_waiting).values(id=identifier, at_us=micros(now), why=why, sealed=sealed)
    return bool(tx.execute(row.on_conflict_do_nothing()).rowcount)


def waiting(tx: Connection, limit: int = 100) -> list[tuple[str, datetime, str]]:
    """Return reports that wait for staff, oldest first: id, arrival, why."""
    columns = (_waiting.c.id, _waiting.c.at_us, _waiting.c.why)
    rows = tx.execute(select(*columns).order_by(_waiting.c.at_us, _waiting.c.id).limit(limit))
    return [(row.id, moment(row.at_us), row.why) for row in rows]


def waiting_report(tx: Connection, identifier: str) -> bytes:
    """Return the sealed bytes of a report that waits; NotFound."""
    sealed = tx.execute(select(_waiting.c.sealed).where(_waiting.c.id == identifier)).scalar_one_or_none()
    if sealed is None:
        raise NotFound(f"no report {identifier} waits")
    return bytes(sealed)


def drop_waiting(tx: Connection, identifier: str) -> bool:
    """Delete a report that waits; False if there is none."""
    return bool(tx.execute(delete(_waiting).where(_waiting.c.id == identifier)).rowcount)


def about_message(tx: Connection, message_id: str) -> list[dict[str, Any]]:
    """Return what was reported about a message, without who complained."""
    columns = (
        _complaint.c.id,
        _complaint.c.at_us,
        _complaint.c.feedback_type,
        _complaint.c.grade,
        _complaint.c.counted,
        _complaint.c.why,
    )
    rows = tx.execute(
        select(*columns).where(_complaint.c.message_id == message_id).order_by(_complaint.c.at_us)
    )
    return [
        {
            **{name: row[name] for name in ("id", "feedback_type", "grade", "counted", "why")},
            "at": moment(row["at_us"]),
        }
        for row in rows.mappings()
    ]
