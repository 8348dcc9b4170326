from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from screening.classify import lessons, model
from screening.classify.model import ModelError
from screening.classify.training import example_of, learn
from tests.screening.classify.letters import letter, letters

if TYPE_CHECKING:
    from pathlib import Path


def test_lessons_are_learned_together_and_once(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    learn(path, letters(20))
    assert lessons.study(path) is None
    for number in (100, 101, 100):
        assert lessons.note(path, example_of(letter(number, spam=True), spam=True))
    learned = lessons.study(path)
    assert learned is not None
    assert (learned.new, learned.spam) == (2, model.load(path).spam)
    assert not lessons.waiting(path)
    assert lessons.note(path, example_of(letter(100, spam=True), spam=True))
    again = lessons.study(path)
    assert again is not None
    assert (again.new, again.identity) == (0, learned.identity)


def test_what_staff_taught_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "classifier.model"
    learn(path, [*letters(20), (letter(100, spam=True), False)])
    ham = model.load(path).ham
    lessons.note(path, example_of(letter(100, spam=True), spam=True))
    learned = lessons.study(path)
    assert learned is not None
    assert (learned.new, learned.ham) == (0, ham)


def test_only_so_many_lessons_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "MOST_BYTES", 1000)
    lesson = example_of(letter(1, spam=True), spam=True)
    noted = [lessons.note(tmp_path / "m", lesson) for _ in range(10)]
    assert noted[0]
    assert not noted[-1]


def test_a_damaged_note_and_a_missing_folder_are_ordinary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep" / "classifier.model"
    lessons.note(path, example_of(letter(1, spam=True), spam=True))
    with path.with_name(path.name + ".lessons").open("ab") as file:
        file.write(b"rubbish")
    assert lessons.main(path) == 0
    assert not lessons.waiting(path)
    path.with_name(path.name + ".examples").write_bytes(b"rubbish")
    lessons.note(path, example_of(letter(2, spam=True), spam=True))
    assert lessons.main(path) == 1
    assert "move it away" in capsys.readouterr().err
    with pytest.raises(ModelError):
        lessons.study(path)
