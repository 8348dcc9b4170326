"""What pages and API both read of one account, one case, one message."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relay.errors import NotFound
from relay.store import accounts, complaints, findings

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from relay.console.desk import Visitor
    from relay.model import Account
    from relay.store.viewed import CaseRow


@dataclass(frozen=True, slots=True)
class AccountFile:
    """An account, the case behind its effective standing, and its numbers now."""

    account: Account
    case: CaseRow | None
    tally: dict[str, Any]


def account(tx: Connection, visitor: Visitor, login: str) -> Account:
    """Return an account; NotFound, in the same words, for one that is another customer's."""
    found = accounts.account(tx, login)
    if visitor.only is not None and found.customer.id != visitor.only:
        raise NotFound(f"there is no account {login}")
    return found


def account_file(tx: Connection, visitor: Visitor, login: str, now: datetime) -> AccountFile:
    """Return everything that a decision about the account is made from; NotFound."""
    found = account(tx, visitor, login)
    case_id = found.effective.case_id
    case = findings.case_by_id(tx, case_id, only=visitor.only) if case_id else None
    return AccountFile(found, case, plain(complaints.tally_of(tx, found.id, now)))


def plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as names and values that JSON can hold."""
    return {name: _json(part) for name, part in dataclasses.asdict(value).items()}


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {_json(key) if isinstance(key, bytes) else key: _json(part) for key, part in value.items()}
    if isinstance(value, set | frozenset | tuple | list):
        return [_json(part) for part in value]
    return value
