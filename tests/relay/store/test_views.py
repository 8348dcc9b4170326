from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from relay.clock import micros
from relay.errors import NotFound
from relay.model import AccountClass, Level, State
from relay.store import accounts, audit, findings, journal, schema, switch, tokens, views
from relay.store.viewed import Sought

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from relay.store.engine import Store

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def furnish(tx: Connection) -> None:
    """Two customers; acme has a second account, suspended an hour ago."""
    for name in ("acme", "globex"):
        accounts.add_customer(tx, NOW, name, hosts=["127.0.0.1:25"])
        accounts.add_account(tx, NOW, f"Anna@{name}.example", customer=name)
    accounts.add_account(tx, NOW, "bulk_10%@acme.example", customer="acme", klass=AccountClass.BULK)
    switch.set_by_staff(
        tx, NOW - timedelta(hours=1), Level.ACCOUNT, "bulk_10%@acme.example", State.SUSPENDED, reason="spam"
    )


def sent(tx: Connection, login: str, number: int, **more: Any) -> None:
    sender = accounts.account(tx, login)
    at = NOW + timedelta(seconds=number)
    row = journal.JournalRow(f"{number:016}", sender.id, sender.customer.id, at, action="deliver", **more)
    journal.append(tx, [row])


def complained(tx: Connection, login: str, number: int, **more: Any) -> None:
    of = accounts.account(tx, login)
    facts = {
        "id": f"r{number}",
        "at_us": micros(NOW),
        "feedback_type": "abuse",
        "grade": "A",
        "counted": True,
    }
    owner = {"account_id": of.id, "server_id": of.server.id, "customer_id": of.customer.id}
    tx.execute(insert(schema.complaint).values(facts | owner | more))


def test_accounts_are_narrowed_by_everything(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        switch.set_by_staff(tx, NOW, Level.CUSTOMER, "globex", State.THROTTLED, reason="unpaid")
    with store.read() as tx:
        acme = accounts.customer(tx, "acme").id

        def logins(**sought: Any) -> list[str]:
            return [row.login for row in views.accounts(tx, Sought(**sought))]

        everyone = ["Anna@acme.example", "Anna@globex.example", "bulk_10%@acme.example"]
        assert logins() == everyone
        assert logins(q="ANNA@a") == ["Anna@acme.example"]
        assert logins(q="globex") == ["Anna@globex.example"]
        assert logins(q="10%@") == logins(q="k_1") == logins(klass="bulk") == [everyone[2]]
        assert logins(q="10_@") == logins(q="\0") == logins(customer="nobody") == []
        assert logins(state="suspended") == logins(state="stopped") == [everyone[2]]
        assert [row.login for row in views.accounts(tx, Sought(), limit=1, after="anna@ACME.example")] == [
            everyone[1]
        ]
        assert [row.login for row in views.accounts(tx, Sought(), only=acme)] == [everyone[0], everyone[2]]
        states = {row.login: (row.state, row.effective) for row in views.accounts(tx, Sought())}
        assert states[everyone[1]] == (State.ACTIVE, State.THROTTLED)
        assert states[everyone[2]] == (State.SUSPENDED, State.SUSPENDED)


def test_groups_count_their_accounts(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        accounts.add_customer(tx, NOW, "empty", hosts=["127.0.0.1:25"])
    with store.read() as tx:
        for level in (Level.CUSTOMER, Level.SERVER):
            rows = views.groups(tx, level)
            assert [(row.name, row.accounts, row.stopped) for row in rows] == [
                ("acme", 2, 1),
                ("empty", 0, 0),
                ("globex", 1, 0),
            ]
            assert [row.customer for row in rows] == ["acme", "empty", "globex"]
            assert [row.name for row in views.groups(tx, level, q="LOB")] == ["globex"]
            only = accounts.customer(tx, "acme").id
            assert [row.name for row in views.groups(tx, level, only=only)] == ["acme"]


def test_messages_are_paged_newest_first(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        for number in range(5):
            sent(tx, "anna@acme.example", number, hits=[{"rule": "r", "score": 1.0, "evidence": ""}])
        sent(tx, "anna@globex.example", 9)
    with store.read() as tx:
        anna, globex = accounts.account(tx, "anna@acme.example"), accounts.customer(tx, "globex").id
        first = views.messages(tx, anna.id, limit=2)
        assert [row.id[-1] for row in first] == ["4", "3"]
        assert first[0].hits[0]["rule"] == "r"
        cursor = (micros(first[-1].at), first[-1].id)
        assert [row.id[-1] for row in views.messages(tx, anna.id, cursor=cursor)] == ["2", "1", "0"]
        assert views.messages(tx, anna.id, action="refuse") == []
        found = views.message_by_id(tx, first[0].id)
        assert found is not None
        assert (found.login, found.customer, found.outcome) == ("Anna@acme.example", "acme", "forwarded")
        assert views.message_by_id(tx, first[0].id, only=globex) is None
        assert views.message_by_id(tx, "nothing") is None


def test_series_count_by_step(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        for number in (0, 59, 60, 125):
            sent(tx, "anna@acme.example", number)
        sent(tx, "anna@globex.example", 3)
    start = int(NOW.timestamp())
    with store.read() as tx:
        anna = accounts.account(tx, "anna@acme.example")
        span = (NOW, NOW + timedelta(minutes=3))
        counts = views.series(tx, *span, 60)
        assert counts == {(start, "deliver"): 3, (start + 60, "deliver"): 1, (start + 120, "deliver"): 1}
        assert views.series(tx, *span, 60, account_id=anna.id)[start, "deliver"] == 2
        assert sum(views.series(tx, *span, 60, only=anna.customer.id).values()) == 4
        assert views.series(tx, NOW, NOW, 60) == {}


def test_complaints_are_narrowed_and_kept_apart(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        complained(tx, "anna@acme.example", 1, reporter="fbl.example", message_id="m1")
        complained(tx, "anna@acme.example", 2, grade="B", counted=False)
        complained(tx, "anna@globex.example", 3)
        complained(tx, "anna@globex.example", 4, account_id=None, grade="C")
    with store.read() as tx:
        acme = accounts.customer(tx, "acme").id

        def ids(only: int | None = None, **sought: Any) -> list[str]:
            return [row.id for row in findings.complaints(tx, Sought(**sought), only=only)]

        assert ids() == ["r4", "r3", "r2", "r1"]
        assert ids(only=acme) == ["r2", "r1"]
        assert ids(login="ANNA@acme.example") == ["r2", "r1"]
        assert ids(grade="B") == ids(counted=False) == ["r2"]
        assert ids(reporter="FBL.example") == ["r1"]
        assert [row.id for row in findings.complaints_about(tx, "m1")] == ["r1"]
        rows = findings.complaints(tx, Sought(), limit=3)
        cursor = (micros(rows[-1].at), rows[-1].id)
        assert [row.id for row in findings.complaints(tx, Sought(), cursor=cursor)] == ["r1"]
        seen = views.situation(tx, NOW)
        assert (seen.complaints, seen.counted) == ({"A": 2, "B": 1, "C": 1}, 3)
        assert seen.states == {"active": 2, "suspended": 1}
        assert views.situation(tx, NOW, only=acme).complaints == {"A": 1, "B": 1}
        assert views.situation(tx, NOW + timedelta(seconds=1)).complaints == {}


def test_cases_name_their_subject_at_every_level(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        switch.set_by_staff(tx, NOW, Level.SERVER, "acme", State.SUSPENDED, reason="s", who="policy")
        switch.set_by_staff(
            tx, NOW + timedelta(seconds=1), Level.CUSTOMER, "globex", State.SUSPENDED, reason="c"
        )
    with store.read() as tx:
        acme = accounts.customer(tx, "acme").id
        rows = findings.cases(tx, Sought())
        assert [(row.level, row.subject) for row in rows] == [
            (Level.CUSTOMER, "globex"),
            (Level.SERVER, "acme"),
            (Level.ACCOUNT, "bulk_10%@acme.example"),
        ]
        assert [row.subject for row in findings.cases(tx, Sought(), only=acme)] == ["acme", rows[2].subject]
        assert [row.level for row in findings.cases(tx, Sought(set_by="policy"))] == [Level.SERVER]
        assert len(findings.cases(tx, Sought(set_by="staff", state="suspended"))) == 2
        assert findings.case_by_id(tx, rows[0].case_id, only=acme) is None
        found = findings.case_by_id(tx, rows[2].case_id, only=acme)
        assert found is not None
        assert (found.from_state, found.to_state, found.reason) == ("active", "suspended", "spam")
        subject = (Level.SERVER, accounts.server(tx, "acme").id)
        assert [row.reason for row in findings.cases(tx, Sought(), subject=subject)] == ["s"]


def test_audit_is_narrowed_and_paged(store: Store) -> None:
    with store.begin() as tx:
        for number in range(4):
            audit.append(tx, NOW, f"staff:{number % 2}", "did", "thing", "why", {"n": number})
    with store.read() as tx:
        rows = findings.audit_entries(tx, Sought(), limit=2)
        assert [row.details for row in rows] == ['{"n": 3}', '{"n": 2}']
        assert len(findings.audit_entries(tx, Sought(), before=rows[-1].seq)) == 2
        assert [row.who for row in findings.audit_entries(tx, Sought(who="staff:1"))] == [
            "staff:1",
            "staff:1",
        ]
        assert findings.audit_entries(tx, Sought(action="nothing")) == []
        assert len(findings.audit_entries(tx, Sought(object="thing", action="did"))) == 4


def test_tokens_are_found_by_text_alone_and_end(store: Store) -> None:
    with store.begin() as tx:
        furnish(tx)
        acme = accounts.customer(tx, "acme").id
        ends = NOW + timedelta(days=1)
        text = tokens.make(
            tx, NOW, "t", scopes={"standing", "read"}, made_by="staff:a", customer_id=acme, expires_at=ends
        )
        lasting = tokens.make(tx, NOW, "t", scopes=["read"], made_by="staff:a")
        tokens.touch(tx, NOW, text[:11])
    with store.begin() as tx:
        found = tokens.find(tx, text)
        assert found is not None
        assert (found.scopes, found.customer, found.used_at) == (("read", "standing"), "acme", NOW)
        assert found.valid(ends - timedelta(microseconds=1))
        assert not found.valid(ends)
        assert tokens.find(tx, text[:-1]) is None
        assert tokens.find(tx, "\udcff\0") is None
        tokens.revoke(tx, NOW, lasting[:11])
        with pytest.raises(NotFound):
            tokens.revoke(tx, NOW, lasting[:11])
        assert [one.valid(NOW) for one in tokens.tokens(tx) if one.prefix == lasting[:11]] == [False]
