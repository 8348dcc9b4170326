"""The numbers that the ladder sees of an account, and what `explain` needs to count them again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, text

from policies.statistics import lower_bound
from policies.tally import Tally
from relay.clock import micros, moment
from relay.store import complaints, journal, judging, reporters
from relay.store.journal import DAY_US
from relay.store.schema import MESSAGE_SPAM, cohort, message

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from relay.keyring import Keyring
    from relay.model import Account

WINDOW = timedelta(days=30)
WEEK = timedelta(days=7)
_MICROSECOND = timedelta(microseconds=1)
_BUCKET = journal.BUCKET_US * _MICROSECOND
_NEVER_FORWARDED = ("refuse", "defer")
_RECIPIENT_BYTES = 32
_HASH_BYTES = 16


@dataclass(frozen=True, slots=True)
class Counted:
    """A tally with the facts behind it."""

    tally: Tally
    #: only messages sent from here on count
    since: datetime
    #: grade A votes by reporter
    votes: Mapping[str, int]
    #: hashes of the recipient domains whose mail is the denominator; None: all of it
    covered: tuple[bytes, ...] | None

    def facts(self) -> dict[str, Any]:
        """Return what a case keeps beside the ladder's numbers, as JSON."""
        return {
            "since": self.since.isoformat(),
            "votes_by_reporter": dict(self.votes),
            "covered": None if self.covered is None else sorted(one.hex() for one in self.covered),
        }


def counts_from(tx: Connection, account: Account, now: datetime) -> datetime:
    """Return from when on messages count: 30 days, or since the account's numbers last began anew."""
    floor = moment(micros(now - WINDOW) // DAY_US * DAY_US)
    return max(floor, judging.started_anew(tx, account.id, floor) or floor)


def covered_hashes(tx: Connection, keyring: Keyring, customer_id: int) -> dict[str, frozenset[bytes]]:
    """Return each listed reporter's covered recipient domains, hashed for one customer."""
    return {
        one.domain: frozenset(keyring.domain_hash(customer_id, domain) for domain in one.covers)
        for one in reporters.reporters(tx)
        if not one.watched
    }


def count(tx: Connection, keyring: Keyring, account: Account, now: datetime) -> Counted:
    """Return everything that is known of an account at `now`."""
    since = counts_from(tx, account, now)
    covers = covered_hashes(tx, keyring, account.customer.id)
    votes = complaints.votes(tx, account.id, since)
    week = max(since, moment(micros(now - WEEK) // DAY_US * DAY_US))
    covered = _denominator(tx, account.id, covers, votes.by_reporter, since, now)
    recent = complaints.votes(tx, account.id, week)
    counted = _within(votes.by_reporter, covers, covered)
    counted_7d = _within(recent.by_reporter, covers, covered)
    tally = Tally(
        votes=sum(counted.values()),
        relayed_to_reporters=relayed(tx, account.id, since, now, covered),
        reporters=len(counted),
        votes_7d=sum(counted_7d.values()),
        relayed_to_reporters_7d=relayed(tx, account.id, week, now, covered),
        reporters_7d=len(counted_7d),
        grade_b=votes.grade_b,
        relayed_7d=relayed(tx, account.id, week, now, None),
        relayed_30d=relayed(tx, account.id, since, now, None),
        busiest_day_30d=_busiest_day(tx, account.id, now),
        hard_bounces=complaints.hard_bounces(tx, account.id, since),
        **_fast(tx, account.id, since, now),
    )
    return Counted(tally, since, counted, covered)


def tally_of(tx: Connection, keyring: Keyring, account: Account, now: datetime) -> Tally:
    """Return the numbers that an account is judged by."""
    return count(tx, keyring, account, now).tally


def _within(
    by_reporter: Mapping[str, int], covers: Mapping[str, Collection[bytes]], covered: tuple[bytes, ...] | None
) -> dict[str, int]:
    """Return the votes that belong to the denominator: all, or those of listed reporters."""
    return {name: number for name, number in by_reporter.items() if covered is None or name in covers}


def _denominator(
    tx: Connection,
    account_id: int,
    covers: Mapping[str, frozenset[bytes]],
    by_reporter: Mapping[str, int],
    since: datetime,
    now: datetime,
) -> tuple[bytes, ...] | None:
    """Return what votes are divided by: mail to listed reporters' domains, or all mail (None).

    Votes of listed reporters are divided by the mail to the domains that the listed reporters cover; once
    there are votes that staff vouched for, of reporters that are not listed, all votes are divided by all
    mail, if that says more. Numerator and denominator always speak of the same mail.
    """
    listed = tuple(sorted(frozenset().union(*covers.values()))) if covers else ()
    if all(name in covers for name in by_reporter):
        return listed
    of_listed = sum(number for name, number in by_reporter.items() if name in covers)
    narrow = lower_bound(of_listed, max(1, relayed(tx, account_id, since, now, listed)), 0.999)
    wide = lower_bound(sum(by_reporter.values()), max(1, relayed(tx, account_id, since, now, None)), 0.999)
    return listed if narrow > wide else None


def relayed(
    tx: Connection, account_id: int, since: datetime, now: datetime, covered: tuple[bytes, ...] | None
) -> int:
    """Return the recipients relayed from `since` to `now`, to covered domains or (None) to all.

    Whole days come from the cohort counters, the rest of the first day from the journal.
    """
    if covered is not None and not covered:
        return 0
    start_us = micros(since)
    first, rest = divmod(start_us, DAY_US)
    total = 0
    if rest:
        total = relayed_within(tx, account_id, since, moment((first + 1) * DAY_US), covered)
        first += 1
    return total + journal.relayed(tx, account_id, first, micros(now) // DAY_US + 1, covered or ())


def relayed_within(
    tx: Connection, account_id: int, since: datetime, until: datetime, covered: tuple[bytes, ...] | None
) -> int:
    """Return the same from journal rows alone, exact to the microsecond."""
    statement = select(message.c.recipients).where(
        message.c.account_id == account_id,
        message.c.at_us >= micros(since),
        message.c.at_us < micros(until),
        message.c.outcome.in_(journal.GOES_OUT),
        message.c.action.not_in(_NEVER_FORWARDED),
    )
    wanted = None if covered is None else frozenset(covered)
    total = 0
    for packed in tx.execute(statement).scalars():
        if wanted is None:
            total += len(packed) // _RECIPIENT_BYTES
            continue
        places = range(_HASH_BYTES, len(packed), _RECIPIENT_BYTES)
        total += sum(1 for place in places if packed[place : place + _HASH_BYTES] in wanted)
    return total


def by_day(
    tx: Connection, account_id: int, first: int, last: int, covered: tuple[bytes, ...] | None
) -> dict[int, int]:
    """Return the cohort counters by send day (days since 1970)."""
    statement = (
        select(cohort.c.day, func.sum(cohort.c.relayed))
        .where(cohort.c.account_id == account_id, cohort.c.day.between(first, last))
        .group_by(cohort.c.day)
    )
    if covered is not None:
        statement = statement.where(cohort.c.domain_hash.in_(covered))
    return {int(day): int(number) for day, number in tx.execute(statement)}


def _busiest_day(tx: Connection, account_id: int, now: datetime) -> int:
    """Return the recipients of the busiest day before today: what is usual, whatever happened since."""
    today = micros(now) // DAY_US
    return max(by_day(tx, account_id, today - WINDOW.days, today - 1, None).values(), default=0)


def _fast(tx: Connection, account_id: int, since: datetime, now: datetime) -> dict[str, int]:
    """Return the windows of minutes and hours, from what happened after `since`."""

    def start(span: timedelta) -> datetime:
        return max(since, now - span)

    def buckets(span: timedelta) -> datetime:
        """Return from when counters count: none of a bucket that began before the numbers began anew."""
        return now - span if since <= now - span else since + _BUCKET - _MICROSECOND

    ten, hour, day = timedelta(minutes=10), timedelta(hours=1), timedelta(hours=24)
    names = (
        "messages",
        "attempts",
        "unknown_recipients",
        "first_time_recipients",
        "refusals",
        "auth_failures",
        "relayed",
    )

    def messages(counter: int, span: timedelta) -> int:
        """Return what spam-like messages are compared with: as exact as they are."""
        return counter if since <= now - span else _messages(tx, account_id, since)

    in_10m = journal.counts(tx, account_id, ("messages", "attempts"), buckets(ten))
    in_1h = journal.counts(tx, account_id, names, buckets(hour))
    in_24h = journal.counts(tx, account_id, names, buckets(day))
    bodies, spam_messages, most = _spam(tx, account_id, start(ten))
    networks, new_networks, countries = journal.networks(tx, account_id, start(day))
    programs, new_programs, _ = journal.networks(tx, account_id, start(day), journal.PROGRAM)
    return {
        "messages_10m": messages(in_10m["messages"], ten),
        "messages_1h": messages(in_1h["messages"], hour),
        "attempts_10m": in_10m["attempts"],
        "attempts_1h": in_1h["attempts"],
        "attempts_24h": in_24h["attempts"],
        "relayed_1h": in_1h["relayed"],
        "relayed_24h": in_24h["relayed"],
        "spam_bodies_10m": bodies,
        "spam_bodies_1h": _spam(tx, account_id, start(hour))[0],
        "spam_messages_10m": spam_messages,
        "spam_recipients_10m": most,
        "unknown_recipients_1h": in_1h["unknown_recipients"],
        "first_time_recipients_1h": in_1h["first_time_recipients"],
        "first_time_recipients_24h": in_24h["first_time_recipients"],
        "refusals_1h": in_1h["refusals"],
        "auth_failures_1h": in_1h["auth_failures"],
        "networks_24h": networks,
        "countries_24h": countries,
        "new_networks_24h": new_networks,
        "programs_24h": programs,
        "new_programs_24h": new_programs,
    }


def _messages(tx: Connection, account_id: int, since: datetime) -> int:
    """Return how many messages were taken or refused from a moment on, from journal rows."""
    mine = (message.c.account_id == account_id) & (message.c.at_us >= micros(since))
    return int(tx.execute(select(func.count()).select_from(message).where(mine)).scalar_one())


def _spam(tx: Connection, account_id: int, since: datetime) -> tuple[int, int, int]:
    """Return distinct spam-scored bodies, their messages, and the recipients of the one that had most."""
    rows = tx.execute(
        select(message.c.body_hash, func.count(), func.sum(message.c.recipient_count))
        .where(
            message.c.account_id == account_id,
            message.c.at_us >= micros(since),
            text(MESSAGE_SPAM),
            message.c.malformed == "",
            message.c.body_hash.is_not(None),
        )
        .group_by(message.c.body_hash)
    ).all()
    return len(rows), sum(int(row[1]) for row in rows), max((int(row[2]) for row in rows), default=0)
