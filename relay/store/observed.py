"""What would have happened to customers that are only observed: cases of policy, refusals, and messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, cast, select

from relay import ids
from relay.clock import micros, moment
from relay.model import Level, Mode, State
from relay.store import accounts, decisions, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.store.engine import Store

#: a hit of the journal that says what would have become of a message
HIT = "observed"
_WORDS = "observed only, would "
_ROWS = 1000
_HOUR_US = 3_600_000_000
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Would:
    """One thing that would have happened to an account, how often, and the last time's reason."""

    account_id: int
    #: a step of the ladder, a clause of the transmission policy, or what screening was decided by
    by: str
    #: warn, throttle, deactivate, suspend, block_credential, refuse, hold, tag, wait
    action: str
    times: int
    first: datetime
    last: datetime
    reason: str


class Observed:
    """Keeps what the doors would have refused; each once an hour, and nobody waits for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: set[tuple[int, int, str]] = set()

    def would(self, account_id: int, by: str, fact: Mapping[str, str], now: datetime) -> None:
        """Note what was not refused; `fact` has action, reason and clause."""
        key = (micros(now) // _HOUR_US, account_id, by)
        if key in self._told:
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told.add(key)
        self._store.write_later(lambda tx: note(tx, now, account_id, by, fact))


def note(tx: Connection, now: datetime, account_id: int, by: str, fact: Mapping[str, str]) -> None:
    """Write what was not refused unless another process did within this hour."""
    hour_us = micros(now) // _HOUR_US * _HOUR_US
    if decisions.steps_since(tx, Level.ACCOUNT, account_id, by, hour_us):
        return
    decisions.add(
        tx, now, case_id=ids.case_id(), level=Level.ACCOUNT, subject_id=account_id, step=by,
        from_state=State.ACTIVE, to_state=State.ACTIVE, until=None, reason=fact["reason"],
        evidence={"action": fact["action"], "clause": fact["clause"], "mode": str(Mode.OBSERVE)},
        set_by=decisions.OBSERVING,
    )  # fmt: skip


def hit(reason: str) -> dict[str, Any] | None:
    """Return what the journal keeps of a decision that did not bite, None of any other."""
    said = reason.removeprefix(_WORDS)
    return None if said == reason else {"rule": HIT, "score": 0.0, "evidence": f"would {said}"}


def report(tx: Connection, since: datetime, until: datetime, customer: str | None = None) -> list[Would]:
    """Return what would have happened in a span, by account, then as it first would have.

    NotFound for a customer that is none. Messages are read as a stream.
    """
    only = accounts.customer(tx, customer).id if customer is not None else None
    found: dict[tuple[int, str, str], list[Any]] = {}
    for account_id, by, action, at, reason in (*_cases(tx, since, until), *_messages(tx, since, until)):
        seen = found.setdefault((account_id, by, action), [0, at, at, reason])
        seen[0] += 1
        seen[1] = min(seen[1], at)
        if at >= seen[2]:
            seen[2], seen[3] = at, reason
    mine = None if only is None else _accounts_of(tx, only)
    made = [Would(*key, *seen) for key, seen in found.items() if mine is None or key[0] in mine]
    return sorted(made, key=lambda one: (one.account_id, one.first, one.by))


def _accounts_of(tx: Connection, customer_id: int) -> set[int]:
    table = schema.account
    return set(tx.execute(select(table.c.id).where(table.c.customer_id == customer_id)).scalars())


_Seen = tuple[int, str, str, "datetime", str]


def _cases(tx: Connection, since: datetime, until: datetime) -> Iterator[_Seen]:
    table = schema.decision
    wanted = select(table.c.subject_id, table.c.step, table.c.at_us, table.c.reason, table.c.evidence).where(
        table.c.set_by == decisions.OBSERVING,
        table.c.level == str(Level.ACCOUNT),
        table.c.at_us.between(micros(since), micros(until)),
    )
    for row in tx.execute(wanted, execution_options={"yield_per": _ROWS}):
        yield row.subject_id, row.step, str(row.evidence.get("action", "")), moment(row.at_us), row.reason


def _messages(tx: Connection, since: datetime, until: datetime) -> Iterator[_Seen]:
    table = schema.message
    wanted = select(table.c.account_id, table.c.at_us, table.c.hits).where(
        table.c.at_us.between(micros(since), micros(until)), cast(table.c.hits, Text).contains(f'"{HIT}"')
    )
    for row in tx.execute(wanted, execution_options={"yield_per": _ROWS}):
        said = next((one["evidence"] for one in row.hits if one["rule"] == HIT), "")
        if said:
            action, _, reason = said.removeprefix("would ").partition(": ")
            by = next((one["rule"] for one in row.hits if one["rule"].startswith("policy_")), "screening")
            yield row.account_id, by.replace("policy_", "clause "), action, moment(row.at_us), reason
