"""Everything that is kept of one account, and how it is erased; the audit log keeps a pseudonym.

Each step is a transaction of its own and may be done again: who was interrupted starts anew. The account's
row goes last, its number is never given out again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, ColumnElement, Table, Text, cast, delete, func, or_, select, update

from relay.errors import Conflict
from relay.model import Level
from relay.store import accounts, audit, campaigns, changes, domains, retention, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from sqlalchemy import Column, Connection

    from relay.keyring import Keyring
    from relay.model import Account

#: What grows with the mail of an account, and the column that names it.
_GROWING: tuple[Table, ...] = (
    schema.message, schema.tally, schema.network, schema.correspondent, schema.cohort, schema.complaint,
    schema.vote, schema.bounce, schema.login_event,
)  # fmt: skip
_SMALL: tuple[Table, ...] = (schema.credential, schema.habit, schema.pace)
#: What names somebody else, and is that somebody's: `left` tells of it. Opaque values are not looked at.
_OF_OTHERS = {
    "customer": ("name", "contact", "brand", "phone"), "server": ("name", "relay_login", "relay_secret_file"),
    "account": ("login", "login_key", "senders"), "api_token": ("name", "made_by"),
}  # fmt: skip
_OPAQUE = ("audit", "change", "nonce", "staff", "staff_session", "customer_domain", "dkim_key", "reporter")
#: Around a name, what would make it another one.
_BEFORE, _AFTER = r"(?<![\w.+@-])", r"(?![\w@-])"


@dataclass(frozen=True, slots=True)
class Names:
    """What an account is called, and what it is called from now on."""

    number: int
    login: str
    #: the login and its sender addresses, those it once had too, as written and in lower case
    names: tuple[str, ...]
    pattern: re.Pattern[str] = field(repr=False)

    @property
    def pseudonym(self) -> str:
        """Return what the audit log calls it."""
        return f"erased-{self.number}"

    def clean(self, text: str) -> str:
        """Return a text with the pseudonym in the place of every name."""
        return self.pattern.sub(self.pseudonym, text)

    def clean_value(self, value: Any) -> Any:
        """Return a JSON value, cleaned throughout."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self.clean_value(one) for one in value]
        if isinstance(value, dict):
            return {self.clean(key): self.clean_value(one) for key, one in value.items()}
        return value

    def said_in(self, column: Column[Any]) -> ColumnElement[bool]:
        """Return the SQL of: this text may name it.

        SQLite knows the case of ASCII letters alone, and JSON spells the others in its own way.
        """
        text = func.lower(cast(column, Text))
        cases = {form for name in self.names for form in (name, name.upper())}
        forms = {_ascii_lower(form) for name in cases for form in (name, json.dumps(name)[1:-1])}
        return or_(*(text.contains(form, autoescape=True) for form in sorted(forms)))


def _ascii_lower(text: str) -> str:
    return text.encode().lower().decode()


def names_of(tx: Connection, login: str) -> Names:
    """Return what an account is and was called; NotFound."""
    account = accounts.account(tx, login)
    called = {account.login, *_addresses(account.senders)}
    log = schema.audit
    about = func.lower(log.c.object) == f"account {account.login.lower()}"
    for details in tx.execute(select(log.c.details).where(about)).scalars():
        called |= set(_addresses(_senders(json.loads(details))))
    # the longest first: one may begin with another
    called |= {name.lower() for name in called}
    ordered = tuple(sorted(called, key=lambda name: (-len(name), name)))
    alternatives = "|".join(map(re.escape, ordered))
    pattern = re.compile(f"{_BEFORE}(?:{alternatives}){_AFTER}", re.IGNORECASE)
    return Names(account.id, account.login, ordered, pattern)


def _addresses(patterns: Iterable[str]) -> Iterator[str]:
    """Return the sender patterns that are one person's address; a whole domain is nobody's."""
    return (one for one in patterns if one.rpartition("@")[0] not in ("", "*"))


def _senders(details: Any) -> Iterator[str]:
    if isinstance(details, dict):
        yield from (one for one in details.get("senders") or () if isinstance(one, str))
        for value in details.values():
            yield from _senders(value)


def forget_some(tx: Connection, number: int) -> int:
    """Delete some of the rows that an account's mail left; return how many, 0 when none are left."""
    for table in _GROWING:
        if keys := retention.some_keys(tx, table, table.c.account_id == number):
            retention.delete_rows(tx, table, keys)
            return len(keys)
    return 0


def clean_words(tx: Connection, names: Names) -> int:
    """Put the pseudonym into other rows' texts that name the account; return how many rows."""
    changed = 0
    for table in schema.metadata.sorted_tables:
        keys, said = list(table.primary_key.columns), list(_texts(table))
        if not said:
            continue
        named = or_(*map(names.said_in, said))
        for row in tx.execute(select(*keys, *said).where(named)).all():
            before = dict(zip(said, row[len(keys) :], strict=True))
            after = {column: names.clean_value(value) for column, value in before.items()}
            if after != before:
                same = [key == value for key, value in zip(keys, row, strict=False)]
                tx.execute(update(table).where(*same).values(after))
                changed += 1
    return changed


def _texts(table: Table) -> Iterator[Column[Any]]:
    """Return the columns in which words about anybody may stand."""
    if table.name not in _OPAQUE:
        for column in table.columns:
            words = isinstance(column.type, (schema.Words, JSON))
            if words and not column.primary_key and column.name not in _OF_OTHERS.get(table.name, ()):
                yield column


def finish(  # noqa: PLR0913 - who and why, for the log
    tx: Connection, now: datetime, names: Names, keyring: Keyring, *, who: str, reason: str, waiting: str
) -> None:
    """Delete the account itself, its cases, notices and appeals, and rename it in the audit log.

    Every process hears of it. NotFound if it is gone, Conflict while mail of it waits. What grows with
    its mail is gone before (`forget_some`).
    """
    account = accounts.account(tx, names.login)
    if tx.execute(
        select(schema.outbox.c.id).where(schema.outbox.c.account_id == account.id).limit(1)
    ).first():
        raise Conflict(f"mail of {names.login} came to wait meanwhile; do it again")
    while forget_some(tx, account.id):
        pass  # what was reported meanwhile
    cases = select(schema.decision.c.case_id).where(*_about(schema.decision, account))
    tx.execute(delete(schema.appeal).where(schema.appeal.c.case_id.in_(cases)))
    for table in (schema.notice, schema.decision):
        tx.execute(delete(table).where(*_about(table, account)))
    for print_ in _fingerprints(tx, account):
        campaigns.forget(tx, now, campaigns.unsigned(print_))
    for table in _SMALL:
        tx.execute(delete(table).where(table.c.account_id == account.id))
    tx.execute(delete(schema.account).where(schema.account.c.id == account.id))
    domains.rederive(tx, now, account.customer.id)
    changes.note(tx, now, changes.HABITS, account.id)
    changes.note(tx, now, changes.ACCOUNT, account.id)
    log = schema.audit
    named = or_(*(names.said_in(column) for column in (log.c.who, log.c.object, log.c.reason, log.c.details)))
    entries = audit.erase(tx, named, lambda said: _anonymous(names, said))
    details = {"customer": account.customer.name, "waiting": waiting, **audit.vouch(keyring, entries)}
    audit.append(tx, now, who, audit.ERASED, f"account {names.pseudonym}", names.clean(reason), details)


def _about(table: Table, account: Account) -> tuple[ColumnElement[bool], ...]:
    return table.c.level == str(Level.ACCOUNT), table.c.subject_id == account.id


def _fingerprints(tx: Connection, account: Account) -> list[int]:
    known = schema.campaign
    return list(tx.execute(select(known.c.fingerprint).where(known.c.account_id == account.id)).scalars())


def _anonymous(names: Names, said: audit.Said) -> audit.Said:
    """Return an entry's texts without the account's names; what staff wrote about the account itself goes."""
    own = said.object.lower() == f"account {names.login.lower()}"
    written = json.loads(said.details)
    details = names.clean_value(written)
    if isinstance(written, dict) and "seal" in written:  # of an erasure: numbers, whoever is called like one
        details |= {key: written[key] for key in ("entries", "seal") if key in written}
    if own and isinstance(details, dict):
        details = _without_senders(details)
    by_people = own and said.who not in _OURS
    return audit.Said(
        names.clean(said.who),
        names.clean(said.object),
        "erased" if by_people and said.reason else names.clean(said.reason),
        json.dumps(details, sort_keys=True),
    )


#: whose reasons are numbers, not somebody's words
_OURS = ("policy", "policy, observing")


def _without_senders(details: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_senders(value) if isinstance(value, dict) else value
        for key, value in details.items()
        if key != "senders"
    }


def left(tx: Connection, names: Names) -> list[str]:
    """Return what others have that still names the account, for staff to change where it is the person's."""
    found = []
    for table, column in (
        (schema.customer, schema.customer.c.contact), (schema.account, schema.account.c.senders),
        (schema.customer, schema.customer.c.name), (schema.staff, schema.staff.c.name),
    ):  # fmt: skip
        label = table.c.login if table is schema.account else table.c.name
        rows = tx.execute(select(label, column).where(names.said_in(column)))
        named = [row[0] for row in rows if names.clean_value(row[1]) != row[1]]
        found += [f"{table.name} {name}: {column.name}" for name in named]
    return found
