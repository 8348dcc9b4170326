"""What happened, as a policy's replay reads it: messages, votes, bounces and standings by their time.

Rows are read as a stream, for a month may hold millions. Reports about mail from before the first message are
left out, for there is nothing to divide them by. Unknown and first-time recipients are counters without a
message, so a replay does not see them.
"""

from __future__ import annotations

from heapq import merge
from typing import TYPE_CHECKING

from sqlalchemy import select

from policies.behaviour import Sent
from policies.complaints import Bounced, Voted
from policies.replay import Moved
from relay.clock import micros, moment
from relay.model import Grade, Level
from relay.store import journal, schema, tallies
from relay.store.journal import GOES_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping, Select

    from policies.replay import Event
    from relay.keyring import Keyring

_ROWS = 1000
#: a recipient in a message row: its hash, then its domain's (relay.store.journal)
_HASH_BYTES, _RECIPIENT_BYTES = 16, 32
_DAY_US = 86_400_000_000
_NEVER_SENT = ("refuse", "defer")


def events(tx: Connection, keyring: Keyring, since: datetime, until: datetime) -> Iterator[Event]:
    """Yield everything that happened to accounts from `since` to before `until`."""
    streams = (_sent(tx, keyring, since, until), _voted(tx, since, until), _bounced(tx, since, until))
    yield from merge(*streams, _moved(tx, since, until), key=lambda event: event.at)


def classes(tx: Connection) -> dict[int, str]:
    """Return every account's class by its id."""
    statement = select(schema.account.c.id, schema.account.c.klass)
    return {int(number): str(klass) for number, klass in tx.execute(statement)}


def _rows(tx: Connection, statement: Select[*tuple[object, ...]]) -> Iterator[RowMapping]:
    yield from tx.execute(statement, execution_options={"yield_per": _ROWS}).mappings()


def _sent(tx: Connection, keyring: Keyring, since: datetime, until: datetime) -> Iterator[Event]:
    message, seen = schema.message, _first_seen(tx)
    covered: dict[int, frozenset[bytes]] = {}
    names = (
        "at_us",
        "account_id",
        "customer_id",
        "action",
        "outcome",
        "score",
        "malformed",
        "recipient_count",
    )
    statement = (
        select(*(message.c[name] for name in (*names, "recipients", "body_hash", "client_network")))
        .where(message.c.at_us >= micros(since), message.c.at_us < micros(until))
        .order_by(message.c.at_us)
    )
    for row in _rows(tx, statement):
        customer = row["customer_id"]
        if customer not in covered:
            listed = tallies.covered_hashes(tx, keyring, customer).values()
            covered[customer] = frozenset().union(*listed)
        went = row["outcome"] in GOES_OUT and row["action"] not in _NEVER_SENT
        spam = row["score"] >= schema.SPAM_SCORE and not row["malformed"]
        yield Sent(
            moment(row["at_us"]),
            row["account_id"],
            recipients=row["recipient_count"],
            relayed=row["recipient_count"] if went else 0,
            to_reporters=_of_reporters(row["recipients"], covered[customer]) if went else 0,
            spam_body=(row["body_hash"] or b"") if spam else b"",
            refused=row["action"] == "refuse" and not row["malformed"],
            network=row["client_network"],
            new_network=_is_new(seen, row),
        )


def _of_reporters(recipients: bytes, covered: frozenset[bytes]) -> int:
    starts = range(_HASH_BYTES, len(recipients), _RECIPIENT_BYTES)
    return sum(1 for start in starts if recipients[start : start + _HASH_BYTES] in covered)


def _first_seen(tx: Connection) -> dict[int, dict[str, int]]:
    seen: dict[int, dict[str, int]] = {}
    network = schema.network
    for number, name, first in tx.execute(
        select(network.c.account_id, network.c.network, network.c.first_us).where(
            network.c.kind == journal.NETWORK
        )
    ):
        seen.setdefault(int(number), {})[str(name)] = int(first)
    return seen


def _is_new(seen: dict[int, dict[str, int]], row: RowMapping) -> bool:
    """Return whether the network was first seen within the day before, at an account that is older."""
    mine, day_before = seen.get(row["account_id"], {}), row["at_us"] - _DAY_US
    first = mine.get(row["client_network"])
    return first is not None and first > day_before and min(mine.values()) <= day_before


def _voted(tx: Connection, since: datetime, until: datetime) -> Iterator[Event]:
    vote = schema.vote
    statement = (
        select(vote)
        .where(vote.c.sent_us >= micros(since), vote.c.at_us < micros(until), vote.c.withdrawn.is_(False))
        .order_by(vote.c.at_us)
    )
    for row in _rows(tx, statement):
        listed = row["grade"] == Grade.A
        sent_at = moment(row["sent_us"])
        voter = row["voter"].hex()
        yield Voted(
            moment(row["at_us"]),
            row["account_id"],
            sent_at,
            row["message_id"],
            voter,
            row["reporter"],
            listed,
        )


def _bounced(tx: Connection, since: datetime, until: datetime) -> Iterator[Event]:
    bounce = schema.bounce
    statement = (
        select(bounce.c.at_us, bounce.c.account_id, bounce.c.sent_us)
        .where(bounce.c.sent_us >= micros(since), bounce.c.at_us < micros(until))
        .where(bounce.c.permanent.is_(True))
        .order_by(bounce.c.at_us)
    )
    for row in _rows(tx, statement):
        yield Bounced(moment(row["at_us"]), row["account_id"], moment(row["sent_us"]))


def _moved(tx: Connection, since: datetime, until: datetime) -> Iterator[Event]:
    case = schema.decision
    statement = (
        select(
            case.c.at_us, case.c.subject_id, case.c.to_state, case.c.until_us, case.c.reason, case.c.set_by
        )
        .where(case.c.at_us >= micros(since), case.c.at_us < micros(until))
        .where(case.c.level == str(Level.ACCOUNT), case.c.from_state != case.c.to_state)
        .order_by(case.c.at_us)
    )
    for row in _rows(tx, statement):
        ends = moment(row["until_us"]) if row["until_us"] is not None else None
        by_policy = row["set_by"].startswith("policy")
        yield Moved(
            moment(row["at_us"]), row["subject_id"], row["to_state"], ends, row["reason"],
            "policy" if by_policy else row["set_by"],
        )  # fmt: skip
