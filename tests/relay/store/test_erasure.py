from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Column, LargeBinary, Table, insert, select, text
from sqlalchemy.sql.sqltypes import JSON, BigInteger, Boolean, Float, Integer

from relay.errors import Conflict, NotFound
from relay.keyring import KEY_BYTES, Key, Keyring
from relay.model import AccountClass, Level, State
from relay.store import accounts, audit, changes, compact, erasure, schema, switch
from tests.relay.store.people import NOW, add_account, add_customer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.store.engine import Store

RING = Keyring([Key(1, b"k" * KEY_BYTES)])
LOGIN = "Änne.Müller@acme.example"
ALIAS, FORMER = "aenne@old.example", "maiden.name@old.example"
TRACES = [form.encode() for name in (LOGIN, ALIAS, FORMER) for form in (name, name.lower())]
#: what a table says of itself alone; their rows are made by their own ways
_MADE_ELSEWHERE = {
    "customer", "server", "account", "credential", "customer_domain", "audit", "change", "counter", "staff",
    "staff_session", "api_token", "reporter", "dkim_key", "nonce", "outbox", "outbox_body",
}  # fmt: skip


def value(column: Column[Any], account_id: int) -> Any:
    """Return something for a column; every text names the person."""
    match column.name:
        case "account_id" | "subject_id":
            return account_id
        case "level":
            return str(Level.ACCOUNT)
        case (
            "id"
            | "case_id"
            | "message_id"
            | "name"
            | "kind"
            | "channel"
            | "state"
            | "network"
            | "source"
            | "value"
        ):
            return f"{column.name}-1" if not isinstance(column.type, Integer) else 1
    kind: Any = column.type
    if isinstance(kind, schema.Words) and (column.primary_key or column.name in ("case_id", "message_id")):
        return f"{column.name}-1"
    if isinstance(kind, LargeBinary):
        return b"1" * 16
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, (BigInteger, Integer, Float)):
        return 1
    if isinstance(kind, JSON):
        return {"why": f"seen with {LOGIN}", LOGIN: [ALIAS]}
    return f"said <{LOGIN}> and {ALIAS}."


def leave_traces(tx: Connection, account_id: int) -> list[Table]:
    """Put a row that speaks of the account into every table that has any of people."""
    filled = []
    for table in schema.metadata.sorted_tables:
        if table.name not in _MADE_ELSEWHERE:
            tx.execute(insert(table), {column.name: value(column, account_id) for column in table.columns})
            filled.append(table)
    return filled


def full(tx: Connection) -> int:
    """Make a person with a past, and a colleague whose rows name the person; return the person's id."""
    add_customer(tx)
    add_account(tx)
    person = accounts.add_account(
        tx, NOW, LOGIN, customer="acme", password_hash=f"hash of {LOGIN}", fingerprint=b"f" * 16,
        senders=[LOGIN, ALIAS, "@acme.example"],
    )  # fmt: skip
    thing = f"account {LOGIN}"
    audit.append(tx, NOW, "staff:eve", "account added", thing, "", {"senders": [LOGIN, FORMER]})
    audit.append(
        tx, NOW, "staff:eve", "account suspended", thing.lower(), "Mrs Müller rang", {"case_id": "c"}
    )
    audit.append(tx, NOW, "policy", "account warn", thing, f"3 of 4, {LOGIN} too", {"a": {LOGIN: "x"}})
    audit.append(
        tx, NOW, "staff:eve", "credential blocked", "credential 7", f"of {ALIAS}.", {"account": LOGIN}
    )
    leave_traces(tx, person.id)
    switch.set_by_staff(
        tx, NOW, Level.ACCOUNT, "alice@acme.example", State.SUSPENDED, reason=f"wrote to {LOGIN}, who rang"
    )
    audit.append(tx, NOW, "staff:eve", "login", "staff:eve")
    return person.id


def erased(store: Store, reason: str = "she asked") -> erasure.Names:
    with store.begin() as tx:
        names = erasure.names_of(tx, LOGIN.upper().replace("Ä", "ä").replace("Ü", "ü"))
    more = True
    while more:
        with store.begin() as tx:
            more = bool(erasure.forget_some(tx, names.number))
    with store.begin() as tx:
        erasure.clean_words(tx, names)
        erasure.finish(tx, NOW, names, RING, who="staff:eve", reason=reason, waiting="none")
    return names


def everything(tx: Connection) -> str:
    """Return all rows of all tables as text, JSON as it is kept."""
    return "\n".join(
        str(row)
        for table in schema.metadata.sorted_tables
        for row in tx.execute(text(f'SELECT * FROM "{table.name}"'))  # noqa: S608
    ).lower()


def test_nothing_names_the_person_any_more_and_the_log_still_verifies(store: Store) -> None:
    with store.begin() as tx:
        number = full(tx)
        before = len(audit.entries(tx, limit=100))
    names = erased(store)
    with store.read() as tx:
        rows = everything(tx)
        for name in (LOGIN, ALIAS, FORMER, "Müller rang"):
            assert name.lower() not in rows
            assert json.dumps(name)[1:-1].lower() not in rows
        assert audit.verify(tx, RING) is None
        newest = audit.entries(tx, limit=100)
        assert len(newest) == before + 1
        assert (newest[0].action, newest[0].object) == (audit.ERASED, f"account erased-{number}")
        assert newest[0].reason == "she asked"
        theirs = audit.entries(tx, object=f"account {names.pseudonym}")
        assert {one.action for one in theirs} == {
            audit.ERASED, "account warn", "account suspended", "account added",
        }  # fmt: skip
        for table in schema.metadata.sorted_tables:
            if "account_id" in table.c:
                gone = select(table).where(table.c.account_id == number)
                assert tx.execute(gone).first() is None, table.name


def test_others_keep_what_is_theirs(store: Store) -> None:
    with store.begin() as tx:
        full(tx)
        audit.append(tx, NOW, "staff:eve", "account added", "account x" + LOGIN, "", {})
    erased(store)
    with store.read() as tx:
        other = accounts.account(tx, "alice@acme.example")
        assert other.standing.state is State.SUSPENDED
        assert other.standing.reason.startswith("wrote to erased-")
        assert audit.entries(tx, object="account x" + LOGIN)[0].action == "account added"


def test_no_byte_stays_in_any_file(store: Store) -> None:
    with store.begin() as tx:
        full(tx)
    erased(store)
    compact.pack(store.url)
    if not store.sqlite:
        pytest.skip("the files of PostgreSQL are its own")
    assert compact.found_in(store.url, [LOGIN, ALIAS]) == []
    for path in Path(str(store.url.database)).parent.iterdir():
        content = path.read_bytes().lower()
        assert not [trace for trace in TRACES if trace.lower() in content], path
    assert b"erased-" in Path(str(store.url.database)).read_bytes()


def test_the_login_is_dead_and_its_number_is_never_given_again(store: Store) -> None:
    with store.begin() as tx:
        number, seen = full(tx), changes.latest(tx)
    erased(store)
    with store.begin() as tx:
        with pytest.raises(NotFound):
            accounts.account(tx, LOGIN)
        heard = {(one.kind, one.key) for one in changes.since(tx, seen)}
        assert (changes.ACCOUNT, str(number)) in heard
        again = accounts.add_account(tx, NOW, LOGIN, customer="acme", klass=AccountClass.PERSON)
        assert again.id > number


def test_what_was_reported_while_it_was_erased_goes_too(store: Store) -> None:
    with store.begin() as tx:
        number = full(tx)
        names = erasure.names_of(tx, LOGIN)
        erasure.finish(tx, NOW, names, RING, who="staff:eve", reason="", waiting="none")
        for table in (schema.complaint, schema.vote, schema.bounce, schema.message):
            assert tx.execute(select(table).where(table.c.account_id == number)).first() is None, table.name


def test_it_waits_for_mail_that_waits(store: Store) -> None:
    with store.begin() as tx:
        number = full(tx)
        names = erasure.names_of(tx, LOGIN)
        tx.execute(
            insert(schema.outbox).values(
                id="m1", state="held", account_id=number, customer_id=1, server_id=1, at_us=1, next_us=1,
                deadline_us=1, recipients=1, envelope=b"sealed",
            )
        )  # fmt: skip
    with pytest.raises(Conflict, match="came to wait"), store.begin() as tx:
        erasure.finish(tx, NOW, names, RING, who="staff:eve", reason="", waiting="none")


def test_an_erased_person_can_share_entries_with_another(store: Store) -> None:
    with store.begin() as tx:
        add_customer(tx)
        for login in ("a@acme.example", "b@acme.example"):
            add_account(tx, login)
        audit.append(tx, NOW, "staff:eve", "moved", "account a@acme.example", "now b@acme.example's", {})
    for login in ("a@acme.example", "b@acme.example"):
        with store.begin() as tx:
            names = erasure.names_of(tx, login)
            erasure.finish(tx, NOW, names, RING, who="staff:eve", reason="not b@acme.example", waiting="none")
    with store.read() as tx:
        assert audit.verify(tx, RING) is None
        rows = everything(tx)
        assert "a@acme.example" not in rows
        assert "b@acme.example" not in rows


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET reason = 'nothing happened' WHERE seq = 2",
        "UPDATE audit SET salt = NULL, reason = 'nothing happened' WHERE seq = 4",
        "UPDATE audit SET salt = NULL WHERE seq = 6",
    ],
)
def test_what_is_left_of_an_entry_cannot_be_altered_either(store: Store, tampering: str) -> None:
    with store.begin() as tx:
        full(tx)
    erased(store)
    with store.begin() as tx:
        assert audit.verify(tx, RING) is None
        # the lock lets this pass: the log still tells
        tx.exec_driver_sql(tampering)
    with store.read() as tx:
        assert audit.verify(tx, RING) == int(tampering[-1])


def test_nobody_without_the_keys_can_alter_an_entry_by_an_erasure_of_his_own(store: Store) -> None:
    with store.begin() as tx:
        full(tx)
        told = tx.execute(select(schema.audit).where(schema.audit.c.seq == 3)).one()
        said = audit.Said(told.who, told.object, "nothing happened", told.details)
        tx.execute(text("UPDATE audit SET salt = NULL, reason = 'nothing happened' WHERE seq = 3"))
        forged = {"entries": {"3": said.digest().hex()}}
        audit.append(tx, NOW, "staff:eve", audit.ERASED, "account erased-1", "", forged)
        other = Keyring([Key(1, b"o" * KEY_BYTES)])
        audit.append(
            tx, NOW, "staff:eve", audit.ERASED, "account erased-1", "", audit.vouch(other, forged["entries"])
        )
        assert audit.verify(tx, RING) == 3


@pytest.mark.parametrize("details", [{"entries": {"x": "y"}}, {"entries": [1]}, {"seal": 5, "entries": {}}])
def test_an_erasure_of_another_form_vouches_for_nothing(store: Store, details: dict[str, Any]) -> None:
    with store.begin() as tx:
        full(tx)
        audit.append(tx, NOW, "staff:eve", audit.ERASED, "account erased-1", "", details)
        assert audit.verify(tx, RING) is None
        assert audit.verify(tx) is None
        tx.execute(text("UPDATE audit SET salt = NULL WHERE seq = 3"))
        assert audit.verify(tx, RING) == 3


def test_who_is_called_like_a_number_can_be_erased(store: Store) -> None:
    with store.begin() as tx:
        full(tx)
    erased(store)
    with store.begin() as tx:
        accounts.add_account(tx, NOW, "3", customer="acme")
        names = erasure.names_of(tx, "3")
        erasure.finish(tx, NOW, names, RING, who="staff:eve", reason="", waiting="none")
        assert audit.verify(tx, RING) is None


def test_what_still_names_the_person_is_said(store: Store) -> None:
    with store.begin() as tx:
        full(tx)
        add_customer(tx, "other", contact=LOGIN)
        names = erasure.names_of(tx, LOGIN)
    erased(store)
    with store.read() as tx:
        assert erasure.left(tx, names) == ["customer other: contact"]
