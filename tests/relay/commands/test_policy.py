from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from policies import ladder as ladders
from relay import clock
from relay.cli import main
from relay.clock import micros
from relay.model import Level, State
from relay.store import decisions, journal, observed, schema
from relay.store.engine import Store
from relay.store.journal import JournalRow
from tests.relay.store.people import add_account, add_customer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relay")
    result = CliRunner().invoke(main, ["init", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    store = Store("sqlite:///gatepost.db", folder)
    store.migrate()
    sent_at = clock.now() - timedelta(hours=3)
    with store.begin() as tx:
        add_customer(tx)
        number = add_account(tx).id
        rows = [
            JournalRow(f"m{place}", number, 1, sent_at, "deliver", recipient_count=1, recipients=b"r" * 32)
            for place in range(50)
        ]
        journal.append(tx, rows)
        votes = [
            {
                "message_id": f"m{place}",
                "voter": b"v",
                "complaint_id": "c",
                "account_id": number,
                "grade": "A",
                "reporter": f"{place % 2}.example",
                "sent_us": micros(sent_at),
                "at_us": micros(sent_at + timedelta(hours=1, minutes=place)),
            }
            for place in range(5)
        ]
        tx.execute(insert(schema.vote), votes)
        decisions.add(
            tx,
            sent_at + timedelta(hours=2),
            case_id="C-1",
            level=Level.ACCOUNT,
            subject_id=number,
            step="",
            from_state=State.ACTIVE,
            to_state=State.SUSPENDED,
            until=None,
            reason="asked for it",
            evidence={},
            set_by="staff:ada",
        )
    store.close()
    return folder


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), "policy", *words])


def test_a_replay_says_whom_it_would_have_moved_and_what_really_happened(folder: Path) -> None:
    result = run(folder, "replay", "--json")
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in result.output.splitlines()]
    assert row["login"] == "alice@acme.example"
    assert [one["step"] for one in row["would"]] == ["complaints_warn", "complaints_off"]
    assert [(one["state"], one["set_by"], one["reason"]) for one in row["really"]] == [
        ("suspended", "staff:ada", "asked for it")
    ]
    assert row["stopped_messages"] == 0
    text = run(folder, "replay", "--days", "1").output
    assert "would  " in text
    assert "really " in text
    assert text.splitlines()[-1].startswith("1 account in 1 day, ladder ")


def test_a_milder_ladder_moves_nobody(folder: Path, tmp_path: Path) -> None:
    text = ladders.SHIPPED.read_text(encoding="utf-8")
    path = tmp_path / "mild.toml"
    path.write_text(text.replace("votes >= 3", "votes >= 99").replace("votes >= 5", "votes >= 99"))
    (row,) = [
        json.loads(line)
        for line in run(folder, "replay", "--json", "--ladder", str(path)).output.splitlines()
    ]
    assert row["would"] == []


def test_a_broken_ladder_is_refused_with_every_fault(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('step = [{name = "x"}]')
    result = run(folder, "replay", "--ladder", str(tmp_path / "bad.toml"))
    assert result.exit_code == 2
    assert "step 'x': when is missing" in result.output
    assert "step 'x': reason is missing" in result.output


def test_the_page_for_senders_is_printed(folder: Path) -> None:
    assert run(folder, "page").output.startswith("# What you agree to when you send")


def test_what_only_observed_customers_were_spared_is_told_by_account(folder: Path) -> None:
    store = Store("sqlite:///gatepost.db", folder)
    fact = {"action": "wait", "reason": "3 in 1h", "clause": "TP 2.1 (2026-11)"}
    with store.begin() as tx:
        observed.note(tx, clock.now(), 1, "clause 2.1", fact)
    store.close()
    (row,) = [json.loads(line) for line in run(folder, "observed", "--json").output.splitlines()]
    assert row["login"] == "alice@acme.example"
    (would,) = row["would"]
    assert (would["by"], would["action"], would["times"], would["reason"]) == (
        "clause 2.1",
        "wait",
        1,
        "3 in 1h",
    )
    text = run(folder, "observed", "--customer", "acme").output
    assert "wait         clause 2.1, 1 x" in text
    assert text.splitlines()[-1] == "1 account in 7 days"
    assert run(folder, "observed", "--customer", "nobody").exit_code == 1
