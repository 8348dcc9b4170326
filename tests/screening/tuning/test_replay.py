from __future__ import annotations

from pathlib import Path

import pytest

from screening.classify import Classifier
from screening.classify.classifier import overlap, points
from screening.rule import Example
from screening.ruleset import Ruleset, load
from screening.screen import Screen
from screening.tuning.examples import mail_of
from screening.tuning.quality import Judged, quality, would_have_caught
from screening.tuning.replay import Past, Replay, Thresholds, replay, rescored
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


def test_rules_and_classifier_together_are_reproduced_too(shipped: Ruleset) -> None:
    screen = Screen(shipped, Classifier.load(None))
    past = []
    examples: list[Example] = [PHISH, BILL_SCAM, EXTORTION, FRAUD, *ORDINARY]
    for number, example in enumerate(examples):
        verdict = screen.offline(mail_of(example))
        action = Thresholds().action(verdict.score, verdict.malformed)
        past.append(Past(f"m{number}", "a", action, verdict.hits, verdict.malformed))
    assert replay(past, shipped) == Replay(len(past), ())


def test_what_points_did_not_decide_stays_as_it_was() -> None:
    hits = (Hit("gtube", 100.0),)
    past = [Past("observed", "a", "deliver", hits), Past("foreign sender", "a", "refuse", ())]
    assert replay(past, load(off=["gtube"])) == Replay(2, (), otherwise=2)


def test_other_thresholds_are_tried_on_what_the_ones_in_force_decided(shipped: Ruleset) -> None:
    past = [Past("m", "a", "deliver", (Hit("classifier", 3.0),))]
    found = replay(past, shipped, Thresholds(tag=1.0, hold=2.0), before=Thresholds())
    assert [(change.before, change.after, change.rules) for change in found.changes] == [
        ("deliver", "hold", ())
    ]


def test_a_weak_rule_gone_gives_the_classifier_back_what_it_took_off(shipped: Ruleset) -> None:
    odds, weak = 1.5, next(rule for rule in shipped.rules if 1 < rule.score < 4 and not rule.group)
    hits = (Hit(weak.id, weak.score),)
    score = round(points(odds) - overlap(odds, hits), 2)
    after = rescored((*hits, Hit("classifier", score)), load(off=[weak.id]))
    assert [hit.rule for hit in after] == ["classifier"]
    assert after[0].score == pytest.approx(points(odds), abs=0.02)


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
            Judged(["noisy"], 1.0, spam=False, released=True),
        ],
        scores,
        threshold=7.0,
    )
    assert [record.rule for record in records] == ["noisy", "good", "idle"]
    good = records[1]
    assert (good.spam, good.ham, good.recall_rate, good.precision_rate, good.decisive) == (2, 0, 1.0, 1.0, 1)
    assert (records[0].precision_rate, records[0].released) == (0.5, 1)
    assert records[2].precision_rate == 0.0
    assert quality([], {"a": 1.0}, 7.0)[0].recall_rate == 0.0


def test_which_rule_would_have_caught_a_complaint() -> None:
    scores = {"strong": 6.0, "weak": 1.0, "middle": 4.0}
    assert would_have_caught(["weak", "middle", "strong"], 3.0, scores, 7.0) == ["strong", "middle"]
    assert would_have_caught(["strong"], 8.0, scores, 7.0) == []
