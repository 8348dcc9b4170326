from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert

from relay import clock
from relay.cli import main
from relay.clock import micros
from relay.store import audit, journal, schema
from relay.store.engine import Store
from relay.store.journal import JournalRow
from tests.relay.store.people import add_account, add_customer

SHOUTED = {"rule": "act_now", "score": 1.2, "evidence": "click here"}
#: in shadow then: seen, and not counted
SEEN = {"rule": "gtube", "score": 0.0, "evidence": "XJS"}
LEARNED = {"rule": "classifier", "score": 6.0, "evidence": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relay")
    assert CliRunner().invoke(main, ["init", str(folder), "--json"]).exit_code == 0
    store = Store("sqlite:///gatepost.db", folder)
    store.migrate()
    now = clock.now()
    sent_at = now - timedelta(hours=1)
    with store.begin() as tx:
        add_customer(tx)
        number = add_account(tx).id

        def row(name: str, action: str, outcome: str, *hits: dict[str, Any]) -> JournalRow:
            score = sum(hit["score"] for hit in hits)
            return JournalRow(name, number, 1, sent_at, action, outcome, score, hits)

        journal.append(
            tx,
            [
                row("good", "deliver", "forwarded"),
                row("released", "hold", "queued", SHOUTED, LEARNED),
                row("deleted", "hold", "held", SHOUTED, LEARNED),
                row("waits", "hold", "held", SHOUTED, LEARNED),
                row("missed", "tag", "forwarded", SEEN, {**LEARNED, "score": 4.5}),
                row("observed", "deliver", "forwarded", {**LEARNED, "score": 8.0}),
            ],
        )
        votes = {
            "message_id": "missed",
            "voter": b"v",
            "complaint_id": "c",
            "account_id": number,
            "grade": "A",
            "reporter": "reporter.example",
            "sent_us": micros(sent_at),
            "at_us": micros(now),
        }
        tx.execute(insert(schema.vote).values(votes))
        audit.append(tx, now, "staff:anna", "held.release", "message released", "fine")
        audit.append(tx, now, "staff:anna", "outbox.delete", "2 messages", "", {"messages": ["deleted", "x"]})
    store.close()
    return folder


def rows(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), "rules", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_staff_released_and_deleted_tells_good_rules_from_bad_ones(folder: Path) -> None:
    found = {row["rule"]: row for row in rows(folder, "quality")}
    act_now = found["act_now"]
    assert (act_now["ham"], act_now["released"], act_now["spam"], act_now["precision"]) == (1, 1, 1, 0.5)
    assert found["gtube"]["spam"] == 1


def test_each_missed_message_names_the_rule_that_would_have_caught_it(folder: Path) -> None:
    assert rows(folder, "quality", "--missed") == [
        {
            "id": "missed",
            "score": 4.5,
            "would_have_caught": ["gtube"],
            "rules": ["gtube", "classifier"],
        }
    ]


def test_replay_says_what_points_did_not_decide(folder: Path) -> None:
    config = folder / "gatepost.toml"
    result = CliRunner().invoke(main, ["-c", str(config), "rules", "replay"])
    assert "6 messages, 1 would go another way" in result.stdout, "the shadow rule counts today"
    assert "1 were not decided by their points" in result.stdout


def test_drift_compares_the_journal_with_the_training(folder: Path) -> None:
    done = CliRunner().invoke(main, ["-c", str(folder / "gatepost.toml"), "learn", "drift", "--json"])
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert (row["messages"], row["known"]) == (5, None)
    assert 0 < row["unsure_in_training"] < 0.1
    assert "say nothing" in row["says"]


def test_the_rule_of_the_guide_is_one(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "deploy/docs/tuning.md"
    folder = tmp_path / "relay"
    assert CliRunner().invoke(main, ["init", str(folder), "--json"]).exit_code == 0
    (folder / "rules.toml").write_text(guide.read_text().split("```toml\n")[1].split("```")[0])
    file = folder / "gatepost.toml"
    file.write_text(file.read_text().replace("# rules = []", 'rules = ["rules.toml"]'))
    tested = CliRunner().invoke(main, ["-c", str(file), "rules", "test"])
    assert tested.exit_code == 0, tested.output
    assert "casino_spins" in CliRunner().invoke(main, ["-c", str(file), "rules", "list"]).output
