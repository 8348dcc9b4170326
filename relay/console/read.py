"""What pages and API both read of one account, one case, one message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.statistics import lower_bound
from relay.errors import NotFound
from relay.store import accounts, findings, tallies

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.console.desk import Visitor
    from relay.keyring import Keyring
    from relay.model import Account
    from relay.store.viewed import CaseRow


@dataclass(frozen=True, slots=True)
class Rate:
    """A share that the ladder judges: never the bare quotient, but what is certain of it."""

    name: str
    part: int
    whole: int
    #: the true share is at least this, with 95 % and with 99.9 % certainty (0..1)
    at_least_95: float
    at_least_999: float

    @property
    def plain(self) -> float:
        """Return the bare quotient (0..1)."""
        return self.part / self.whole if self.whole else 0.0


@dataclass(frozen=True, slots=True)
class AccountFile:
    """An account, the case behind its effective standing, and its numbers now."""

    account: Account
    case: CaseRow | None
    tally: dict[str, int]
    rates: tuple[Rate, ...]


def account(tx: Connection, visitor: Visitor, login: str) -> Account:
    """Return an account; NotFound, in the same words, for one that is another customer's."""
    found = accounts.account(tx, login)
    if visitor.only is not None and found.customer.id != visitor.only:
        raise NotFound(f"there is no account {login}")
    return found


def _rate(name: str, part: int, whole: int) -> Rate:
    if part == 0 or whole == 0:
        return Rate(name, part, whole, 0.0, 0.0)
    at_least = (lower_bound(min(part, whole), whole, certainty) for certainty in (0.95, 0.999))
    return Rate(name, part, whole, *at_least)


def account_file(
    tx: Connection, keyring: Keyring, visitor: Visitor, login: str, now: datetime
) -> AccountFile:
    """Return everything that a decision about the account is made from; NotFound."""
    found = account(tx, visitor, login)
    case_id = found.effective.case_id
    case = findings.case_by_id(tx, case_id, only=visitor.only) if case_id else None
    tally = tallies.tally_of(tx, keyring, found, now)
    rates = (
        _rate("complaints", tally.votes, tally.relayed_to_reporters),
        _rate("hard bounces", tally.hard_bounces, tally.relayed_30d),
    )
    return AccountFile(found, case, tally.numbers(), rates)
