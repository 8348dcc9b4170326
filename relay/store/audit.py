"""What staff did: append-only, each entry chained by hash to the one before.

The chain holds a salted digest of an entry's texts, not the texts: where a person is erased, salt and names
go, the chain stays, and the entry of the erasure vouches for the texts that are left.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag
from sqlalchemy import ColumnElement, insert, select, update

from relay.clock import micros, moment
from relay.store import changes
from relay.store.schema import audit as _audit
from relay.store.schema import clean, counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from relay.keyring import Keyring

_FIRST = bytes(32)
_PAGE = 1000
#: Somebody looked at content.
LOOK = "mail.look"
#: A person's data were erased; its details vouch for the entries that named them.
ERASED = "account erased"
_SALT_BYTES = 16
_PURPOSE = "erasures in the audit log"


class Said(NamedTuple):
    """The four texts of an entry, which may name a person; `details` as JSON."""

    who: str
    object: str
    reason: str
    details: str

    def digest(self, salt: bytes = b"") -> bytes:
        """Return what stands for the texts; without the salt nobody can try names on it."""
        return hashlib.sha256(salt + json.dumps(self, ensure_ascii=True).encode()).digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed: who did what to which object, why, and what was before and after (never a secret)."""

    seq: int
    at: datetime
    who: str
    action: str
    object: str
    reason: str
    details: Mapping[str, Any]


def append(  # noqa: PLR0913, PLR0917 - one argument a column
    tx: Connection,
    now: datetime,
    who: str,
    action: str,
    object: str,  # noqa: A002 - the column's name
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry in the transaction of the deed itself; return its number."""
    seq = changes.next_number(tx, "audit")
    before = tx.execute(select(_audit.c.hash).where(_audit.c.seq == seq - 1)).scalar() or _FIRST
    # as the database will give it back, so that its digest is the same then
    text = json.dumps(details or {}, sort_keys=True, default=str)
    said = Said(clean(who), clean(object), clean(reason), text)
    salt = secrets.token_bytes(_SALT_BYTES)
    chained = (seq, micros(now), clean(action), said.digest(salt))
    tx.execute(
        insert(_audit).values(
            seq=seq, at_us=chained[1], action=chained[2], salt=salt, digest=chained[3], previous=before,
            hash=_link(before, *chained), **said._asdict(),
        )
    )  # fmt: skip
    return seq


def _link(previous: bytes, seq: int, at_us: int, action: str, digest: bytes) -> bytes:
    values = json.dumps([seq, at_us, action, digest.hex()], ensure_ascii=True)
    return hashlib.sha256(previous + values.encode()).digest()


def erase(tx: Connection, some: ColumnElement[bool], rewritten: Callable[[Said], Said]) -> dict[str, str]:
    """Rewrite those of some entries that name a person, and drop their salts: what they said is gone.

    Returns what vouches for the texts that are left, by the entry's number: sealed (`vouch`), it belongs into
    the details of an entry of the action ERASED, in the same transaction, or the log no longer verifies.
    """
    vouched: dict[str, str] = {}
    for row in tx.execute(select(_audit).where(some).order_by(_audit.c.seq)).all():
        before = _said(row)
        after = rewritten(before)
        if after == before:
            continue
        tx.execute(update(_audit).where(_audit.c.seq == row.seq).values(salt=None, **after._asdict()))
        vouched[str(row.seq)] = after.digest().hex()
    return vouched


def vouch(keyring: Keyring, entries: Mapping[str, str]) -> dict[str, Any]:
    """Return the details by which an entry of the action ERASED vouches for others.

    Sealed with a master key: who can only write to the database alters no entry by an erasure of his own.
    """
    return {"entries": entries, "seal": keyring.seal(_PURPOSE, b"", _sealed(entries)).hex()}


def _sealed(entries: Mapping[str, str]) -> bytes:
    return json.dumps(entries, sort_keys=True).encode()


def _vouched(details: str, keyring: Keyring | None) -> dict[int, str]:
    """Return the entries that the details of an erasure vouch for; none if they are no genuine ones."""
    try:
        found = json.loads(details)
        if keyring is not None:
            keyring.open(_PURPOSE, bytes.fromhex(found["seal"]), _sealed(found["entries"]))
        return {int(seq): str(digest) for seq, digest in found["entries"].items()}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, InvalidTag):
        return {}


def _said(row: Row[Any]) -> Said:
    return Said(row.who, row.object, row.reason, row.details)


def append_look(tx: Connection, now: datetime, who: str, thing: str, reason: str, customer_id: int) -> int:
    """Add that somebody looked at content or people of a customer's mail."""
    return append(tx, now, who, LOOK, thing, reason, {"customer": customer_id})


def looks(tx: Connection, customer_id: int, *, limit: int = 50, before: int | None = None) -> list[Entry]:
    """Return who looked at a customer's mail, and why, newest first: for that customer."""
    theirs = _audit.c.details == json.dumps({"customer": customer_id}, sort_keys=True)
    statement = select(_audit).where(_audit.c.action == LOOK, theirs)
    if before is not None:
        statement = statement.where(_audit.c.seq < before)
    return [_entry(row) for row in tx.execute(statement.order_by(_audit.c.seq.desc()).limit(limit))]


def messages(tx: Connection, actions: Sequence[str], since: datetime) -> frozenset[str]:
    """Return the messages that staff did one of these to; of a deed on very many, those it names."""
    query = select(_audit.c.object, _audit.c.details).where(
        _audit.c.action.in_(actions), _audit.c.at_us >= micros(since)
    )
    found: set[str] = set()
    for thing, details in tx.execute(query):
        found.update(json.loads(details or "{}").get("messages") or [thing.removeprefix("message ")])
    return frozenset(found)


def entries(
    tx: Connection,
    *,
    limit: int = 50,
    before: int | None = None,
    object: str | None = None,  # noqa: A002
) -> list[Entry]:
    """Return the newest entries, newest first; older than number `before`, about one object."""
    statement = select(_audit).order_by(_audit.c.seq.desc()).limit(limit)
    if before is not None:
        statement = statement.where(_audit.c.seq < before)
    if object is not None:
        statement = statement.where(_audit.c.object == object)
    return [_entry(row) for row in tx.execute(statement)]


def _entry(row: Row[Any]) -> Entry:
    details = json.loads(row.details)
    return Entry(row.seq, moment(row.at_us), row.who, row.action, row.object, row.reason, details)


def verify(tx: Connection, keyring: Keyring | None = None) -> int | None:
    """Return the number of the first entry that was altered, removed or put in; None if all is as written.

    Without the keys nobody can tell whether an erasure is genuine, and all are taken for it.
    """
    before, expected = _FIRST, 1
    erased: dict[int, str] = {}
    erasures: list[Row[Any]] = []
    for row in _in_order(tx):
        good = row.seq == expected and hmac.compare_digest(bytes(row.previous), before)
        link = _link(before, row.seq, row.at_us, row.action, bytes(row.digest))
        good = good and hmac.compare_digest(bytes(row.hash), link)
        if row.salt is None:
            erased[row.seq] = _said(row).digest().hex()
        elif not hmac.compare_digest(bytes(row.digest), _said(row).digest(bytes(row.salt))):
            good = False
        if not good:
            return min(expected, int(row.seq))
        if row.action == ERASED:
            erasures.append(row)
        before, expected = bytes(row.hash), expected + 1
    # the counter remembers how many there were: a cut tail shows
    written = int(tx.execute(select(counter.c.value).where(counter.c.name == "audit")).scalar() or 0)
    if written != expected - 1:
        return min(expected, written + 1)
    return _not_vouched_for(erased, erasures, keyring)


def _not_vouched_for(
    erased: Mapping[int, str], erasures: Sequence[Row[Any]], keyring: Keyring | None
) -> int | None:
    """Return the first entry without its salt whose texts are not those that its newest erasure left."""
    vouched: dict[int, str] = {}
    for row in reversed(erasures):
        if row.salt is None and vouched.get(row.seq) != erased[row.seq]:
            continue  # it is bad itself, and vouches for nothing
        for seq, digest in _vouched(row.details, keyring).items():
            vouched.setdefault(seq, digest)
    return min((seq for seq, digest in erased.items() if vouched.get(seq) != digest), default=None)


def _in_order(tx: Connection) -> Iterator[Row[Any]]:
    """Read the log in pages, so that its length does not matter."""
    last = -1
    while page := tx.execute(
        select(_audit).where(_audit.c.seq > last).order_by(_audit.c.seq).limit(_PAGE)
    ).all():
        yield from page
        last = page[-1].seq
