from __future__ import annotations

from pathlib import Path

from screening.rule import Example
from screening.ruleset import Ruleset, load
from screening.tuning.examples import mail_of
from screening.tuning.quality import Judged, quality, would_have_caught
from screening.tuning.replay import Past, Thresholds, replay
from screening.verdict import Hit
from tests.screening.rules.test_shipped import BILL_SCAM, EXTORTION, FRAUD, ORDINARY, PHISH


def journal(ruleset: Ruleset) -> list[Past]:
    past = []
    examples: list[Example] = [PHISH, BILL_SCAM, EXTORTION, FRAUD, *ORDINARY]
    for number, example in enumerate(examples):
        verdict = ruleset.screen(mail_of(example))
        action = Thresholds().action(verdict.score, verdict.malformed)
        past.append(Past(f"m{number}", f"account{number % 3}", action, verdict.hits, verdict.malformed))
    return past


def test_an_unchanged_ruleset_reproduces_every_decision(shipped: Ruleset) -> None:
    result = replay(journal(shipped), shipped)
    assert result.seen == 4 + len(ORDINARY)
    assert result.changes == ()


def test_a_changed_score_shows_which_mail_would_go_another_way(shipped: Ruleset) -> None:
    changed = load(scores={"extortion": 0.1}, off=["fake_invoice_call"])
    result = replay(journal(shipped), changed)
    assert result.changes
    assert set(result.by_rule) & {"extortion", "fake_invoice_call"}
    assert sum(result.by_account.values()) == len(result.changes)


def test_rules_of_others_and_structure_keep_their_score(shipped: Ruleset) -> None:
    hits = (Hit("classifier", 5.0, "x"), Hit("malformed", 12.0, "two From"), Hit("gone_rule", 1.0))
    assert replay([Past("a", "b", "refuse", hits, "malformed")], shipped).changes == ()


def test_a_shadow_rule_counts_nothing_in_replay(tmp_path: Path) -> None:
    ruleset = load(shadow=["gtube"])
    result = replay([Past("a", "b", "refuse", (Hit("gtube", 100.0),))], ruleset)
    assert [(change.before, change.after, change.rules) for change in result.changes] == [
        ("refuse", "deliver", ("gtube",))
    ]
    assert tmp_path.exists()


def test_quality_counts_false_alarms_and_what_only_one_rule_caught() -> None:
    scores = {"good": 5.0, "noisy": 1.0, "idle": 2.0}
    records = quality(
        [
            Judged(["good", "noisy"], 7.5, spam=True),
            Judged(["good"], 5.0, spam=True),
            Judged(["noisy"], 1.0, spam=False),
        ],
        scores,
        threshold=7.0,
    )
    assert [record.rule for record in records] == ["noisy", "good", "idle"]
    good = records[1]
    assert (good.spam, good.ham, good.recall_rate, good.precision_rate, good.decisive) == (2, 0, 1.0, 1.0, 1)
    assert records[0].precision_rate == 0.5
    assert records[2].precision_rate == 0.0
    assert quality([], {"a": 1.0}, 7.0)[0].recall_rate == 0.0


def test_which_rule_would_have_caught_a_complaint() -> None:
    scores = {"strong": 6.0, "weak": 1.0, "middle": 4.0}
    assert would_have_caught(["weak", "middle", "strong"], 3.0, scores, 7.0) == ["strong", "middle"]
    assert would_have_caught(["strong"], 8.0, scores, 7.0) == []
