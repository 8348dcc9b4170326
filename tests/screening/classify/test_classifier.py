from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening.classify import Classifier, Model, ModelError
from screening.classify.classifier import LEAST, MOST, overlap, points, reweighed, shipped
from screening.classify.model import save
from screening.classify.training import example_of, mail_of, train
from screening.verdict import Hit
from tests.screening.classify.letters import letter, letters


@pytest.fixture(scope="module")
def model() -> Model:
    return train([example_of(mail, spam=spam) for mail, spam in letters(150)])


def test_letters_never_seen_are_told_apart(model: Model) -> None:
    classifier = Classifier(model)
    wrong = [
        number
        for number in range(1000, 1100)
        for spam in (False, True)
        if (classifier.log_odds(letter(number, spam=spam)) > 0) is not spam
    ]
    assert wrong == []


def test_evidence_names_the_words_of_the_message_itself(model: Model) -> None:
    mail = mail_of(
        b"From: a@b.example\r\nSubject: claim your prize\r\n\r\n"
        b"Urgent: verify the wire transfer, winner of the casino bonus"
    )
    hit = Classifier(model).hit(mail)
    assert hit.rule == "classifier"
    assert hit.score > 1
    assert '"casino"' in hit.evidence or 'subject "prize"' in hit.evidence
    assert "kernel" not in hit.evidence


def test_line_ends_of_a_file_do_not_change_the_score(model: Model) -> None:
    wire = (
        b"From: a@b.example\r\nTo: c@d.example\r\nContent-Type: text/html\r\n\r\n"
        + b"<p>claim your\r\nprize</p>\r\n" * 60
    )
    classifier = Classifier(model)
    assert classifier.hit(mail_of(wire)) == classifier.hit(mail_of(wire.replace(b"\r\n", b"\n")))


def test_the_classifier_and_training_see_the_same(model: Model) -> None:
    mail = letter(3001, spam=True)
    example = example_of(mail, spam=True)
    assert Classifier(model).log_odds(mail) == model.log_odds(model.margin_of(example.groups))


def test_good_mail_gets_a_negative_score_and_says_how_much_of_it_is_known(model: Model) -> None:
    hit = Classifier(model).hit(letter(2000, spam=False))
    assert LEAST <= hit.score < 0
    assert hit.evidence.startswith("knows ")


def test_evidence_is_printable_and_bounded(model: Model) -> None:
    words = "\u202ecasino \x1b[31mprize " + "bonus\u0007" * 2000
    mail = mail_of(f"From: a@b.example\r\nSubject: {'prize ' * 300}\r\n\r\n{words}".encode())
    evidence = Classifier(model).hit(mail).evidence
    assert evidence.isprintable()
    assert len(evidence) <= 200


def test_points_rise_with_the_odds_and_stay_between_their_bounds() -> None:
    steps = [points(odds / 10) for odds in range(-500, 501)]
    assert steps == sorted(steps)
    assert steps[0] >= LEAST
    assert steps[-1] <= MOST
    assert points(3.5) == pytest.approx(7)
    assert MOST < 12, "statistics alone never refuse"


def test_repeating_a_word_buys_no_score(model: Model) -> None:
    once = mail_of(b"From: a@b.example\r\nSubject: x\r\n\r\nprize casino in the agenda")
    often = mail_of(b"From: a@b.example\r\nSubject: x\r\n\r\nprize casino in the agenda " + b"agenda " * 100)
    classifier = Classifier(model)
    assert abs(classifier.log_odds(once) - classifier.log_odds(often)) < 1.5


HOSTILE = {
    "nothing": b"",
    "one line end": b"\n",
    "header only": b"Subject: x\r\n",
    "body only": b"\r\nbody",
    "nul": b"\0" * 5000,
    "every byte": b"Subject: " + bytes(range(256)) + b"\r\n\r\n" + bytes(range(256)) * 40,
    "one long word": b"Subject: x\r\n\r\n" + b"a" * 300_000,
    "many words": b"Subject: x\r\n\r\n" + b" ".join(b"%d" % number for number in range(60_000)),
    "open tags": b"Content-Type: text/html\r\n\r\n" + b"<a " * 60_000,
    "many links": b"Content-Type: text/html\r\n\r\n" + b"<a href=http://x.example/y>z</a>" * 6000,
    "many fields": b"X: y\r\n" * 60_000 + b"\r\nz",
    "lone surrogates": b"Content-Type: text/html; charset=utf-16\r\n\r\n" + b"\x00\xd8" * 500,
    "long subject": b"Subject: " + b"=?utf-8?b?4oCu?= " * 5000 + b"\r\n\r\nx",
    "long address": b"From: <" + b"a" * 9000 + b"@" + b"b." * 4000 + b"example>\r\n\r\nx",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(5)
def test_hostile_mail_gets_a_hit_within_bounds(name: str, model: Model) -> None:
    hit = Classifier(model).hit(mail_of(HOSTILE[name]))
    assert LEAST <= hit.score <= MOST
    assert hit.evidence.isprintable()


def test_weak_rules_count_less_beside_the_classifier_and_strong_ones_stand_alone(model: Model) -> None:
    classifier = Classifier(model)
    mail = letter(2001, spam=False)
    alone = classifier.hit(mail).score
    weak = classifier.hit(mail, [Hit("act_now", 2.0), Hit("huge_sum", 3.0)]).score
    strong = classifier.hit(mail, [Hit("executable", 8.0), Hit("gtube", 100.0)]).score
    assert weak == pytest.approx(alone - 4.0)
    assert strong == alone


@pytest.mark.parametrize("odds", [number / 4 for number in range(-40, 41)])
def test_more_weak_rules_never_lower_the_sum(odds: float) -> None:
    sums = [points(odds) - overlap(odds, hits) + sum(hit.score for hit in hits) for hits in _LADDER]
    assert sums == sorted(sums)
    assert sums[0] == points(odds)


_LADDER = [[Hit(f"rule {number}", 1.5) for number in range(count)] for count in range(6)]


def test_the_shipped_model_is_small_and_loads() -> None:
    assert shipped().spam > 1000
    assert shipped().ham > 5000
    assert len(shipped().to_bytes()) < 2_000_000


def test_a_model_file_that_is_not_there_yet_means_the_shipped_one(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "classifier.model"
    classifier = Classifier.load(path)
    assert classifier.model.identity == shipped().identity
    assert not classifier.refresh()
    save(model, path)
    assert classifier.refresh()
    assert classifier.model.identity == model.identity


def test_a_model_that_goes_bad_while_serving_leaves_the_old_one(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "classifier.model"
    save(model, path)
    classifier = Classifier.load(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(ModelError, match=r"classifier\.model"):
        classifier.refresh()
    assert not classifier.refresh(), "said once for one state of the file"
    assert classifier.model.identity == model.identity


@given(st.floats(-4, 6), st.floats(0, 12), st.floats(0, 12))
def test_a_score_says_what_it_would_be_beside_other_rules(odds: float, before: float, after: float) -> None:
    def hits(weak: float) -> list[Hit]:
        return [Hit("weak", weak / 4) for _ in range(4)]

    score = points(odds) - overlap(odds, hits(before))
    assert reweighed(score, before, before) == score
    wanted = points(odds) - overlap(odds, hits(after))
    assert reweighed(score, before, after) == pytest.approx(wanted, abs=0.01)
