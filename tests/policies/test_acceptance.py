from __future__ import annotations

import pytest

from policies.acceptance import Action, Missing, Thresholds, judge

LIMITS = Thresholds(tag=4.0, hold=7.0, refuse=12.0)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (-3.0, Action.DELIVER),
        (3.99, Action.DELIVER),
        (4.0, Action.TAG),
        (6.99, Action.TAG),
        (7.0, Action.HOLD),
        (11.99, Action.HOLD),
        (12.0, Action.REFUSE),
        (100.0, Action.REFUSE),
    ],
)
def test_each_threshold_belongs_to_the_stricter_side(score: float, expected: Action) -> None:
    assert judge(score, "", Missing(), LIMITS).action is expected


def test_the_reason_names_score_and_threshold() -> None:
    decision = judge(7.5, "", Missing(2), LIMITS)
    assert decision.reason == "score 7.5 reaches 7 (hold), 2 checks gave no answer"
    assert decision.numbers == {"score": 7.5, "unanswered": 2, "threshold": 7.0}
    clean = judge(1.0, "", Missing(), LIMITS)
    assert (clean.reason, clean.numbers) == ("score 1 is below 4", {"score": 1.0, "unanswered": 0})


def test_malformed_mail_is_refused_whatever_its_score() -> None:
    decision = judge(-5.0, "two From fields", Missing(), LIMITS, screened=False)
    assert (decision.action, decision.reason) == (Action.REFUSE, "two From fields")


@pytest.mark.parametrize(
    ("score", "defer", "expected", "reason"),
    [
        (0.0, True, Action.DEFER, "screening failed, to be tried again"),
        (11.99, True, Action.DEFER, "screening failed, to be tried again"),
        (12.0, True, Action.REFUSE, "score 12 reaches 12 (refuse)"),
        (12.0, False, Action.REFUSE, "score 12 reaches 12 (refuse)"),
        (0.0, False, Action.DELIVER, "screening failed and is set to be skipped then"),
        (11.99, False, Action.DELIVER, "screening failed and is set to be skipped then"),
    ],
)
def test_failed_screening_defers_unless_it_is_skipped_or_knows_enough(
    score: float, *, defer: bool, expected: Action, reason: str
) -> None:
    decision = judge(score, "", Missing(1), LIMITS, screened=False, defer_on_failure=defer)
    assert decision.action is expected
    assert decision.reason.startswith(reason)
    assert decision.numbers["unanswered"] == 1


def test_failed_screening_defers_by_default() -> None:
    assert judge(0.0, "", Missing(), LIMITS, screened=False).action is Action.DEFER


def test_unanswered_checks_alone_never_stop_mail() -> None:
    assert judge(0.0, "", Missing(9), LIMITS).action is Action.DELIVER


def test_the_shipped_thresholds() -> None:
    assert (Thresholds().tag, Thresholds().hold, Thresholds().refuse) == (4.0, 7.0, 12.0)


@pytest.mark.parametrize(
    ("score", "action"), [(0.0, Action.DEFER), (11.9, Action.DEFER), (12.0, Action.REFUSE)]
)
def test_a_scanner_that_mail_waits_for_defers_all_that_is_not_refused_anyway(
    score: float, action: Action
) -> None:
    decision = judge(score, "", Missing(1, defer=("clamd",)), LIMITS)
    assert decision.action is action
    if action is Action.DEFER:
        assert decision.reason == "clamd gave no answer, to be tried again"


@pytest.mark.parametrize(("score", "action"), [(0.0, Action.HOLD), (7.0, Action.HOLD), (12.0, Action.REFUSE)])
def test_a_scanner_whose_silence_holds_leaves_mail_to_staff(score: float, action: Action) -> None:
    decision = judge(score, "", Missing(1, hold=("clamd",)), LIMITS)
    assert decision.action is action
    assert ("staff look first" in decision.reason) is (score < 7)
