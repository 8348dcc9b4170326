from __future__ import annotations

import pytest

from screening.classify.classifier import Classifier, knows
from screening.classify.model import Model, Snapshot
from screening.classify.training import example_of, mail_of, train
from screening.tuning.drift import Drift, drift
from screening.verdict import Hit
from tests.screening.classify.letters import letters

TRAINED = Snapshot(unsure=0.02, known=0.9)


def test_unsure_hits_and_known_words_are_counted() -> None:
    messages = [
        [Hit("classifier", -5.5, "knows 90 % of it")],
        [Hit("classifier", -2.0, "knows 70 % of it"), Hit("other", 1.0)],
        [Hit("classifier", 7.5, '98.0 %: "prize"')],
        [Hit("other", 3.0)],
    ]
    assert drift(messages, {"other"}) == Drift(3, 0.3333, 0.8)
    assert drift([], ()) == Drift(0, 0.0, None)


def test_points_that_weak_rules_took_off_are_given_back() -> None:
    """Odds of 2.25 give 4.5 points, sure enough; beside a rule of 2 points the hit shows 2.9."""
    hits = [Hit("weak", 2.0), Hit("classifier", 2.9)]
    assert drift([hits], {"weak"}).unsure == 0.0
    assert drift([[hits[1]]], {"weak"}).unsure == 1.0


@pytest.mark.parametrize(
    ("seen", "trained", "said"),
    [
        (Drift(1000, 0.02, 0.9), None, "too little"),
        (Drift(10, 0.5, 0.1), TRAINED, "say nothing"),
        (Drift(1000, 0.04, 0.85), TRAINED, "as it was"),
        (Drift(1000, 0.06, 0.9), TRAINED, "unsure far more"),
        (Drift(1000, 0.02, 0.7), TRAINED, "never learned"),
        (Drift(1000, 0.02, None), TRAINED, "as it was"),
    ],
)
def test_what_drift_means_is_said(seen: Drift, trained: Snapshot | None, said: str) -> None:
    assert said in seen.against(trained)


def test_training_measures_what_drift_is_compared_with() -> None:
    model = train([example_of(mail, spam=spam) for mail, spam in letters(150)])
    assert model.snapshot is not None
    assert 0 <= model.snapshot.unsure < 0.2
    assert 0.5 < model.snapshot.known <= 1
    assert Model.from_bytes(model.to_bytes()) == model
    stranger = Classifier(model).hit(
        mail_of(b"From: a@b.example\r\n\r\nxyzzy quux plugh frobnicate wibble\r\n")
    )
    assert stranger.evidence.startswith("knows ") == (stranger.score < 1)
    assert knows([[0, 5], [0, 0]]) == "knows 25 % of it"
    assert knows([]) == "knows 100 % of it"
