"""The journal: one row a message, its counters and its cohort, all in the same transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select, update

from relay.clock import micros, moment
from relay.keyring import HASH_BYTES
from relay.store import batch, bulk
from relay.store.bulk import json_text
from relay.store.schema import clean, cohort, network, tally, vote
from relay.store.schema import message as _message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, RowMapping

    from relay.store.engine import Store

BUCKET_US = 600 * 1_000_000
DAY_US = 86_400 * 1_000_000
#: The customer's server took the message.
FORWARDED = "forwarded"
#: Outcomes of messages that go out, at once or soon; only these count as relayed and enter the cohort.
GOES_OUT = (FORWARDED, "queued")
_NEVER_FORWARDED = frozenset({"refuse", "defer"})
_RECIPIENT_BYTES = 2 * HASH_BYTES
#: From where, and with what, an account sent.
NETWORK, PROGRAM = "network", "program"


@dataclass(frozen=True, slots=True)
class JournalRow:
    """What is kept of one message; people only as keyed hashes, never an address or a subject."""

    id: str
    account_id: int
    customer_id: int
    at: datetime
    #: what was decided: deliver, tag, hold, refuse, defer
    action: str
    #: what came of it: forwarded, queued, held, refused, deferred
    outcome: str = FORWARDED
    score: float = 0.0
    hits: Sequence[Mapping[str, Any]] = ()
    malformed: str = ""
    reply_code: int = 0
    reply_text: str = ""
    size: int = 0
    recipient_count: int = 0
    #: 32 bytes a recipient: Keyring.recipient_hash, then Keyring.domain_hash
    recipients: bytes = b""
    body_hash: bytes | None = None
    #: 64 bits that copies of one text have nearly in common; 0: it says too little
    fingerprint: int = 0
    message_id_hash: bytes | None = None
    #: who is told of what comes back, sealed; None unless the return path is ours (relay.signing.returns)
    sender: bytes | None = None
    client_network: str = ""
    unanswered: Sequence[str] = ()
    ruleset: str = ""
    #: where the client is (ISO 3166) and with what it wrote, where that is known; not stored in the row
    country: str = ""
    program: str = ""
    #: milliseconds by stage
    stages: Mapping[str, float] = field(default_factory=dict)
    #: further counters of this message (`spam_bodies`: 1, say), added to the tally; not stored in the row
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def relayed(self) -> bool:
        """Return whether the message went out, and so counts in rates."""
        return self.outcome in GOES_OUT and self.action not in _NEVER_FORWARDED

    @property
    def recipient_hashes(self) -> list[bytes]:
        """Return each recipient's hash."""
        return [
            self.recipients[start : start + HASH_BYTES]
            for start in range(0, len(self.recipients), _RECIPIENT_BYTES)
        ]

    @property
    def domain_hashes(self) -> list[bytes]:
        """Return each recipient's domain hash."""
        return [
            self.recipients[start + HASH_BYTES : start + _RECIPIENT_BYTES]
            for start in range(0, len(self.recipients), _RECIPIENT_BYTES)
        ]


class Batch(batch.Batch[JournalRow]):
    """Collects rows on the event loop; no message is counted twice, even if its first commit is in doubt."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, append, append_missing)


def append(tx: Connection, rows: Sequence[JournalRow]) -> None:
    """Write rows and what they add to tallies and cohorts; Conflict if one of them is there already."""
    if not rows:
        return
    bulk.insert(tx, _message, _COLUMNS, [_values(row) for row in rows])
    tallies: Counter[tuple[int, int, str]] = Counter()
    cohorts: Counter[tuple[int, int, bytes]] = Counter()
    seen: dict[tuple[int, str, str], tuple[int, str]] = {}
    for row in rows:
        at_us = micros(row.at)
        if row.client_network:
            key = (row.account_id, NETWORK, clean(row.client_network))
            seen[key] = at_us // BUCKET_US * BUCKET_US, row.country
        if row.program:
            seen[row.account_id, PROGRAM, row.program] = at_us // BUCKET_US * BUCKET_US, ""
        for name, value in _counts(row):
            tallies[row.account_id, at_us // BUCKET_US * BUCKET_US, name] += value
        if row.relayed:
            cohorts.update(
                (row.account_id, at_us // DAY_US, domain_hash) for domain_hash in row.domain_hashes
            )
    add_to_tally(tx, tallies)
    add_to_cohort(tx, cohorts)
    last = [(*key, at_us, at_us, country) for key, (at_us, country) in sorted(seen.items())]
    columns = ("account_id", "kind", "network", "first_us", "last_us", "country")
    bulk.insert(tx, network, columns, last, latest="last_us")


def append_missing(tx: Connection, rows: Sequence[JournalRow]) -> None:
    """Write those rows that are not there yet: for a second try after an unknown outcome."""
    known = set(
        tx.execute(select(_message.c.id).where(_message.c.id.in_([row.id for row in rows]))).scalars()
    )
    append(tx, [row for row in rows if row.id not in known])


def amend(tx: Connection, identifier: str, **values: Any) -> None:
    """Write what was decided later about a message that waited for it: its action, outcome, score, hits.

    What goes out now is counted as relayed, on the day that it was sent; a message that is not in the journal
    (any more) stays as it is.
    """
    before = message(tx, identifier)
    if before is None:
        return
    after = replace(before, **values)
    tx.execute(update(_message).where(_message.c.id == identifier).values(**values))
    counted: Counter[str] = Counter()
    if after.action != before.action:
        counted[f"messages_{after.action}"] += 1
    if after.relayed and not before.relayed:
        counted["relayed"] += after.recipient_count
        day = micros(after.at) // DAY_US
        add_to_cohort(tx, Counter((after.account_id, day, one) for one in after.domain_hashes))
    bucket_us = micros(after.at) // BUCKET_US * BUCKET_US
    add_to_tally(tx, {(after.account_id, bucket_us, name): value for name, value in counted.items()})


#: The row's columns, as `_values` gives them.
_COLUMNS = (
    *("id", "account_id", "customer_id", "at_us", "action", "outcome", "score", "hits", "malformed"),
    *("reply_code", "reply_text", "size", "recipient_count", "recipients", "body_hash", "message_id_hash"),
    *("fingerprint", "sender"),
    *("client_network", "unanswered", "ruleset", "stages"),
)


def _values(row: JournalRow) -> tuple[Any, ...]:
    return (
        row.id,
        row.account_id,
        row.customer_id,
        micros(row.at),
        row.action,
        row.outcome,
        row.score,
        json_text(row.hits),
        clean(row.malformed),
        row.reply_code,
        clean(row.reply_text),
        row.size,
        row.recipient_count,
        row.recipients,
        row.body_hash,
        row.message_id_hash,
        row.fingerprint - (1 << 64) if row.fingerprint >> 63 else row.fingerprint,
        row.sender,
        clean(row.client_network),
        json_text(row.unanswered),
        row.ruleset,
        json_text({name: round(spent, 3) for name, spent in row.stages.items()}),
    )


def _counts(row: JournalRow) -> Iterable[tuple[str, int]]:
    """Return what one message adds to its account's counters."""
    yield "messages", 1
    yield f"messages_{row.action}", 1
    if row.relayed:
        yield "relayed", row.recipient_count
    yield from row.counts.items()


def add_to_tally(tx: Connection, counts: Mapping[tuple[int, int, str], int]) -> None:
    """Add to counters by (account, bucket in µs, name); in key order, so that writers never deadlock."""
    rows = [(*key, value) for key, value in sorted(counts.items()) if value]
    bulk.insert(tx, tally, ("account_id", "bucket_us", "name", "value"), rows, summed="value")


def add_to_cohort(tx: Connection, counts: Mapping[tuple[int, int, bytes], int]) -> None:
    """Add to what was relayed by (account, day, domain hash)."""
    rows = [(*key, value) for key, value in sorted(counts.items()) if value]
    bulk.insert(tx, cohort, ("account_id", "day", "domain_hash", "relayed"), rows, summed="relayed")


def bump(tx: Connection, account_id: int, now: datetime, name: str, value: int = 1) -> None:
    """Add to one counter of an account now: refusals before DATA, unknown recipients, login failures."""
    add_to_tally(tx, {(account_id, micros(now) // BUCKET_US * BUCKET_US, name): value})


def counts(
    tx: Connection, account_id: int, names: Sequence[str], since: datetime, until: datetime | None = None
) -> dict[str, int]:
    """Return the sums of these counters over every bucket that ends after `since`; a missing name is 0."""
    table = tally
    statement = (
        select(table.c.name, func.sum(table.c.value))
        .where(table.c.account_id == account_id, table.c.bucket_us > micros(since) - BUCKET_US)
        .group_by(table.c.name)
    )
    if names:
        statement = statement.where(table.c.name.in_(names))
    if until is not None:
        statement = statement.where(table.c.bucket_us < micros(until))
    found = {name: int(total) for name, total in tx.execute(statement)}
    return {**dict.fromkeys(names, 0), **found}


def relayed(
    tx: Connection, account_id: int, first_day: int, last_day: int, domains: Sequence[bytes] = ()
) -> int:
    """Return how many recipients' mail was relayed on these send days, to these domain hashes or to all."""
    statement = select(func.coalesce(func.sum(cohort.c.relayed), 0)).where(
        cohort.c.account_id == account_id, cohort.c.day.between(first_day, last_day)
    )
    if domains:
        statement = statement.where(cohort.c.domain_hash.in_(domains))
    return int(tx.execute(statement).scalar_one())


def networks(tx: Connection, account_id: int, since: datetime, kind: str = NETWORK) -> tuple[int, int, int]:
    """Return from how many client networks an account sent since a moment, how many were new to it then, and
    in how many countries they are; or the same of its mail programs.

    Exact to ten minutes; an account that never sent before `since` has no new ones.
    """
    from_us = micros(since) // BUCKET_US * BUCKET_US
    mine = (network.c.account_id == account_id) & (network.c.kind == kind)
    fresh = func.coalesce(func.sum(case((network.c.first_us >= from_us, 1), else_=0)), 0)
    lands = func.count(func.distinct(func.nullif(network.c.country, "")))
    sums = select(func.count(), fresh, lands).where(mine, network.c.last_us >= from_us)
    count, new, countries = tx.execute(sums).one()
    older = select(network.c.network).where(mine, network.c.first_us < from_us).limit(1)
    return int(count), int(new) if tx.execute(older).first() else 0, int(countries)


def message(tx: Connection, identifier: str) -> JournalRow | None:
    """Return the row of a message, None if it is unknown or past its retention."""
    row = tx.execute(select(_message).where(_message.c.id == identifier)).mappings().first()
    return None if row is None else _row(row)


def since(tx: Connection, moment_from: datetime) -> Iterator[JournalRow]:
    """Yield the rows from a moment on, oldest first, without holding them all."""
    statement = select(_message).where(_message.c.at_us >= micros(moment_from)).order_by(_message.c.at_us)
    for row in tx.execution_options(yield_per=1000).execute(statement).mappings():
        yield _row(row)


def complained(tx: Connection) -> frozenset[str]:
    """Return the ids of messages that somebody complained about with effect."""
    return frozenset(tx.execute(select(vote.c.message_id).distinct()).scalars())


def _row(row: RowMapping) -> JournalRow:
    known = {name: row[name] for name in JournalRow.__slots__ if name in row}
    known["fingerprint"] &= (1 << 64) - 1
    return JournalRow(at=moment(row["at_us"]), **known)
