from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from screening.classify import examples, model, solve, training
from screening.classify.classifier import Classifier, shipped
from screening.classify.examples import bounded
from screening.classify.model import ModelError
from screening.classify.training import example_of, files_in, forget, learn, mail_of, train
from tests.screening.classify.letters import letter, letters


def test_the_same_examples_in_any_order_give_the_same_bytes() -> None:
    found = [example_of(mail, spam=spam) for mail, spam in letters(60)]
    assert train(found).to_bytes() == train(found[::-1]).to_bytes()


def test_two_processes_with_other_hash_seeds_train_the_same_model() -> None:
    program = (
        "from tests.screening.classify.letters import letters\n"
        "from screening.classify.training import example_of, train\n"
        "print(train([example_of(mail, spam=spam) for mail, spam in letters(30)]).identity)\n"
    )
    names = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(names) == 1


def test_odds_are_calibrated_on_mail_left_out() -> None:
    found = [example_of(mail, spam=spam) for mail, spam in letters(150)]
    trained = train(found)
    fresh = [(mail, spam) for mail, spam in letters(100, seed=1)]
    classifier = Classifier(trained)
    right = [(classifier.log_odds(mail) > 2) is spam for mail, spam in fresh]
    assert sum(right) / len(right) > 0.95


def test_a_few_wrong_labels_do_not_turn_the_border() -> None:
    pairs = letters(100)
    wrong = [(mail, not spam if index % 20 == 0 else spam) for index, (mail, spam) in enumerate(pairs)]
    classifier = Classifier(train([example_of(mail, spam=spam) for mail, spam in wrong]))
    fresh = letters(50, seed=2)
    right = [(classifier.log_odds(mail) > 0) is spam for mail, spam in fresh]
    assert sum(right) / len(right) > 0.97


def test_a_storm_of_spam_reports_does_not_make_ordinary_mail_spam() -> None:
    storm = [example_of(letter(number, spam=True), spam=True) for number in range(200)]
    moved = Classifier(train(storm, shipped()))
    assert all(moved.log_odds(letter(number, spam=True)) > 0 for number in range(200, 230))
    held = [moved.hit(letter(number, spam=False)).score >= 7 for number in range(50)]
    assert sum(held) <= 2


def test_a_few_examples_stay_near_the_base_and_many_leave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [example_of(mail, spam=spam) for mail, spam in letters(30)]
    base = shipped()
    near = train(found, base)
    assert (near.slope, near.offset) == (base.slope, base.offset)
    assert near.identity != train(found).identity
    monkeypatch.setattr(training, "ENOUGH_ALONE", 30)
    assert train(found, base) == train(found)


def test_learning_corrects_forgets_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    pairs = letters(12)
    first = learn(path, pairs)
    assert (first.new, first.corrected, first.known) == (24, 0, 0)
    assert (first.spam, first.ham) == (12, 12)
    again = learn(path, pairs)
    assert (again.new, again.known, again.identity) == (0, 24, first.identity)
    mail = pairs[0][0]
    other = learn(path, [(mail, True)])
    assert (other.corrected, other.spam, other.ham) == (1, 13, 11)
    gone = forget(path, [mail])
    assert (gone.spam, gone.ham) == (12, 11)
    assert gone.identity == model.load(path).identity
    assert learn(path, [(mail, False)]).identity == first.identity, "as if it had never been learned wrongly"


def test_learning_in_two_calls_equals_learning_in_one(tmp_path: Path) -> None:
    pairs = letters(20)
    one, two = tmp_path / "one", tmp_path / "two"
    whole = learn(one, pairs)
    learn(two, [pair for pair in pairs if pair[1]])
    parts = learn(two, [pair for pair in pairs if not pair[1]])
    assert parts.identity == whole.identity


def test_what_is_kept_holds_no_text(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    secret = "Zanzibarquux"
    raw = f"From: {secret}@{secret}.example\r\nSubject: {secret}\r\n\r\n{secret} http://{secret}.example/".encode()
    learn(path, [(mail_of(raw), True)])
    for found in tmp_path.iterdir():
        assert secret.lower().encode() not in found.read_bytes().lower(), found


def test_examples_survive_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.examples"
    found = {one.key: one for one in (example_of(mail, spam=spam) for mail, spam in letters(10))}
    examples.replace(path, found)
    assert examples.read(path) == found


def test_a_torn_or_altered_example_file_costs_only_what_is_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.examples"
    found = [example_of(mail, spam=spam) for mail, spam in letters(10)]
    examples.replace(path, {one.key: one for one in found})
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    assert len(examples.read(path)) == 19
    path.write_bytes(content[:100] + bytes([content[100] ^ 255]) + content[101:])
    assert examples.read(path) == {}
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match="not an example file"):
        examples.read(path)


def test_old_examples_go_when_there_are_too_many_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MAX_EXAMPLES", 5)
    found = [example_of(mail, spam=spam) for mail, spam in letters(8)]
    kept = bounded({one.key: one for one in found})
    assert list(kept) == [one.key for one in found[3:8] + found[11:16]]


def test_files_in_folders_come_in_a_fixed_order_and_links_to_files_count(tmp_path: Path) -> None:
    (tmp_path / "mail" / "cur").mkdir(parents=True)
    for name in ("b", "a", "cur/c"):
        (tmp_path / "mail" / name).write_text("x")
    (tmp_path / "mail" / "d").symlink_to(tmp_path / "mail" / "a")
    (tmp_path / "mail" / "broken").symlink_to(tmp_path / "nowhere")
    names = [
        str(found.relative_to(tmp_path)) for found in files_in([tmp_path / "mail", tmp_path / "mail" / "b"])
    ]
    assert names == ["mail/a", "mail/b", "mail/cur/c", "mail/d", "mail/b"]


def test_a_folder_that_nobody_may_read_is_named_in_place_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "mail").write_text("x")
    scan = os.scandir

    def guarded(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert list(files_in([tmp_path])) == [tmp_path / "closed", tmp_path / "mail"]


def test_the_line_from_margin_to_odds_is_steep_for_clean_and_flat_for_mixed_examples() -> None:
    clean = solve.line([-2.0] * 50 + [2.0] * 50, [False] * 50 + [True] * 50)
    mixed = solve.line([-2.0, 2.0] * 50, [False, True, True, False] * 25)
    assert clean[0] > 1
    assert mixed[0] == pytest.approx(0, abs=0.01)
    assert solve.line([1.0] * 4, [True, True, False, False])[0] >= 0


def test_after_a_rollback_training_goes_on_from_the_older_examples(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    first = learn(path, letters(20))
    learn(path, [(letter(900, spam=False), True)])
    assert training.rollback(path).identity == first.identity
    again = learn(path, letters(20))
    assert (again.new, again.known, again.identity) == (0, 40, first.identity)
    training.rollback(path)
    with pytest.raises(ModelError, match="no older model is kept"):
        training.rollback(path)


def test_a_few_more_examples_move_the_border_at_once_and_a_tenth_trains_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ENOUGH_TO_MOVE", 100)
    path = tmp_path / "classifier.model"
    learn(path, letters(60))
    before = model.load(path)
    more = letters(4, seed=5)
    learned = learn(path, more)
    moved = model.load(path)
    assert (moved.moved, before.moved) == (learned.new, 0)
    assert (moved.slope, moved.offset) == (before.slope, before.offset)
    assert moved.spam + moved.ham == before.spam + before.ham + learned.new
    assert all((Classifier(moved).log_odds(mail) > 0) is spam for mail, spam in more)
    assert learn(path, more).identity == moved.identity
    learn(path, letters(10, seed=6))
    assert model.load(path).moved == 0
    assert training.anew(path).identity == model.load(path).identity


def test_what_no_model_knows_yet_is_trained_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ENOUGH_TO_MOVE", 50)
    path = tmp_path / "classifier.model"
    learn(path, letters(60))
    left_behind = path.read_bytes()
    learn(path, letters(4, seed=5))
    path.write_bytes(left_behind)  # a crash after the examples were written
    learn(path, letters(1, seed=7))
    assert model.load(path).moved == 0
